"""Compiling losses with forward-mode derivatives in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

import torch
from torch.fx import Graph

from flowops._compile import sums, zeros

__all__ = ["compile_loss"]

P = ParamSpec("P")
R = TypeVar("R")


def compile_loss(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """`torch.compile(function)` without the products with zeros; `options` are those of `torch.compile`."""
    passes = {
        "joint_custom_pre_pass": _as_pass(zeros.fold_zeros, zeros.__file__),
        "post_grad_custom_post_pass": _as_pass(sums.multiply_by_ones, sums.__file__),
    }
    return torch.compile(function, options=passes, **options)


@cache
def _as_pass(change: Callable[[Graph], None], file: str) -> Any:
    """A change of graphs with the identity that inductor's cache asks for, the text of its file."""
    from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

    class Pass(CustomGraphPass):
        def __call__(self, graph: Graph) -> None:
            change(graph)

        def uuid(self) -> Any:
            return get_hash_for_files((file,))

    return Pass()

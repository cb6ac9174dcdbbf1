"""Compiling losses with forward-mode derivatives in them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, wraps
from types import FunctionType, MethodType
from typing import Any, ParamSpec, TypeVar

import torch
from torch.fx import Graph

from flowops._compile import biases, large, sums, zeros

__all__ = ["compile_loss"]

P = ParamSpec("P")
R = TypeVar("R")


def compile_loss(function: Callable[P, R], *, differentiates: bool = False, **options: Any) -> Callable[P, R]:
    """`torch.compile(function)` by graphs without products with zeros; `options` are those of `torch.compile`.

    The compiler counts the compilations of a code, and gives the code up where one of them breaks; the losses of all
    methods have the same code, so that each is compiled as a copy. A function that itself calls `torch.autograd.grad`
    says so by `differentiates`, and is one graph with it.
    """
    on_cpu = (sums.__file__, biases.__file__, large.__file__)
    passes = {
        "joint_custom_pre_pass": _as_pass((zeros.fold_zeros,), (zeros.__file__,)),
        "post_grad_custom_post_pass": _as_pass((sums.multiply_by_ones, biases.add_behind_products), on_cpu),
    }
    compiled = torch.compile(_of_its_own(function), options=passes, **options)
    return _tracing_gradients(compiled) if differentiates else compiled


def _tracing_gradients(compiled: Callable[P, R]) -> Callable[P, R]:
    """With calls of `torch.autograd.grad` inside the graph, where the compiler can take them."""
    known = hasattr(torch._dynamo.config, "trace_autograd_ops")

    @wraps(compiled)
    def traced(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch._dynamo.config.patch(trace_autograd_ops=True) if known else nullcontext():
            return compiled(*args, **kwargs)

    return traced


def _of_its_own(function: Callable[P, R]) -> Callable[P, R]:
    """A function or method of Python that shares its code with no other; another callable as it is."""
    if isinstance(function, MethodType):
        return MethodType(_of_its_own(function.__func__), function.__self__)
    if not isinstance(function, FunctionType):
        return function
    code = function.__code__.replace()
    own = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    own.__kwdefaults__ = function.__kwdefaults__
    return own


@cache
def _as_pass(changes: tuple[Callable[[Graph], None], ...], files: tuple[str, ...]) -> Any:
    """Changes of graphs, with the identity that inductor's cache asks for, the text of their files."""
    from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

    class Pass(CustomGraphPass):
        def __call__(self, graph: Graph) -> None:
            for change in changes:
                change(graph)

        def uuid(self) -> Any:
            return get_hash_for_files(files)

    return Pass()

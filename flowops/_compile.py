r"""Compiling losses with forward-mode derivatives in them.

A captured weight has a zero tangent. torch traces it as `_efficientzerotensor` and keeps the matrix products with it,
forward and backward; worse, inductor may reuse its buffer, and the backward then fails with "ZeroTensors are immutable"
(pytorch#177261). The pass here folds these zeros before the graph is split: products with them disappear, and what is
left of them becomes an ordinary tensor. Delete this module when torch does it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

import torch
from torch.fx import Graph, Node

P = ParamSpec("P")
R = TypeVar("R")
aten = torch.ops.aten
PRODUCTS = {aten.mm.default, aten.bmm.default, aten.mul.Tensor}
KEPT = {  # zero where the first argument is
    aten.permute.default,
    aten.t.default,
    aten.transpose.int,
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
    aten.expand.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.neg.default,
    aten.clone.default,
    aten._to_copy.default,
    aten.sum.dim_IntList,
    aten.mul.Scalar,
}


def compile_loss(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """`torch.compile(function)` with the zero tangents folded; `options` are those of `torch.compile`."""
    return torch.compile(function, options={"joint_custom_pre_pass": _inductor_pass()}, **options)


def fold_zeros(graph: Graph) -> None:
    """Remove the products with zero tangents from a graph of aten operators."""
    zeros: set[Node] = set()
    for node in list(graph.nodes):
        if node.target is aten._efficientzerotensor.default or _is_zero(node, zeros):
            zeros.add(node)
        elif (rest := _other_term(node, zeros)) is not None:
            node.replace_all_uses_with(rest)
    for node in zeros:
        if users := [user for user in node.users if user not in zeros]:
            value = node.meta["val"]
            with graph.inserting_before(node):
                plain = graph.call_function(
                    aten.full.default, (list(value.shape), 0), {"dtype": value.dtype, "device": value.device}
                )
            plain.meta = dict(node.meta)
            for user in users:
                user.replace_input_with(node, plain)
    graph.eliminate_dead_code()


def _is_zero(node: Node, zeros: set[Node]) -> bool:
    if node.target in PRODUCTS:
        return any(argument in zeros for argument in node.args)
    return node.target in KEPT and node.args[0] in zeros


def _other_term(node: Node, zeros: set[Node]) -> Node | None:
    """What a sum with a zero is, if it has the sum's shape and dtype."""
    if node.target is not aten.add.Tensor or node.kwargs:
        return None
    a, b = node.args
    rest = b if a in zeros else a if b in zeros else None
    if not isinstance(rest, Node) or not hasattr(rest.meta.get("val"), "shape"):
        return None
    wanted, value = node.meta["val"], rest.meta["val"]
    return rest if value.shape == wanted.shape and value.dtype == wanted.dtype else None


@cache
def _inductor_pass() -> Any:
    from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

    class FoldZeros(CustomGraphPass):
        """The pass with the identity that inductor's cache asks for."""

        def __call__(self, graph: Graph) -> None:
            fold_zeros(graph)

        def uuid(self) -> Any:
            return get_hash_for_files((__file__,))

    return FoldZeros()

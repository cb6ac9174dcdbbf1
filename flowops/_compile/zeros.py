r"""Products with zeros, which forward-mode derivatives leave in a graph.

A captured weight has a zero tangent. torch traces it as `_efficientzerotensor`, or as a `full` of zero where an
operator wants an ordinary tensor (a linear map, a convolution), and keeps the products with it, forward and backward;
worse, inductor may reuse the buffer of a zero tensor, and the backward then fails with "ZeroTensors are immutable"
(pytorch#177261). The pass here folds these zeros before the graph is split: products with them disappear, and what is
left of them becomes an ordinary tensor. Delete this when torch does it.

A zero that somebody wrote down is folded like one that stands for a tangent. That is exact while the other factor is
finite; $0\cdot\infty$ becomes zero, as it is for a tangent that torch knows to be zero, in place of NaN. The graphs
are functional: nothing writes into a zero.
"""

from __future__ import annotations

import operator
from typing import Any, Final

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten
FILLED: Final = {  # what makes a constant tensor, and where its value stands; None for zeros
    aten.zeros.default: None,
    aten.zeros_like.default: None,
    aten.new_zeros.default: None,
    aten.scalar_tensor.default: 0,
    aten.full.default: 1,
    aten.full_like.default: 1,
    aten.new_full.default: 2,
}
KEPT: Final = {  # zero where the first argument is
    aten.permute.default,
    aten.t.default,
    aten.transpose.int,
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
    aten.expand.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.slice.Tensor,
    aten.select.int,
    aten.neg.default,
    aten.clone.default,
    aten._to_copy.default,
    torch.ops.prims.convert_element_type.default,
    aten.sum.default,
    aten.sum.dim_IntList,
    aten.mean.default,
    aten.mean.dim,
    aten.mul.Scalar,
    aten.div.Scalar,
    aten.div.Tensor,
}
SUMS: Final = {aten.add.Tensor, aten.sub.Tensor}
PRODUCTS: Final = {  # the places of two factors, and of what is added to their product
    aten.mul.Tensor: (0, 1, None),
    aten.mm.default: (0, 1, None),
    aten.bmm.default: (0, 1, None),
    aten.addmm.default: (1, 2, 0),
    aten.baddbmm.default: (1, 2, 0),
    aten.convolution.default: (0, 1, 2),
}
SPLIT: Final = {aten.split.Tensor, aten.split_with_sizes.default, aten.unbind.int}
GRADIENTS: Final = ((0, 2), (0, 1), (0,))  # `convolution_backward` makes three, each linear in these arguments
MASK: Final = 10  # where it is told which of them are wanted


def fold_zeros(graph: Graph) -> None:
    """Remove the products with zeros from a functional graph of aten operators."""
    zeros: set[Node] = set()
    for node in list(graph.nodes):
        if _is_zero(node, zeros):
            zeros.add(node)
        elif (rest := _other_term(node, zeros)) is not None:
            node.replace_all_uses_with(rest)
    for node in zeros:
        users = [user for user in node.users if user not in zeros]
        if users and node.target not in FILLED:
            _make_plain(graph, node, users)
    graph.eliminate_dead_code()
    for node in graph.find_nodes(op="call_function", target=aten.convolution_backward.default):
        _narrow(node)


def _is_zero(node: Node, zeros: set[Node]) -> bool:
    """Whether a node is a zero tensor, of a shape that is known, whatever the inputs of the graph are."""
    target: Any = node.target
    inputs: Any = node.args
    value = node.meta.get("val")
    if target is aten._efficientzerotensor.default:
        return True
    if not isinstance(value, torch.Tensor) or not all(isinstance(size, int) for size in value.shape):
        return False
    if target in FILLED:
        number = 0 if FILLED[target] is None else inputs[FILLED[target]]
        return value.is_floating_point() and isinstance(number, int | float) and number == 0
    if target in KEPT:
        return inputs[0] in zeros
    if target in SUMS:
        return inputs[0] in zeros and inputs[1] in zeros
    if target in PRODUCTS:
        a, b, c = PRODUCTS[target]
        return (inputs[a] in zeros or inputs[b] in zeros) and (c is None or inputs[c] is None or inputs[c] in zeros)
    if target is aten.cat.default:
        return zeros.issuperset(inputs[0])
    if target is operator.getitem and inputs[0].target is aten.convolution_backward.default:
        return any(inputs[0].args[place] in zeros for place in GRADIENTS[inputs[1]])
    return target is operator.getitem and inputs[0].target in SPLIT and inputs[0].args[0] in zeros


def _other_term(node: Node, zeros: set[Node]) -> Node | None:
    """What a sum with a zero is, if it has the sum's shape and dtype."""
    if node.target not in SUMS or node.kwargs:
        return None
    a, b = node.args
    rest = a if b in zeros else b if a in zeros and node.target is aten.add.Tensor else None
    if not isinstance(rest, Node) or not hasattr(rest.meta.get("val"), "shape"):
        return None
    wanted, value = node.meta["val"], rest.meta["val"]
    return rest if value.shape == wanted.shape and value.dtype == wanted.dtype else None


def _make_plain(graph: Graph, node: Node, users: list[Node]) -> None:
    """Give these users of a zero an ordinary tensor."""
    value = node.meta["val"]
    shape = node.args[0] if node.target is aten._efficientzerotensor.default else list(value.shape)
    with graph.inserting_before(node):
        plain = graph.call_function(aten.full.default, (shape, 0), {"dtype": value.dtype, "device": value.device})
    plain.meta = dict(node.meta)
    for user in users:
        user.replace_input_with(node, plain)


def _narrow(node: Node) -> None:
    """Leave out the gradients of a convolution that nobody looks at."""
    arguments: Any = node.args
    seen = {user.args[1] for user in node.users}
    mask = [wanted and place in seen for place, wanted in enumerate(arguments[MASK])]
    node.update_arg(MASK, mask)
    node.meta["val"] = tuple([value if wanted else None for value, wanted in zip(node.meta["val"], mask, strict=True)])

"""Sums over the rows of a matrix on a CPU: the gradients of biases.

The loop that inductor writes walks down one group of columns after the other, rows apart in memory, and draws the
derivative of the activation into the same walk. As a product with a row of ones every row is read once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

from flowops._compile.large import is_large_on_cpu

aten = torch.ops.aten


def multiply_by_ones(graph: Graph) -> None:
    """Make products of the sums over the rows of large matrices, in a graph of aten operators before its lowering."""
    ones: dict[tuple[int, torch.dtype], Node] = {}
    for node in graph.find_nodes(op="call_function", target=aten.sum.dim_IntList):
        arguments: Any = node.args
        matrix, axes, *_ = arguments
        value = matrix.meta["val"]
        if list(axes) != [0] or node.kwargs or not is_large_on_cpu(value):
            continue
        with graph.inserting_before(node):
            key = len(value), value.dtype
            if key not in ones:
                ones[key] = _row_of_ones(graph, value)
            product = graph.call_function(aten.mm.default, (ones[key], matrix))
            product.meta["val"] = value.new_empty(1, value.shape[1])
            total = graph.call_function(aten.view.default, (product, list(node.meta["val"].shape)))
        total.meta = dict(node.meta)
        node.replace_all_uses_with(total)
        graph.erase_node(node)


def _row_of_ones(graph: Graph, value: Tensor) -> Node:
    row = graph.call_function(aten.full.default, ([1, len(value)], 1), {"dtype": value.dtype, "device": value.device})
    row.meta["val"] = value.new_empty(1, len(value))
    return row

"""Biases of linear maps on a CPU, added where the next loop reads the product.

Torch lays the bias into every row of the result, and lets the product add to that: a pass over memory that was just
allocated, with its page faults. Behind the product the bias is part of the loop of the activation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph

from flowops._compile.large import is_large_on_cpu

aten = torch.ops.aten


def add_behind_products(graph: Graph) -> None:
    """Make a product and a sum of every large linear map with a bias, in a graph of aten operators."""
    for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
        arguments: Any = node.args
        bias, *factors = arguments
        value = node.meta["val"]
        if node.kwargs or bias.meta["val"].ndim != 1 or not is_large_on_cpu(value):
            continue
        with graph.inserting_before(node):
            product = graph.call_function(aten.mm.default, tuple(factors))
            product.meta["val"] = value
            total = graph.call_function(aten.add.Tensor, (product, bias))
        total.meta = dict(node.meta)
        node.replace_all_uses_with(total)
        graph.erase_node(node)

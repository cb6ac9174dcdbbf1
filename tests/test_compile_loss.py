"""The pass that removes products with zero tangents from a graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.testing import assert_close

from flowops._compile import aten, fold_zeros
from tests.examples import normal


class Drawing:
    """A graph of aten operators with the values that tracing would have noted."""

    def __init__(self, *inputs: Tensor) -> None:
        self.graph = Graph()
        self.inputs = inputs
        self.nodes = [self.graph.placeholder(f"x{i}") for i in range(len(inputs))]
        for node, value in zip(self.nodes, inputs, strict=True):
            node.meta["val"] = value

    def call(self, target: Any, *arguments: Any) -> Node:
        node = self.graph.call_function(target, arguments)
        node.meta["val"] = target(*(a.meta["val"] if isinstance(a, Node) else a for a in arguments))
        return node

    def zero(self, size: int) -> Node:
        node = self.graph.call_function(aten._efficientzerotensor.default, ([size, size],))
        node.meta["val"] = torch._efficientzerotensor((size, size), dtype=torch.float64)
        return node

    def folded(self, *outputs: Node) -> tuple[GraphModule, Any]:
        """The module after the pass, and what it returns."""
        self.graph.output(outputs)
        fold_zeros(self.graph)
        self.graph.lint()
        module = GraphModule(torch.nn.Module(), self.graph)
        return module, module(*self.inputs)


def count(module: GraphModule, target: object) -> int:
    return sum(node.target is target for node in module.graph.nodes)


def test_products_with_a_zero_tangent_disappear() -> None:
    x, w = normal(3, 3), normal(3, 3, seed=1)
    drawing = Drawing(x, w)
    a, b = drawing.nodes
    dead = drawing.call(aten.mm.default, b, drawing.call(aten.permute.default, drawing.zero(3), [1, 0]))
    product = drawing.call(aten.mm.default, a, b)
    module, (value,) = drawing.folded(drawing.call(aten.tanh.default, drawing.call(aten.add.Tensor, product, dead)))
    assert count(module, aten.mm.default) == 1
    assert count(module, aten.add.Tensor) == 0
    assert count(module, aten._efficientzerotensor.default) == 0
    assert_close(value, torch.tanh(x @ w))


def test_a_zero_that_is_wanted_becomes_an_ordinary_tensor() -> None:
    drawing = Drawing(normal(3, 3))
    product = drawing.call(aten.mm.default, drawing.nodes[0], drawing.zero(3))
    module, values = drawing.folded(product, drawing.call(aten.cos.default, drawing.zero(3)))
    assert count(module, aten.mm.default) == 0
    assert_close(values[0], torch.zeros(3, 3, dtype=torch.float64))
    assert_close(values[1], torch.ones(3, 3, dtype=torch.float64))
    values[0].add_(1)  # "ZeroTensors are immutable" otherwise


def test_a_sum_that_broadcasts_keeps_its_shape() -> None:
    x = normal(3)
    drawing = Drawing(x)
    _, (value,) = drawing.folded(drawing.call(aten.add.Tensor, drawing.zero(3), drawing.nodes[0]))
    assert_close(value, x.expand(3, 3))


def test_a_graph_without_zeros_is_unchanged() -> None:
    x, w = normal(3, 3), normal(3, 3, seed=1)
    drawing = Drawing(x, w)
    product = drawing.call(aten.mul.Tensor, *drawing.nodes)
    before = [str(node) for node in drawing.graph.nodes]
    module, (value,) = drawing.folded(drawing.call(aten.add.Tensor, product, drawing.nodes[0]))
    assert [str(node) for node in module.graph.nodes][: len(before)] == before
    assert_close(value, x * w + x)

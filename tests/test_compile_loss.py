"""The passes over graphs: products with zeros disappear, sums over rows become products, biases follow products."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.testing import assert_close

from flowops._compile.biases import add_behind_products
from flowops._compile.sums import multiply_by_ones
from flowops._compile.zeros import aten, fold_zeros
from tests.examples import normal
from tests.programs import run

SAME = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)  # stride, padding, dilation and so on of a 3x3 convolution


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
        node.meta["val"] = target(*torch.fx.map_arg(list(arguments), lambda a: a.meta["val"]))
        return node

    def zeros(self, *shape: int) -> Node:
        """Zeros in float64, as an ordinary tensor."""
        return self.call(aten.new_zeros.default, self.nodes[0], list(shape))

    def zero(self, size: int) -> Node:
        node = self.graph.call_function(aten._efficientzerotensor.default, ([size, size],))
        node.meta["val"] = torch._efficientzerotensor((size, size), dtype=torch.float64)
        return node

    def folded(self, *outputs: Node, change: Callable[[Graph], None] = fold_zeros) -> tuple[GraphModule, Any]:
        """The module after the pass, and what it returns."""
        self.graph.output(outputs)
        change(self.graph)
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


LIKE = object()  # stands for a tensor of the shape that is wanted


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        (aten.full.default, ([2, 3, 3, 3], 0.0)),
        (aten.full.default, ([], 0.0)),
        (aten.scalar_tensor.default, (0,)),
        (aten.zeros.default, ([2, 3, 3, 3],)),
        (aten.zeros_like.default, (LIKE,)),
        (aten.full_like.default, (LIKE, 0)),
        (aten.new_zeros.default, (LIKE, [2, 3, 3, 3])),
        (aten.new_full.default, (LIKE, [2, 3, 3, 3], 0)),
    ],
)
def test_a_convolution_with_a_zero_weight_disappears_however_the_zero_was_made(
    target: Any, arguments: tuple[Any, ...]
) -> None:
    x, w = normal(1, 3, 4, 4, dtype=torch.float32), normal(2, 3, 3, 3, seed=1, dtype=torch.float32)
    drawing = Drawing(x, w)
    a, b = drawing.nodes
    made = drawing.call(target, *(b if argument is LIKE else argument for argument in arguments))
    zero = drawing.call(aten.expand.default, made, [2, 3, 3, 3])
    value, tangent = (drawing.call(aten.convolution.default, a, weight, None, *SAME) for weight in (b, zero))
    module, (both,) = drawing.folded(drawing.call(aten.add.Tensor, value, tangent))
    assert count(module, aten.convolution.default) == 1
    assert_close(both, aten.convolution(x, w, None, *SAME))


@pytest.mark.parametrize("zero", [False, True])
def test_a_convolution_of_zeros_is_zero_only_without_a_bias(zero: bool) -> None:
    x, bias = normal(1, 3, 4, 4), normal(2)
    drawing = Drawing(x, bias)
    weight = drawing.zeros(2, 3, 3, 3)
    added = drawing.call(aten.mul.Scalar, drawing.nodes[1], 1.0)
    if zero:
        added = drawing.call(aten.sum.dim_IntList, drawing.call(aten.mul.Tensor, weight, weight), [1, 2, 3])
    module, (value,) = drawing.folded(drawing.call(aten.convolution.default, drawing.nodes[0], weight, added, *SAME))
    assert count(module, aten.convolution.default) == (not zero)
    assert_close(value, (0 * bias if zero else bias)[:, None, None].expand(1, 2, 4, 4))


def test_of_a_convolution_s_gradients_those_through_a_zero_weight_are_not_computed() -> None:
    g, x = normal(1, 2, 4, 4), normal(1, 3, 4, 4, seed=1)
    drawing = Drawing(g, x)
    weight = drawing.zeros(2, 3, 3, 3)
    both = drawing.call(aten.convolution_backward.default, *drawing.nodes, weight, None, *SAME, [True, True, False])
    of_input, of_weight = (drawing.call(operator.getitem, both, k) for k in (0, 1))
    module, values = drawing.folded(of_weight, of_input)
    (left,) = module.graph.find_nodes(op="call_function", target=aten.convolution_backward.default)
    assert left.args[10] == [False, True, False]
    wanted = aten.convolution_backward(g, x, torch.ones(2, 3, 3, 3, dtype=g.dtype), None, *SAME, [True, True, False])
    assert_close(values, (wanted[1], torch.zeros_like(x)))


def test_a_convolution_whose_gradients_all_vanish_has_no_backward() -> None:
    drawing = Drawing(normal(1, 2, 4, 4), normal(1, 3, 4, 4, seed=1))
    both = drawing.call(
        aten.convolution_backward.default, *drawing.nodes, drawing.zeros(2, 3, 3, 3), None, *SAME, [True, False, False]
    )
    module, (value,) = drawing.folded(drawing.call(operator.getitem, both, 0))
    assert count(module, aten.convolution_backward.default) == 0
    assert_close(value, torch.zeros(1, 3, 4, 4, dtype=torch.float64))


def test_a_zero_passes_through_what_keeps_it_and_no_further() -> None:
    x = normal(3, 3)
    drawing = Drawing(x)
    (a,), zero = drawing.nodes, drawing.zeros(3, 3)
    first, _ = (drawing.call(operator.getitem, drawing.call(aten.split.Tensor, zero, 2), k) for k in (0, 1))
    kept = drawing.call(aten.cat.default, [drawing.call(aten.select.int, first, 0, 1), drawing.zeros(3)])
    mixed = drawing.call(aten.cat.default, [first, a])
    shifted = drawing.call(aten.add.Tensor, zero, 1.0)
    outputs = [drawing.call(aten.mul.Tensor, kept, kept), drawing.call(aten.mul.Tensor, mixed, mixed)]
    outputs += [drawing.call(aten.mm.default, a, shifted), drawing.call(aten.sub.Tensor, zero, a)]
    module, values = drawing.folded(*outputs, drawing.call(aten.sub.Tensor, a, zero))
    assert count(module, aten.mul.Tensor) == 1
    assert count(module, aten.mm.default) == 1
    zeros = torch.zeros(6, dtype=x.dtype)
    assert_close(values, (zeros, torch.cat([torch.zeros(2, 3, dtype=x.dtype), x]) ** 2, x @ torch.ones_like(x), -x, x))


def test_only_zeros_of_floating_dtype_are_folded() -> None:
    drawing = Drawing(torch.tensor([1, 2]))
    (a,), zero = drawing.nodes, drawing.call(aten.full.default, [2], 0)
    zero.meta["val"] = torch.zeros(2, dtype=torch.long)
    one = drawing.call(aten.full.default, [2], 1.0)
    module, _ = drawing.folded(drawing.call(aten.mul.Tensor, a, zero), drawing.call(aten.mul.Tensor, a, one))
    assert count(module, aten.mul.Tensor) == 2


def test_sums_over_the_rows_of_large_matrices_become_products_with_one_row_of_ones() -> None:
    x = normal(512, 128)
    drawing = Drawing(x)
    (a,) = drawing.nodes
    outputs = (drawing.call(aten.sum.dim_IntList, a, [0]), drawing.call(aten.sum.dim_IntList, a, [0], True))
    module, values = drawing.folded(*outputs, change=multiply_by_ones)
    assert count(module, aten.sum.dim_IntList) == 0
    assert count(module, aten.full.default) == 1
    assert_close(values, (x.sum(0), x.sum(0, keepdim=True)))


@pytest.mark.parametrize(
    ("x", "axes"),
    [
        (normal(512, 128), [1]),
        (normal(512, 128), [0, 1]),
        (normal(64, 64), [0]),
        (normal(64, 64, 32), [0]),
        (normal(512, 128, dtype=torch.float32).bfloat16(), [0]),
    ],
)
def test_other_sums_are_left_alone(x: Tensor, axes: list[int]) -> None:
    drawing = Drawing(x)
    module, _ = drawing.folded(drawing.call(aten.sum.dim_IntList, drawing.nodes[0], axes), change=multiply_by_ones)
    assert count(module, aten.sum.dim_IntList) == 1


def test_biases_of_large_linear_maps_are_added_behind_the_product() -> None:
    bias, x, w = normal(128), normal(512, 64, seed=1), normal(64, 128, seed=2)
    drawing = Drawing(bias, x, w)
    total = drawing.call(aten.addmm.default, *drawing.nodes)
    module, values = drawing.folded(total, drawing.call(aten.tanh.default, total), change=add_behind_products)
    assert count(module, aten.addmm.default) == 0
    assert count(module, aten.mm.default) == 1
    assert_close(values, (x @ w + bias, torch.tanh(x @ w + bias)))


@pytest.mark.parametrize(
    ("bias", "rows", "dtype"),
    [((128,), 64, torch.float64), ((512, 128), 512, torch.float64), ((128,), 512, torch.bfloat16)],
    ids=["small", "a bias of each row", "half precision"],
)
def test_other_linear_maps_are_left_alone(bias: tuple[int, ...], rows: int, dtype: torch.dtype) -> None:
    drawing = Drawing(*(normal(*shape).to(dtype) for shape in (bias, (rows, 64), (64, 128))))
    module, _ = drawing.folded(drawing.call(aten.addmm.default, *drawing.nodes), change=add_behind_products)
    assert count(module, aten.addmm.default) == 1


@pytest.mark.slow
def test_gradients_are_on_behind_rows_that_are_cut_into_pieces(tmp_path: Path) -> None:
    """The compiler then sees the functions inside of the next row one by one."""
    run(
        tmp_path,
        """
import torch
from flowops import LearnedMap, interpolants
from flowops.methods import METHODS
from flowops.networks import MLP

I = interpolants.linear()
X, teacher = (LearnedMap(MLP(2, width=8, depth=1)) for _ in range(2))
x0, x1 = torch.randn(2, 16, 2)
for name in ("regression", "discrete-emd", "lsd"):
    method = METHODS[name]
    given = {"regression": teacher, "discrete-emd": teacher.velocity(), "lsd": None}[name]
    draw = method.draw(X, I, x0, x1, teacher=given)
    method.compiled()(X, I, draw, teacher=given).loss.backward()
    assert torch.is_grad_enabled(), name
""",
    )

"""Operations with tangents that know to be zero: products are not taken, and the numbers are those of torch."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import flowops
from flowops import LearnedMap, interpolants
from flowops._derivatives import push_basis, value_and_jvp
from flowops.methods import get_method
from flowops.networks import MLP, UNet
from tests.examples import normal

aten = torch.ops.aten
FACTORS = {
    aten.mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.addmm.default: (1, 2),
    aten.convolution.default: (0, 1),
    aten.convolution_backward.default: (0, 1, 2),
}
KERNEL, OFFSET, MATRIX = normal(3, 3, 3, 3), normal(3, seed=1), normal(5, 48, seed=2)
Layers = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Products(TorchDispatchMode):
    """Counts products of numbers, and those of them that have a factor without another entry than zero."""

    def __init__(self) -> None:
        super().__init__()
        self.number, self.zero = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        factors = [args[k] for k in FACTORS.get(function, ())]
        if factors and factors[0].device.type != "meta":
            self.number += 1
            self.zero += any(not x.any() for x in factors)
        return function(*args, **(kwargs or {}))


def convolutions(x: Tensor, kernel: Tensor, offset: Tensor, matrix: Tensor) -> Tensor:
    y = torch.tanh(F.conv2d(x, kernel, padding=1) / 5)
    y = torch.tanh(F.conv2d(y, kernel, offset, padding=1) / 5)
    return F.linear(y.flatten(1), matrix)


def transposed(x: Tensor, kernel: Tensor, offset: Tensor, matrix: Tensor) -> Tensor:
    y = torch.tanh(F.conv_transpose2d(x, kernel, offset, padding=1) / 5)
    return F.linear(torch.tanh(F.conv1d(y.flatten(2), kernel[..., 0], padding=1)).flatten(1), matrix)


def batches(x: Tensor, kernel: Tensor, offset: Tensor, matrix: Tensor) -> Tensor:
    y = F.linear(x.flatten(2) * offset[:, None], matrix[:, :16])
    return torch.einsum("bki,kij->bj", torch.tanh(y), kernel.reshape(3, 27)[:, :25].reshape(3, 5, 5))


@pytest.mark.parametrize("layers", [convolutions, transposed, batches])
def test_value_derivative_and_gradients_are_those_of_weights_with_a_tangent_of_zeros(layers: Layers) -> None:
    x, u = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=3)
    results = []
    for held in (True, False):
        weights = [p.clone().requires_grad_() for p in (KERNEL, OFFSET, MATRIX)]
        if held:
            pair = value_and_jvp(lambda y, w=weights: layers(y, *w), (x,), (u,))
        else:  # torch multiplies by zeros that are numbers
            pair = torch.func.jvp(layers, (x, *weights), (u, *map(torch.zeros_like, weights)))[:2]
        gradients = torch.autograd.grad((pair[0] * pair[1]).sum(), weights, allow_unused=True)
        results.append([*pair, *gradients])
    assert_close(results[0], results[1])


@pytest.mark.parametrize(("layers", "number"), [(convolutions, 3), (transposed, 3), (batches, 2)])
def test_value_and_derivative_take_two_products_for_each_layer(layers: Layers, number: int) -> None:
    weights = [p.clone().requires_grad_() for p in (KERNEL, OFFSET, MATRIX)]
    with Products() as products:
        value_and_jvp(lambda y: layers(y, *weights), (normal(2, 3, 4, 4),), (normal(2, 3, 4, 4, seed=3),))
    assert (products.number, products.zero) == (2 * number, 0)


@pytest.mark.parametrize("network", ["perceptron", "images"])
@pytest.mark.parametrize("row", ["lsd", "esd", "meanflow", "lmd"])
def test_no_loss_multiplies_by_zeros_in_value_or_gradient(network: str, row: str) -> None:
    event = (2,) if network == "perceptron" else (1, 4, 4)
    net = MLP(2, width=8, depth=2) if network == "perceptron" else UNet(event, channels=4, multipliers=(1,), blocks=1)
    X = LearnedMap(net.double())
    generator = torch.Generator().manual_seed(0)
    for p in X.parameters():  # what is zero at initialization is no zero of a derivative
        p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    method, I = get_method(row), interpolants.linear()
    teacher = X.velocity() if method.row.teacher.removeprefix("optional ") else None
    draw = method.draw(X, I, normal(4, *event), normal(4, *event, seed=1), teacher=teacher, seed=0)
    with Products() as products:
        method.evaluate(X, I, draw, teacher=teacher).loss.backward()
    assert products.number > 10
    assert products.zero == 0


def test_a_jacobian_multiplies_by_no_zeros() -> None:
    weight, x = normal(4, 4).requires_grad_(), normal(3, 4)
    with Products() as products:
        J = push_basis(lambda u: value_and_jvp(lambda y: y @ weight, (x,), (u,))[1], x)
    assert products.zero == 0
    assert_close(J, weight.T.expand(3, 4, 4))


def test_the_memory_format_of_a_derivative_is_that_of_the_value() -> None:
    x = normal(2, 3, 4, 4).to(memory_format=torch.channels_last)
    value, derivative = value_and_jvp(lambda y: F.conv2d(y, KERNEL, OFFSET, padding=1), (x,), (x,))
    assert value.stride() == derivative.stride()
    assert value.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("last", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("zero", [(True, False), (False, True)])
def test_a_zero_convolution_has_the_memory_format_of_another(last: tuple[bool, ...], zero: tuple[bool, ...]) -> None:
    formats = [torch.channels_last if own else torch.contiguous_format for own in last]
    factors = [p.contiguous(memory_format=m) for p, m in zip((normal(2, 3, 4, 4), KERNEL), formats, strict=True)]
    operands = [
        torch._efficientzerotensor(p.shape, dtype=p.dtype) if none else p for p, none in zip(factors, zero, strict=True)
    ]
    options = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    numbers = [torch.zeros_like(p) if none else p for p, none in zip(operands, zero, strict=True)]
    assert aten.convolution(*operands, None, *options).stride() == aten.convolution(*numbers, None, *options).stride()


def test_a_second_import_leaves_the_kernels_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is registered twice is refused by torch 2.11."""
    monkeypatch.setattr(flowops, "_derivatives", sys.modules["flowops._derivatives"])  # to be put back
    monkeypatch.delitem(sys.modules, "flowops._derivatives")
    monkeypatch.delattr(torch.library.Library, "impl")
    assert importlib.import_module("flowops._derivatives").value_and_jvp is not value_and_jvp


@pytest.mark.parametrize("name", ["jvp", "vmap", "vmap over weights", "grad", "jacrev", "moving"])
def test_transforms_inside_and_weights_that_move_are_those_of_zeros_as_numbers(name: str) -> None:
    kernel, offset = KERNEL.clone(), OFFSET.clone()
    x, u = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=3)

    def f(y: Tensor, kernel: Tensor = kernel) -> Tensor:
        return convolutions(y, kernel, offset, MATRIX)

    def inside(x: Tensor, kernel: Tensor) -> Tensor:
        return {
            "jvp": lambda: torch.func.jvp(lambda y: f(y, kernel), (x,), (u,))[1],
            "vmap": lambda: torch.func.vmap(lambda z: f(z[None], kernel)[0])(x),
            "vmap over weights": lambda: torch.func.vmap(lambda w: F.conv2d(x, w))(torch.stack([kernel, -kernel])),
            "grad": lambda: torch.func.grad(lambda y: f(y, kernel).square().sum())(x),
            "jacrev": lambda: torch.func.jacrev(lambda y: f(y, kernel).sum(0))(x),
            "moving": lambda: F.conv2d(x, kernel * x.mean(), offset) + F.conv2d(x, kernel, offset * x.mean()),
        }[name]()

    one = value_and_jvp(lambda y: inside(y, kernel), (x,), (u,))
    assert_close(one, torch.func.jvp(inside, (x, kernel), (u, torch.zeros_like(kernel))))


class TestKernels:
    """Against torch's products of the same zeros as numbers."""

    x, weight, bias, w = normal(2, 3, 4, 4), normal(6, 3, 3, 3), normal(6, seed=1), normal(2, 6, 2, 2, seed=2)
    options = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)

    @pytest.mark.parametrize("zero", list(itertools.product([False, True], repeat=3)))
    def test_a_convolution(self, zero: tuple[bool, ...]) -> None:
        operands, numbers = self._operands((self.x, self.weight, self.bias), zero)
        assert_close(aten.convolution(*operands, *self.options), aten.convolution(*numbers, *self.options))

    @pytest.mark.parametrize("zero", list(itertools.product([False, True], repeat=3)))
    @pytest.mark.parametrize("mask", [[True, True, True], [True, False, False], [False, True, True]])
    def test_its_gradients(self, zero: tuple[bool, ...], mask: list[bool]) -> None:
        operands, numbers = self._operands((self.w, self.x, self.weight), zero)
        found, wanted = (
            aten.convolution_backward(*factors, [6], *self.options, mask) for factors in (operands, numbers)
        )
        for one, other, asked in zip(found, wanted, mask, strict=True):
            if asked:
                assert_close(one, other)

    @pytest.mark.parametrize("zero", [(True, False), (False, True), (True, True)])
    @pytest.mark.parametrize("batch", [(), (3,)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_products_of_matrices(self, zero: tuple[bool, ...], batch: tuple[int, ...], dtype: torch.dtype) -> None:
        factors = normal(*batch, 4, 5).to(dtype), normal(*batch, 5, 2, seed=1).to(dtype)
        operands, numbers = self._operands(factors, zero)
        product = aten.bmm if batch else aten.mm
        assert_close(product(*operands), product(*numbers))

    def _operands(self, factors: tuple[Tensor, ...], zero: tuple[bool, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """The factors, some of them zero without memory, and the same with numbers."""
        pairs = list(zip(factors, zero, strict=True))
        return (
            [torch._efficientzerotensor(p.shape, dtype=p.dtype) if none else p for p, none in pairs],
            [torch.zeros_like(p) if none else p for p, none in pairs],
        )


ENTRYWISE: dict[str, Callable[..., Tensor]] = {"mul": torch.mul, "add": torch.add, "sub": torch.sub, "div": torch.div}
SHAPES = [((3,), (3,)), ((2, 1), (3,)), ((), (3,)), ((3,), ()), ((), ()), ((0, 2), (2,)), ((2, 3), (3,))]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.complex64, torch.int64]


def zero(x: Tensor) -> Tensor:
    return torch._efficientzerotensor(x.shape, dtype=x.dtype)


class TestEntrywise:
    """Against torch's operations on the same zeros as numbers."""

    @pytest.mark.parametrize("name", ENTRYWISE)
    @pytest.mark.parametrize("zeros", [(True, False), (False, True), (True, True)])
    def test_of_tensors(self, name: str, zeros: tuple[bool, bool]) -> None:
        for shapes, dtypes in itertools.product(SHAPES, itertools.product(DTYPES, repeat=2)):
            if {torch.bfloat16, torch.complex64} <= set(dtypes):
                continue  # their common dtype is new, and torch has few operations of it
            terms = [
                (torch.ones(shape) + normal(*shape or (1,)).abs().reshape(shape)).to(dtype)
                for shape, dtype in zip(shapes, dtypes, strict=True)
            ]
            operands = [zero(p) if none else p for p, none in zip(terms, zeros, strict=True)]
            numbers = [torch.zeros_like(p) if none else p for p, none in zip(terms, zeros, strict=True)]
            found, wanted = ENTRYWISE[name](*operands), ENTRYWISE[name](*numbers)
            assert found.stride() == wanted.stride() or not found.numel()
            if wanted.isfinite().all():
                assert_close(found, wanted)
            else:  # by zero: torch's own rule for such a zero gives infinities of no sign, and of no phase
                assert name == "div"
                assert found.dtype == wanted.dtype
                assert (found.isnan() if zeros[0] else ~found.isfinite()).all()

    @pytest.mark.parametrize("name", ["add", "sub"])
    @pytest.mark.parametrize("zeros", [(True, False), (False, True), (True, True)])
    def test_with_a_factor(self, name: str, zeros: tuple[bool, bool]) -> None:
        terms = normal(2, 1), normal(3, seed=1)
        operands = [zero(p) if none else p for p, none in zip(terms, zeros, strict=True)]
        numbers = [torch.zeros_like(p) if none else p for p, none in zip(terms, zeros, strict=True)]
        assert_close(ENTRYWISE[name](*operands, alpha=2.5), ENTRYWISE[name](*numbers, alpha=2.5))

    @pytest.mark.parametrize("number", [2, 2.0, 2j, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
    @pytest.mark.parametrize("shape", [(), (3,)])
    def test_with_numbers(self, number: complex, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        x = torch.zeros(shape, dtype=dtype)
        asked: list[Callable[[Tensor], Tensor]] = [lambda y: y * number, lambda y: number * y, lambda y: y / number]
        asked += [lambda y: y + number, lambda y: number + y]
        if not isinstance(number, bool):  # torch takes no bools from tensors
            asked += [lambda y: y - number, lambda y: number - y]
        for operation in asked:
            assert_close(operation(zero(x)), operation(x))

    @pytest.mark.parametrize("name", ENTRYWISE)
    def test_shapes_that_do_not_fit_are_refused(self, name: str) -> None:
        with pytest.raises(RuntimeError, match="mismatch|broadcast"):
            ENTRYWISE[name](zero(normal(2, 3)), normal(2))

    def test_no_python_rule_is_asked_for_a_shape(self) -> None:
        class Shapes(TorchDispatchMode):
            asked = 0

            def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                value = function(*args, **(kwargs or {}))
                self.asked += isinstance(value, Tensor) and value.device.type == "meta"
                return value

        held, x = normal(4, 2, seed=1), normal(4, 2)
        with Shapes() as shapes:
            value_and_jvp(lambda y: (held * y + held / (2 - y) - y * held[:, :1]) / (1 + held), (x,), (x,))
        assert shapes.asked == 0

"""Derivatives of every public operator against differences: reverse, forward, batched and second order."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.autograd.functional import jacobian
from torch.func import jvp, vmap
from torch.testing import assert_close

from flowops import FlowMap, Interpolant, SolutionOperator, VelocityField, fields, interpolants, maps, residuals
from tests.examples import normal
from tests.gradchecks.cases import CASES, CONSTANT, Case, T, X

# The shape checks read the names of shapes, which a transform of torch changes.
pytestmark = pytest.mark.usefixtures("unchecked")

NO_OPERATORS = {
    "Clock": "a record",
    "DivergenceEstimate": "a record",
    "Helmholtz": "a record",
    "Event": "a record",
    "Statistics": "a record",
    "SolverError": "an error",
    "LogDensity": "a record",
    "LogDetEstimate": "a record",
    "PARAMETERIZATIONS": "a table of names",
    "Parameterization": "an abstract class",
    "Sides": "a record",
    "NAMED": "a table of names",
    "named": "an interpolant by its name; each is a case",
    "parse": "a formula as an expression, of no tensor",
    "QUANTITIES": "a table of names",
    "Property": "a record",
    "ValidationReport": "a record",
    "validate": "a report",
    "Divergence": "a record",
    "divergences": "a report",
}
NO_DERIVATIVES = {
    "forward": "what a call calls",
    "clock": "a record",
    "has_latent": "a flag",
    "expressions": "texts",
    "validate": "a report",
    "endpoint_defects": "numbers for a report",
    "combination": "what a call and velocity call",
}


def takes_forward_derivative(case: Case) -> bool:
    """Whether a forward derivative is taken inside."""
    try:
        with forward_ad.dual_level():
            case.function(*case.leaves)
    except RuntimeError as error:
        return "Nested forward mode AD is not supported" in str(error)
    return False


def mapped(case: Case) -> bool:
    """Whether it takes another axis by `vmap`."""
    return not (case.adaptive or case.random)


def each(chosen: list[Case]) -> pytest.MarkDecorator:
    """A test of each; adaptive solves are slow under all the differences."""
    marked = [pytest.param(case, marks=[pytest.mark.slow] * case.adaptive, id=case.name) for case in chosen]
    return pytest.mark.parametrize("case", marked)


PLAIN = [case for case in CASES if not case.random and not takes_forward_derivative(case)]
SOLVES = [case for case in CASES if case.adaptive and case.covers != "preimage"]
MAPPED = [case for case in CASES if mapped(case)]


def outputs(value: Any) -> tuple[Tensor, ...]:
    return (value,) if isinstance(value, Tensor) else tuple(value)


def leaves(case: Case) -> tuple[Tensor, ...]:
    return tuple(z.clone().requires_grad_() for z in case.leaves)


def differences(function: Callable[..., Any], points: Sequence[Tensor]) -> list[Tensor]:
    """The Jacobian of each output, `[outputs, leaves]`, by central differences; `function` takes a batch of leaves."""
    sizes, h = [z.numel() for z in points], 1e-6
    moves = zip(points, (h * torch.eye(sum(sizes)).double()).split(sizes, 1), strict=True)
    stepped = [(z, u.reshape(-1, *z.shape)) for z, u in moves]
    moved = [torch.cat([z + u, z - u]).detach().requires_grad_() for z, u in stepped]
    pairs = [value.detach().flatten(1).chunk(2) for value in outputs(function(*moved))]
    return [(ahead - behind).mT / (2 * h) for ahead, behind in pairs]


def reverse(values: tuple[Tensor, ...], points: Sequence[Tensor]) -> list[Tensor]:
    """The same by reverse mode: every row alone, which must be those of one backward pass for all."""
    found = []
    options: dict[str, Any] = {"retain_graph": True, "allow_unused": True}

    def rows(gradients: Sequence[Tensor | None], number: int) -> Tensor:
        filled = (
            torch.zeros(number, *z.shape).double() if g is None else g for g, z in zip(gradients, points, strict=True)
        )
        return torch.cat([g.reshape(number, -1) for g in filled], 1)

    for value in values:
        covectors = torch.eye(value.numel()).double().view(-1, *value.shape)
        single = torch.cat([rows(torch.autograd.grad(value, points, w, **options), 1) for w in covectors])
        together = torch.autograd.grad(value, points, covectors, is_grads_batched=True, **options)
        assert_close(rows(together, len(covectors)), single, atol=1e-9, rtol=1e-7)
        found.append(single)
    return found


def assert_all_close(found: list[Tensor], expected: list[Tensor], **tolerances: Any) -> None:
    for value, wanted in zip(found, expected, strict=True):
        assert_close(value, wanted, **tolerances)


@each(CASES)
def test_reverse_mode_is_that_of_differences(case: Case) -> None:
    """Every entry, and by torch what else it asks of a backward pass."""
    first: dict[str, Any] = {"atol": 2e-6, "rtol": 1e-5}
    assert gradcheck(case.function, leaves(case), check_batched_grad=True, fast_mode=mapped(case), **first)
    if mapped(case):
        points = leaves(case)
        found = reverse(outputs(case.function(*points)), points)
        assert_all_close(found, differences(vmap(case.function), points), **first)


@each(CASES)
def test_second_derivatives_are_those_of_differences(case: Case) -> None:
    second: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-4}
    if not mapped(case):
        assert gradgradcheck(case.function, leaves(case), check_batched_grad=True, **second)
        return
    points = leaves(case)
    covectors = [
        normal(*value.shape, seed=k).requires_grad_() for k, value in enumerate(outputs(case.function(*points)))
    ]

    def gradient(function: Callable[..., Any], moved: Sequence[Tensor]) -> tuple[Tensor, ...]:
        at, along = moved[: len(points)], moved[len(points) :]
        return torch.autograd.grad(outputs(function(*at)), at, along, create_graph=True, materialize_grads=True)

    leaf = (*points, *covectors)
    found = reverse(gradient(case.function, leaf), leaf)
    assert_all_close(found, differences(lambda *moved: gradient(vmap(case.function), moved), leaf), **second)


@each(CASES)
def test_forward_mode_is_reverse_mode(case: Case) -> None:
    """One direction, and all of them at once under `vmap`."""
    points = case.leaves
    sizes = [z.numel() for z in points]
    basis = torch.eye(sum(sizes)).double()

    def push(direction: Tensor) -> tuple[Tensor, ...]:
        tangents = tuple(u.view_as(z) for u, z in zip(direction.split(sizes), points, strict=True))
        return outputs(jvp(case.function, points, tangents)[1])

    moved = leaves(case)
    expected = []
    for value in outputs(case.function(*moved)):
        rows = [
            torch.autograd.grad(entry, moved, retain_graph=True, materialize_grads=True) for entry in value.flatten()
        ]
        expected.append(torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]))
    direction = normal(sum(sizes), seed=7)
    columns = vmap(push, randomness="same")(basis)
    for found, column, J in zip(push(direction), columns, expected, strict=True):
        assert_close(found.flatten(), J @ direction, rtol=1e-7, atol=1e-9)
        assert_close(column.flatten(1).T, J, rtol=1e-7, atol=1e-9)


@each(PLAIN)
def test_dual_numbers_are_differences(case: Case) -> None:
    """Of operators that take no forward derivative inside, since dual levels of torch do not nest."""
    options: dict[str, Any] = {"check_forward_ad": True, "check_backward_ad": False, "check_batched_grad": False}
    options |= {"check_batched_forward_grad": True, "atol": 2e-6, "rtol": 1e-5}
    if not mapped(case):
        assert gradcheck(case.function, leaves(case), **options)
        return
    sizes = [z.numel() for z in case.leaves]
    basis = torch.eye(sum(sizes)).double()

    def pushed(direction: Tensor) -> tuple[Tensor, ...]:
        parts = zip(case.leaves, direction.split(sizes), strict=True)
        duals = [forward_ad.make_dual(z, u.view_as(z)) for z, u in parts]
        pairs = [forward_ad.unpack_dual(value) for value in outputs(case.function(*duals))]
        return tuple((torch.zeros_like(y) if u is None else u).flatten() for y, u in pairs)

    with forward_ad.dual_level():
        singles = [torch.stack(columns, 1) for columns in zip(*map(pushed, basis), strict=True)]
    together = jacobian(
        lambda *moved: outputs(case.function(*moved)), case.leaves, vectorize=True, strategy="forward-mode"
    )
    for blocks, single in zip(together, singles, strict=True):
        assert_close(torch.cat([block.reshape(len(single), -1) for block in blocks], 1), single, rtol=1e-7, atol=1e-9)
    assert_all_close(singles, differences(vmap(case.function), case.leaves), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("case", SOLVES, ids=lambda case: case.name)
def test_an_adaptive_solve_refuses_to_be_mapped_over(case: Case) -> None:
    with pytest.raises(RuntimeError, match="works in no `vmap`; make the axis a part of the batch, or use a fixed"):
        vmap(case.function)(*(torch.stack([z, z]) for z in case.leaves))


@pytest.mark.parametrize("case", MAPPED, ids=lambda case: case.name)
def test_an_axis_that_is_mapped_over_is_a_loop(case: Case) -> None:
    stacked = tuple(torch.stack([z, 0.9 * z, 1.1 * z]) for z in case.leaves)
    mapped = vmap(case.function)(*stacked)
    looped = [case.function(*(z[k] for z in stacked)) for k in range(3)]
    for k, value in enumerate(looped):
        for found, expected in zip(outputs(mapped), outputs(value), strict=True):
            assert_close(found[k], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CONSTANT)
def test_a_constant_has_no_derivative(name: str) -> None:
    t, x = T.clone().requires_grad_(), X.clone().requires_grad_()
    assert not CONSTANT[name](t, x).requires_grad
    with forward_ad.dual_level():
        value = CONSTANT[name](*(forward_ad.make_dual(z.detach(), torch.ones_like(z)) for z in (t, x)))
        assert forward_ad.unpack_dual(value).tangent is None


def public(kind: type) -> set[str]:
    """The public methods that a class defines itself."""
    calls = (types.FunctionType, staticmethod, classmethod)
    names = (name for name, member in vars(kind).items() if isinstance(member, calls) and not name.startswith("_"))
    return {f"{kind.__name__}.{name}" for name in names if name not in NO_DERIVATIVES}


def test_every_public_operator_is_a_case() -> None:
    covered = {case.covers for case in CASES} | {case.covers.split(".")[0] for case in CASES} | set(CONSTANT)
    for package in (fields, maps, residuals, interpolants):
        for name in package.__all__:
            assert (name in covered) != (name in NO_OPERATORS), f"{package.__name__}.{name}"
    for kind in (VelocityField, FlowMap, SolutionOperator, Interpolant):
        missing = public(kind) - covered
        assert not missing

"""Derivatives of every public operator against differences: reverse, forward, batched and second order."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
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


def each(chosen: list[Case]) -> pytest.MarkDecorator:
    """A test of each; adaptive solves are slow under all the differences."""
    marked = [pytest.param(case, marks=[pytest.mark.slow] * case.adaptive, id=case.name) for case in chosen]
    return pytest.mark.parametrize("case", marked)


PLAIN = [case for case in CASES if not case.random and not takes_forward_derivative(case)]
SOLVES = [case for case in CASES if case.adaptive and case.covers != "preimage"]
MAPPED = [case for case in CASES if not (case.adaptive or case.random)]


def outputs(value: Any) -> tuple[Tensor, ...]:
    return (value,) if isinstance(value, Tensor) else tuple(value)


def leaves(case: Case) -> tuple[Tensor, ...]:
    return tuple(z.clone().requires_grad_() for z in case.leaves)


@each(CASES)
def test_reverse_mode_is_that_of_differences(case: Case) -> None:
    assert gradcheck(case.function, leaves(case), check_batched_grad=True, atol=2e-6, rtol=1e-5)


@each(CASES)
def test_second_derivatives_are_those_of_differences(case: Case) -> None:
    assert gradgradcheck(case.function, leaves(case), check_batched_grad=True, atol=1e-5, rtol=1e-4)


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
    assert gradcheck(case.function, leaves(case), check_batched_forward_grad=True, atol=2e-6, rtol=1e-5, **options)


@pytest.mark.parametrize("case", SOLVES, ids=lambda case: case.name)
def test_an_adaptive_solve_refuses_to_be_mapped_over(case: Case) -> None:
    with pytest.raises(RuntimeError, match="works in no `vmap`; make the axis a part of the batch, or use a fixed"):
        vmap(case.function)(*(torch.stack([z, z]) for z in case.leaves))


@pytest.mark.parametrize(
    "case", [case for case in CASES if not (case.adaptive or case.random)], ids=lambda case: case.name
)
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

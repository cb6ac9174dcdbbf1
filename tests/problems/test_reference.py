"""The table of reference problems: every entry builds under every schedule, and its map solves its field."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import pytest
import torch

from flowops import problems
from flowops.interpolants import Interpolant, linear, trigonometric
from flowops.problems import REFERENCE, Problem
from flowops.problems.reference import gaussian_parameters

ODES = {"linear", "rotation", "logistic", "time-dependent", "pendulum"}
SOLVED = {*ODES, "gaussian"}


def states(problem: Problem, n: int = 5) -> torch.Tensor:
    source = torch.Generator().manual_seed(0)
    return problem.sample(0.4, n, generator=source, dtype=torch.float64)


@pytest.mark.parametrize("name", REFERENCE)
def test_every_entry_builds_under_every_schedule(name: str, schedule: Interpolant) -> None:
    problem = REFERENCE[name](schedule)
    assert isinstance(problem, Problem)
    assert problem.interpolant is (None if name in ODES else schedule)
    assert (problem.X is not None) == (name in SOLVED)
    x = states(problem)
    assert x.shape == (5, *problem.event)
    assert problem.b(0.4, x).isfinite().all()


@pytest.mark.parametrize("name", sorted(SOLVED))
@pytest.mark.parametrize("I", [linear(), trigonometric()], ids=["linear", "trigonometric"])
def test_the_map_of_an_entry_solves_its_field(name: str, I: Interpolant, check_flow: Callable[..., None]) -> None:
    problem = REFERENCE[name](I)
    check_flow(problem, states(problem), ((0.4, 0.9), (0.4, 0.1)))


@pytest.mark.parametrize("name", sorted(SOLVED))
def test_the_map_of_an_entry_does_not_solve_another_field(name: str, check_flow: Callable[..., None]) -> None:
    problem = REFERENCE[name](linear())
    other = Problem(name, 1.01 * problem.b, problem.X, problem.interpolant, problem.event, problem.base)
    with pytest.raises(AssertionError):
        check_flow(other, states(problem), ((0.4, 0.9),))


def test_every_kind_of_problem_has_an_entry() -> None:
    factories = {name for name in problems.__all__ if name not in ("Problem", "REFERENCE")}
    assert {REFERENCE[name](linear()).name for name in REFERENCE} == factories


def test_an_entry_is_the_same_at_every_call_and_shares_nothing() -> None:
    for make in REFERENCE.values():
        first, again = make(linear()), make(linear())
        x = states(first)
        assert torch.equal(first.b(0.3, x), again.b(0.3, x))
        assert not {id(b) for b in first.b.buffers()} & {id(b) for b in again.b.buffers()}


def test_the_table_cannot_be_written_to() -> None:
    assert isinstance(REFERENCE, MappingProxyType)


def test_the_gaussian_target_has_correlated_coordinates_of_different_scales() -> None:
    mean, covariance = gaussian_parameters()
    assert (mean.dtype, covariance.dtype) == (torch.float64, torch.float64)
    assert torch.equal(covariance, covariance.T)
    assert torch.linalg.eigvalsh(covariance)[0] > 0.05
    assert covariance[0, 1].abs() > 0.1
    assert covariance[0, 0] != covariance[1, 1]
    x = REFERENCE["gaussian"](linear()).sample_data(40_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(x.mean(0).double(), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(x.T.cov().double(), covariance, rtol=0, atol=0.03)

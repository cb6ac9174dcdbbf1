"""Parareal: calls that wait for each other, samples that leave, conditions, chunks, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, VelocityField, problems
from flowops.sampling import parareal
from flowops.sampling.grids import uniform
from tests.examples import normal, over
from tests.methods.rows import learned

LABELS = torch.tensor([0, 2, 1, 1])


class Decay(VelocityField):
    """Each sample decays at the rate of its label."""

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return -over(label, x).to(x.dtype) * x


@pytest.mark.parametrize(
    ("jumps", "sequential", "calls"),
    # guess, then two sweeps of one rk4 step on the parts that are left, and what carries their jumps
    [(True, 1 + 2 * 5, 4 + (4 * 4 + 2 * 6) + (3 * 4 + 2 * 3)), (False, 4 + (4 + 4) + (4 + 3), 4 + 4 * 5 + 3 * 5)],
)
def test_the_calls_are_those_that_are_made(jumps: bool, sequential: int, calls: int) -> None:
    problem = problems.rotation(1.0)
    found = parareal(learned(), problem.b, normal(4, 2), uniform(4), tolerance=1e-300, sweeps=2, jumps=jumps)
    assert (found.sequential, found.calls) == (sequential, calls)
    assert found.sweeps.tolist() == [2] * 4
    assert not bool(found.converged.any())


def test_conditions_stay_with_their_samples_in_chunks_too() -> None:
    X, b, x0 = learned().given(label=LABELS), Decay().given(label=LABELS), normal(4, 2)
    wanted = b.flow_map(method="rk4", steps=1).compose(uniform(4), x0)
    for chunk in (None, 5, 10):
        found = parareal(X, b, x0, uniform(4), tolerance=1e-300, chunk=chunk)
        assert_close(found.x, wanted)
        assert found.sequential == 1 + 3 * 5 + 4  # after the last sweep nothing is left to carry
    assert parareal(X, b, x0, uniform(4), tolerance=1e-300).calls == found.calls


def test_samples_leave_one_by_one() -> None:
    class Off(FlowMap):
        def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
            rate = -over(label * (t - s), x).to(x.dtype)
            return x * rate.exp() + over((label == 2) * (t - s), x) / 2

    found = parareal(Off().given(label=LABELS), Decay().given(label=LABELS), normal(4, 2), uniform(6), tolerance=1e-3)
    assert bool(found.converged.all())
    assert found.sweeps[1] > 1
    assert found.sweeps[[0, 2, 3]].tolist() == [1] * 3
    assert bool((found.error <= 1e-3).all())


def test_a_change_as_large_as_the_tolerance_is_small_enough() -> None:
    problem, x0 = problems.rotation(1.0), normal(1, 2)
    loose = parareal(learned(), problem.b, x0, uniform(6), sweeps=2, tolerance=1e-300)
    tight = parareal(learned(), problem.b, x0, uniform(6), tolerance=float(loose.error))
    assert tight.sweeps.item() == loose.sweeps.item() == 2
    assert tight.converged.item()


def test_a_solver_may_be_described() -> None:
    problem, x0 = problems.rotation(1.0), normal(3, 2)
    found = parareal(learned(), problem.b, x0, uniform(3), tolerance=1e-8, method="dopri5", rtol=1e-10, atol=1e-10)
    assert_close(found.x, problem.X(0.0, 1.0, x0), rtol=1e-7, atol=1e-7)


def test_what_is_no_number_does_not_converge() -> None:
    X = FlowMap.from_function(lambda _, t, x: x / over(t * 0, x))
    found = parareal(X, problems.rotation(1.0).b, normal(2, 2), uniform(2), sweeps=1)
    assert not bool(found.converged.any())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"tolerance": -1.0}, ValueError, "`tolerance` must be positive, got -1.0"),
        ({"sweeps": 0}, ValueError, "`sweeps` must be a whole number of at least 1, got 0"),
        ({"grid": [0.0, 0.5]}, ValueError, "`grid` must run from 0 to 1"),
        ({"x0": torch.empty(0, 2)}, ValueError, "`x0` must hold at least one state"),
        ({"b": learned()}, TypeError, "`X` and `b` must be a FlowMap and a VelocityField, got LearnedJointMap and Lea"),
        ({"method": "rk9"}, ValueError, "rk9"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"b": problems.rotation(1.0).b, "x0": normal(2, 2), "grid": uniform(2), **options}
    with pytest.raises(kind, match=message):
        parareal(learned(), given.pop("b"), given.pop("x0"), given.pop("grid"), **given)

"""What a solve tells about its work."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowops import SolutionOperator, VelocityField
from flowops._solvers.tableaus import EMBEDDED
from tests.examples import Cubic, mild, uniform


class Counted(VelocityField):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        return Cubic().forward(t, x)


@pytest.mark.parametrize("method", EMBEDDED)
def test_calls_are_those_of_the_field(method: str) -> None:
    b = Counted()
    value, work = SolutionOperator(b, method=method, rtol=1e-5, atol=1e-5).solve(0.0, 1.0, mild(1, 2))
    assert work.calls.tolist() == [b.calls]
    assert b.calls == 2 + (EMBEDDED[method].stages - 1) * int(work.steps + work.rejected)
    assert torch.equal(value, SolutionOperator(Cubic(), method=method, rtol=1e-5, atol=1e-5)(0.0, 1.0, mild(1, 2)))


def test_numbers_are_per_sample_and_zero_at_rest() -> None:
    s = uniform(7)
    t = torch.where(torch.arange(7) == 3, s, uniform(7, seed=1))
    for chunk in (2, None):
        work = SolutionOperator(Cubic(), chunk=chunk).solve(s, t, mild(7, 2))[1]
        for numbers in (work.steps, work.rejected, work.calls):
            assert numbers.shape == (7,)
            assert numbers[3] == 0
        assert (work.steps[torch.arange(7) != 3] > 0).all()
        assert not work.failed.any()
        assert not work.stiff.any()


def test_a_jump_is_felt_by_rejections() -> None:
    jump = VelocityField.from_function(lambda t, x: torch.where(t > 0.4, 1.0, -1.0).to(x.dtype)[:, None] + 0 * x)
    work = SolutionOperator(jump, rtol=1e-6, atol=1e-6).solve(0.0, 1.0, mild(2, 1))[1]
    assert (work.rejected > 2).all()


def test_fixed_steps_are_counted_too() -> None:
    work = SolutionOperator(Cubic(), method="rk4", steps=7).solve(0.0, 1.0, mild(3, 2))[1]
    assert work.steps.tolist() == [7, 7, 7]
    assert work.calls.tolist() == [28, 28, 28]


def test_torchdiffeq_does_not_tell() -> None:
    with pytest.raises(ValueError, match="`method` must be one of flowops for statistics, got 'torchdiffeq:dopri5'"):
        SolutionOperator(Cubic(), method="torchdiffeq:dopri5").solve(0.0, 1.0, mild(3, 2))

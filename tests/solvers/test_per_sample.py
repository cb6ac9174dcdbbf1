"""One step size per sample: no sample knows of another, and those that have arrived are asked for no more."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField
from flowops._solvers.solver import ADAPTIVE
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, CubicFlow, assert_near, mild, normal, over, uniform

METHODS = pytest.mark.parametrize("method", ADAPTIVE)
LOOSE = {"bosh3": 1e-3, "adaptive_heun": 1e-2, "rodas5p": 1e-5} | dict.fromkeys(ADAPTIVE[:4], 1e-5)


class Spinning(VelocityField):
    """A rotation of the plane at each sample's own speed, remembering which samples are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []

    def forward(self, t: Tensor, x: Tensor, *, speed: Tensor) -> Tensor:
        self.asked.append(speed)
        return speed[:, None] * torch.stack([-x[:, 1], x[:, 0]], 1)


def turned(x: Tensor, angle: Tensor) -> Tensor:
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]], 1)


@METHODS
def test_a_batch_is_the_solves_of_its_samples(method: str) -> None:
    speed, s, t, x = 30 * normal(9), uniform(9), uniform(9, seed=1), normal(9, 2, seed=2)
    X = SolutionOperator(Spinning(), method=method, rtol=LOOSE[method], atol=LOOSE[method])
    together, work = X.given(speed=speed).solve(s, t, x)
    for i in range(9):
        row = slice(i, i + 1)
        alone, own = X.given(speed=speed[row]).solve(s[row], t[row], x[row])
        assert_close(together[row], alone, rtol=1e-11, atol=1e-11)
        assert (own.steps, own.rejected, own.calls) == (work.steps[row], work.rejected[row], work.calls[row])


@METHODS
def test_the_company_of_a_sample_changes_rounding_alone(method: str) -> None:
    x, busy = normal(1, 2), torch.tensor([3.0]).double()
    X = SolutionOperator(Spinning(), method=method, rtol=LOOSE[method], atol=LOOSE[method])
    alone = X.given(speed=busy)(0.0, 1.0, x)
    for other in (0.0, 1e-3, 20.0 if method == "adaptive_heun" else 150.0):
        speed = torch.cat([torch.full((20,), other).double(), busy])
        value = X.given(speed=speed)(0.0, 1.0, torch.cat([normal(20, 2, seed=3), x]))
        assert_close(value[-1:], alone, rtol=1e-11, atol=1e-11)


@METHODS
def test_a_later_start_takes_the_same_steps(method: str) -> None:
    """Of a field that knows no time."""
    x = normal(5, 2)
    X = SolutionOperator(Spinning(), method=method, rtol=LOOSE[method], atol=LOOSE[method]).given(speed=7 * normal(5))
    value, work = X.solve(0.0, 1.0, x)
    later, other = X.solve(5.0, 6.0, x)
    assert_close(later, value, rtol=1e-9, atol=1e-9)
    assert torch.equal(torch.stack([other.steps, other.rejected]), torch.stack([work.steps, work.rejected]))


def test_samples_that_have_arrived_are_asked_for_no_more() -> None:
    b, speed = Spinning(), torch.tensor([1.0] * 63 + [200.0]).double()
    x = normal(64, 2)
    value, work = SolutionOperator(b).given(speed=speed).solve(0.0, 1.0, x)
    assert_near(value, turned(x, speed), 1e-9)
    sizes = [len(asked) for asked in b.asked]
    assert sizes[0] == 64
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert b.asked[-1].item() == 200
    assert sum(sizes) < 1.05 * int(work.calls.sum())  # the whole batch would be 20 times that
    assert int(work.calls[-1]) > 20 * int(work.calls[0])


@METHODS
@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_every_event_and_batch_both_ways(method: str, event: tuple[int, ...], batch: int) -> None:
    s, t, x = uniform(batch), uniform(batch, seed=1), mild(batch, *event)
    tolerance = 1e-4 if method == "adaptive_heun" else 1e-7
    X = SolutionOperator(Cubic(), method=method, rtol=tolerance, atol=tolerance)
    for start, end in ((s, t), (t, s), (0.0, 1.0), (1.0, 0.0)):
        assert_near(X(start, end, x), CubicFlow()(start, end, x), 30 * tolerance)


@METHODS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_pair_keeps_the_dtype(method: str, dtype: torch.dtype) -> None:
    s, t, x = uniform(5, dtype=dtype), uniform(5, seed=1), mild(5, 2, dtype=dtype)
    value = SolutionOperator(Cubic(), method=method, rtol=1e-4, atol=1e-4)(s, t, x)
    assert value.dtype == dtype
    assert_near(value.double(), CubicFlow()(s.double(), t, x.double()), 1e-3)


def test_conditions_of_any_shape_go_with_their_samples() -> None:
    class Pulled(VelocityField):
        def forward(self, t: Tensor, x: Tensor, *, target: Tensor, rate: Tensor) -> Tensor:
            return over(rate, x) * (target - x)

    target, rate, x = normal(12, 2, 3, 3), 10 * uniform(12), normal(12, 2, 3, 3, seed=1)
    t = uniform(12, seed=2)
    value = SolutionOperator(Pulled().given(target=target, rate=rate))(0.0, t, x)
    assert_near(value, target + over(torch.exp(-rate * t), x) * (x - target), 1e-9)


@pytest.mark.usefixtures("unchecked")
def test_a_field_that_holds_samples_itself_is_told_so() -> None:
    speed = torch.tensor([1.0] * 7 + [300.0]).double()
    b = VelocityField.from_function(lambda t, x: speed[:, None] * torch.cos(speed * t)[:, None] + 0 * x)
    with pytest.raises((RuntimeError, ValueError)) as failure:
        SolutionOperator(b)(0.0, 1.0, normal(8, 1))
    assert any("must be a condition that is given to it" in note for note in failure.value.__notes__)


def test_gradients_of_samples_are_their_own() -> None:
    b, s, t, x = Coupled((2,)), uniform(6), uniform(6, seed=1), normal(6, 2)
    leaves = [z.requires_grad_() for z in (s, t, x)]
    X = SolutionOperator(b)
    together = torch.autograd.grad(X(s, t, x).sum(), [*leaves, b.weight])
    alone = [torch.autograd.grad(X(s[i], t[i], x[i : i + 1]).sum(), [*leaves, b.weight]) for i in range(6)]
    for gradient, parts in zip(together, zip(*alone, strict=True), strict=True):
        assert_close(gradient, sum(parts), rtol=1e-9, atol=1e-9)

"""Calibrated plans: what is measured, which is chosen, how it is kept, and what is refused."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap, VelocityField
from flowops.networks import MLP
from flowops.sampling import Calibration, Conditioning, Plan, adaptive_sample, calibrate
from flowops.sampling.adaptive import distance
from flowops.sampling.grids import uniform
from tests.examples import normal, over


class Rough(FlowMap):
    r"""$x+d\,(t-s)^2$: after $k$ equal steps wrong by $d/k$, for every sample its own $d$; its own field is zero."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, difficulty: Tensor) -> Tensor:
        return x + over(difficulty * (t - s) ** 2, x)


STILL = VelocityField.from_function(lambda _, x: torch.zeros_like(x))


def rough(n: int = 300) -> tuple[FlowMap, Tensor]:
    """A map whose samples differ, a tenth of them hard, and states near 0."""
    difficulty = torch.where(torch.arange(n) % 10 == 3, 0.5, 0.01).double()
    return Rough().given(difficulty=difficulty), torch.zeros(n, 2, dtype=torch.float64)


def of(errors: list[list[float]], calls: list[float]) -> Calibration:
    """A calibration of plans along equal steps."""
    plans = tuple(Plan(tuple(uniform(k))) for k in range(1, len(errors) + 1))
    return Calibration(plans, torch.tensor(calls).double(), torch.tensor(errors).double())


def test_the_errors_of_equal_steps_are_those_of_the_map() -> None:
    X, x0 = rough()
    found = calibrate(X, x0, STILL)
    hard = torch.arange(300)[60:] % 10 == 3
    for k in (1, 2, 4, 64):
        at = found.plans.index(Plan(tuple(uniform(k))))
        off = torch.where(hard, 0.5, 0.01).double() / k
        assert_close(found.errors[at], off / (1 + off))  # relative to 1 + |x|
        assert found.calls[at] == k


def test_hard_samples_are_halved_where_that_is_cheaper_for_all() -> None:
    X, x0 = rough()
    measured = calibrate(X, x0, STILL)
    assert measured.plan(0.6) == Plan((0.0, 1.0))
    halved = measured.plan(0.02)
    assert halved.tolerance is not None
    x, calls = halved.sample(X, x0)
    assert bool((x.abs() < 0.02).all())
    assert calls.unique().numel() > 1
    assert_close(calls[60:].double().mean(), measured.calls[measured.plans.index(halved)])


def test_of_plans_of_as_many_calls_the_nearest_is_taken() -> None:
    errors = [[0.5] * 100, [0.01] * 100, [0.005] * 100, [math.nan] + [0.0] * 99, [0.0] * 100]
    assert of(errors, [1, 2, 2, 2, 3]).plan(0.02) == Plan(tuple(uniform(3)))


def test_a_plan_that_is_halved_is_adaptive_sampling_without_its_warning(recwarn: pytest.WarningsRecorder) -> None:
    X, x0 = rough(20)
    x, calls = Plan((0.0, 0.3, 1.0), 1e-2, 1).sample(X, x0, chunk=7)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="2 of 20 samples did not reach"):
        wanted = adaptive_sample(X, x0, 1e-2, grid=[0.0, 0.3, 1.0], halvings=1)
    assert_close(x, wanted.x)
    assert_close(calls, wanted.calls)


def test_conditions_and_chunks_belong_to_their_samples() -> None:
    torch.manual_seed(0)
    X = LearnedMap(MLP(2, width=8, depth=1, labels=3)).double().given(label=torch.arange(80) % 3)
    x0 = normal(80, 2)
    whole, parts = calibrate(X, x0), calibrate(X, x0, chunk=9)
    assert [plan.tolerance for plan in parts.plans] == [plan.tolerance for plan in whole.plans]
    assert_close(parts.errors, whole.errors, rtol=0, atol=1e-5)  # a chunk is solved alone
    assert_close(parts.calls, whole.calls)
    x, _ = Plan((0.0, 0.5, 1.0)).sample(X, x0, chunk=9)
    assert_close(x, X.compose([0.0, 0.5, 1.0], x0))
    one, truth = X(0.0, 1.0, x0), X.velocity().flow_map()(0.0, 1.0, x0)
    assert_close(whole.errors[whole.plans.index(Plan((0.0, 1.0)))], distance(one, truth)[16:], rtol=0, atol=1e-5)


def test_what_never_arrives_is_that_of_the_most_steps() -> None:
    """Errors are had from one table of passes, samples by halving until they arrive; a jump never does."""
    X = FlowMap.from_function(lambda s, t, x: x + over(((s <= 0.4) & (t > 0.4)) * (t - s) ** 0.1, x))
    x0 = torch.zeros(10, 1, dtype=torch.float64)
    found = calibrate(X, x0, STILL)
    for plan, calls, errors in zip(found.plans, found.calls, found.errors, strict=True):
        x, taken = plan.sample(X, x0[2:])
        assert_close(errors, distance(x, torch.zeros_like(x)))
        assert_close(calls, taken.double().mean())
    assert found.calls.max() == 127


def test_a_guided_map_of_two_calls_counts_both() -> None:
    torch.manual_seed(0)
    X = LearnedMap(MLP(2, width=8, depth=1, labels=3)).double()
    map_ = Conditioning(X, torch.arange(10) % 2, 2.0, null=2).map()
    found = calibrate(map_, normal(10, 2))
    assert found.calls[found.plans.index(Plan((0.0, 1.0)))] == 2


@pytest.mark.parametrize("event", [(), (1, 3, 3)])
def test_any_event_in_single_precision(event: tuple[int, ...]) -> None:
    X = FlowMap.from_function(lambda s, t, x: x + over((t - s) ** 2, x))
    found = calibrate(X, torch.zeros(70, *event), STILL)
    assert found.errors.shape == (len(found.plans), 56)
    assert found.errors.dtype == torch.float64


def test_what_is_no_number_is_beyond_every_tolerance() -> None:
    X = FlowMap.from_function(lambda _, __, x: x / (x < 0.5))
    x0 = torch.linspace(0, 1, 120)[:, None].double()
    with pytest.raises(ValueError, match="`tolerance` must be at least inf"):
        calibrate(X, x0, STILL).plan(0.1)
    with pytest.raises(ValueError, match="`X` must be finite along some grid"):
        calibrate(X, x0 + 0.6, STILL)


def test_it_is_kept_in_a_file(tmp_path: Path) -> None:
    X, x0 = rough(100)
    found, path = calibrate(X, x0, STILL), tmp_path / "kept" / "calibration.json"
    found.save(path, {"weights": "a", "guidance": None})
    held = Calibration.load(path, {"weights": "a", "guidance": None})
    assert held.plans == found.plans
    assert_close(held.calls, found.calls, rtol=0, atol=1e-4)
    assert_close(held.errors, found.errors.sort(1).values, rtol=1e-3, atol=0)
    assert held.plan(0.02) == found.plan(0.02)
    with pytest.raises(ValueError, match=r"calibration\.json must be of .* measure it anew"):
        Calibration.load(path, {"weights": "b", "guidance": None})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"plans": [{"grid": [0, 1]}]}', '{"plans": 3}'])
def test_another_file_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.json must hold a calibration, and does not"):
        Calibration.load(path)
    with pytest.raises(FileNotFoundError, match="must be a file of a calibration"):
        Calibration.load(tmp_path)


def test_infinite_errors_are_kept_too(tmp_path: Path) -> None:
    found = of([[math.inf] * 70, [0.1] * 70], [1, 2])
    found.save(tmp_path / "x.json")
    assert_close(Calibration.load(tmp_path / "x.json").errors, found.errors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 0}, "`share` must be between 0 and 1, got 0"),
        ({"confidence": 1.0}, "`confidence` must be between 0 and 1, got 1.0"),
        ({"share": 1e-3}, "need 3688 calibration samples, got 100"),
        ({"tolerance": 0}, "`tolerance` must be positive"),
        ({"tolerance": 1e-3}, "`tolerance` must be at least 0.2 for 0.1 of the samples beyond it"),
    ],
)
def test_bad_requests_are_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        of([[0.3] * 100, [0.2] * 100], [1, 2]).plan(**{"tolerance": 0.3, **change})


def test_what_cannot_be_calibrated_is_refused_in_a_sentence() -> None:
    X, x0 = rough(10)
    with pytest.raises(TypeError, match="`X` must be a FlowMap, got MLP"):
        calibrate(MLP(2), x0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`b` must be a VelocityField, got Rough"):
        calibrate(X, x0, X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`x0` must hold at least two states, got 1"):
        calibrate(FlowMap.from_function(lambda _, __, x: x), x0[:1])
    with pytest.raises(ValueError, match="`halvings` must be positive with a tolerance and 0 without"):
        Plan((0.0, 1.0), 0.1)
    with pytest.raises(ValueError, match="`grid` must run from 0 to 1"):
        Plan((0.0, 0.5))


def test_a_plan_is_told_in_words() -> None:
    assert str(Plan((0.0, 1.0))) == "1 step"
    assert str(Plan((0.0, 0.5, 1.0), 0.03125, 5)) == "2 steps halved to 0.0312"
    assert asdict(Plan((0, 1)))["grid"] == (0.0, 1.0)

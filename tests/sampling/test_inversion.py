"""From data to noise and back: exact maps give the data back, wrong ones do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import FlowMap, SolutionOperator, VelocityField, interpolants, problems
from flowops.sampling import Conditioning, Inverted, Way, grids, invert, round_trip, sample
from tests.examples import normal

I = interpolants.linear()
GRID = [0.0, 0.2, 0.7, 1.0]
LABELS = torch.tensor([0, 1, 1, 0, 1])


class ClassField(VelocityField):
    """The exact field of each class: two mixtures of two normal laws in the plane."""

    def __init__(self) -> None:
        super().__init__()
        means = ([[-1.0, 0.0], [-1.0, 0.6]], [[1.0, 0.0], [0.3, -0.8]])
        mixtures = [problems.gaussian_mixture([0.3, 0.7], own, 0.1 + 0.1 * k, I) for k, own in enumerate(means)]
        self.classes = nn.ModuleList(mixture.b for mixture in mixtures)
        self.laws = mixtures

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return torch.stack([b(t, x) for b in self.classes])[label, torch.arange(len(x))]


class Skewed(FlowMap):
    """A map that is right forward and off by a factor backward, as one that was never trained there."""

    def __init__(self, X: FlowMap, delta: float) -> None:
        super().__init__()
        self.X, self.delta = X, delta

    def forward(self, s: Tensor, t: Tensor, x: Tensor, **conditions: Any) -> Tensor:
        own = self.X.given(**conditions) if conditions else self.X
        return own(s, t, x) * (1 + self.delta * (s - t).clamp(min=0))[:, None]

    def _accepts(self, name: str) -> bool:
        return self.X._accepts(name)


def exact() -> SolutionOperator:
    return SolutionOperator(ClassField(), rtol=1e-10, atol=1e-10)


def trip(
    x1: Tensor, *, X: FlowMap | None = None, labels: Tensor = LABELS, chunk: int | None = None, **way: Any
) -> Inverted:
    return round_trip(Conditioning(X or exact(), labels), x1, Way(**way), I, chunk=chunk)


def test_an_exact_map_goes_back_to_where_it_came_from_along_any_grid() -> None:
    X, x0 = exact().given(label=LABELS), normal(5, 2)
    x1 = sample(X, x0, GRID)
    assert_close(invert(X, x1, GRID), x0, rtol=1e-8, atol=1e-8)
    assert_close(invert(X, x1, grids.uniform(1)), x0, rtol=1e-8, atol=1e-8)
    wrong = invert(Skewed(exact(), 0.1).given(label=LABELS), x1, grids.uniform(1))
    assert (wrong - x0).abs().max() > 0.05


def test_it_goes_along_the_grid_backward_a_chunk_at_a_time() -> None:
    called = list[tuple[float, float, int]]()

    def moved(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        called.append((float(s[0]), float(t[0]), len(x)))
        return x + (t - s)[:, None]

    x1 = normal(5, 2)
    assert_close(invert(FlowMap.from_function(moved), x1, GRID, chunk=3), x1 - 1)
    assert called == [(s, t, n) for n in (3, 2) for s, t in ((1.0, 0.7), (0.7, 0.2), (0.2, 0.0))]


@pytest.mark.parametrize("way", [{"steps": 1}, {"grid": GRID}, {"solver": "dopri5", "tolerance": 1e-7}])
def test_the_round_trip_of_an_exact_map_vanishes(way: dict[str, Any]) -> None:
    found = trip(normal(5, 2), **way)
    assert found.error.shape == (5,)
    assert found.error.max() < 1e-5
    assert_close(found.relative, found.error / found.deviation)


def test_the_error_is_that_of_each_sample_and_grows_with_that_of_the_map() -> None:
    x1 = normal(5, 2)
    whole, half = (trip(x1, X=Skewed(exact(), delta), steps=1).error for delta in (1e-3, 5e-4))
    assert whole.min() > 1e-5
    assert_close(whole / half, torch.full((5,), 2.0).double(), rtol=0.05, atol=0)
    found = trip(x1, X=Skewed(exact(), 0.1), steps=1)
    assert_close(found.error, (found.back - x1).square().mean(1).sqrt())
    assert_close(found.deviation, float(x1.std(correction=0)))


def test_images_in_single_precision_keep_their_shape_and_dtype() -> None:
    X = SolutionOperator(problems.gaussian(torch.zeros(3, 4, 4), 0.5, I).b, rtol=1e-5, atol=1e-5)
    x1 = normal(3, 3, 4, 4, dtype=torch.float32)
    found = round_trip(Conditioning(X), x1, Way(steps=2), I)
    assert found.x0.shape == found.back.shape == x1.shape
    assert found.x0.dtype == found.error.dtype == torch.float32
    assert found.error.max() < 1e-4


def test_chunks_change_nothing_and_labels_stay_with_their_samples() -> None:
    x1 = normal(5, 2)
    whole, parts = trip(x1, steps=2), trip(x1, steps=2, chunk=2)
    assert_close(parts.x0, whole.x0)
    assert_close(parts.error, whole.error, rtol=0, atol=1e-8)
    assert parts.calls == whole.calls == 2 * 2  # the field of classes is made of two
    alone = trip(x1[1:2], labels=LABELS[1:2], steps=2)
    assert_close(alone.x0, whole.x0[1:2])


@pytest.mark.parametrize(("solver", "calls"), [("euler", 40), ("heun", 80)])
def test_solvers_of_fixed_steps_go_back_with_their_order(solver: str, calls: int) -> None:
    x1 = normal(5, 2)
    true = exact().given(label=LABELS)(1.0, 0.0, x1)
    coarse, fine = (trip(x1, solver=solver, steps=k) for k in (20, 40))
    assert coarse.calls == calls
    ratio = (coarse.x0 - true).norm() / (fine.x0 - true).norm()
    order = {"euler": 1, "heun": 2}[solver]
    assert abs(float(ratio.log2()) - order) < 0.35


def test_the_tolerance_of_the_way_back_is_the_one_that_is_given_or_1e_5() -> None:
    x1 = normal(5, 2)
    loose, middle, tight, none = (trip(x1, solver="dopri5", tolerance=tol) for tol in (1e-2, 1e-5, 1e-8, None))
    assert loose.calls < middle.calls < tight.calls
    assert torch.equal(none.x0, middle.x0)
    true = exact().given(label=LABELS)(1.0, 0.0, x1)
    assert (tight.x0 - true).abs().max() < 1e-6 < (loose.x0 - true).abs().max()


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ({"solver": "ddim", "steps": 4}, "`solver` must be one of dopri5, heun, euler to go back, got 'ddim'"),
        ({"gamma": 0.5, "steps": 2}, "`gamma` must be left out, since noise on the way has no way back"),
        ({"grid": GRID, "restart": (0.2, 0.7, 1)}, "`restart` must be left out"),
        ({"tolerance": 1e-2}, "`tolerance` must be left out without a solver"),
        ({"grid": [1.0, 0.0]}, "`grid` must run from 0 to 1, got 1 to 0"),
        ({"solver": "dopri5", "steps": 4}, "must not be given for dopri5"),
    ],
)
def test_ways_without_a_way_back_are_refused(way: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        trip(normal(5, 2), **way)


def test_what_is_no_map_and_no_data_is_refused() -> None:
    with pytest.raises(TypeError, match="`X` must be a FlowMap, got Linear"):
        invert(nn.Linear(2, 2), normal(2, 2), GRID)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`x1` must hold at least one state"):
        trip(normal(0, 2), labels=LABELS[:0], steps=1)

"""Certificates of maps: what they hold, how they print, and what they refuse."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, LearnedMap, problems, residuals
from flowops.certificates import Certificate, certify
from flowops.networks import MLP

PROBLEM = problems.linear([[0.2, -1.0], [0.7, -0.4]])
TIMES = [0.0, 0.4, 1.0]


def wrong(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return PROBLEM.X(s, t, x) + 0.05 * ((t - s) * t)[:, None] * torch.sin(x)


X = FlowMap.from_function(wrong)
STATES = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).double()


@cache
def whole() -> Certificate:
    return certify(X, PROBLEM.b, STATES, times=TIMES, flow=PROBLEM.X, nodes=8, grid=4)


def test_chunks_change_nothing_but_rounding() -> None:
    seen: list[int] = []
    parts = certify(X, PROBLEM.b, STATES, times=TIMES, flow=PROBLEM.X, nodes=8, grid=4, chunk=2, progress=seen.append)
    assert seen == [2, 4, 5]
    for name in ("estimate", "remainder", "bound", "lower", "error", "steps"):
        assert torch.allclose(getattr(parts, name), getattr(whole(), name), rtol=1e-3, atol=1e-9), name
    assert torch.allclose(parts.profile.bound, whole().profile.bound, rtol=1e-6)


def test_shapes() -> None:
    c = whole()
    assert c.error is not None
    assert c.grid is not None
    assert c.estimate.shape == c.error.shape == STATES.shape
    assert c.steps.shape == (2, 5, 2)
    assert c.shares.shape == (2,)
    assert c.profile.times.shape == c.profile.bound.shape == (16, 5)
    assert (c.profile.times.diff(dim=0) > 0).all()
    assert c.grid.times.shape == (4,)
    below = torch.ones(4, 4).tril(-1).bool()
    for part in (c.grid.lagrangian, c.grid.eulerian):
        assert part.isnan().equal(below)


def test_the_grid_holds_root_mean_squares_of_residuals_on_the_way_of_the_map() -> None:
    grid = whole().grid
    assert grid is not None
    s, t = (float(grid.times[k]) for k in (1, 2))
    y = X(0.0, s, STATES)
    for found, residual in ((grid.lagrangian, residuals.lagrangian), (grid.eulerian, residuals.eulerian)):
        size = residual(X, PROBLEM.b, s, t, y).square().mean().sqrt()
        assert torch.allclose(found[1, 2], size)


def test_it_is_printed_and_written_as_json() -> None:
    c = whole()
    text = str(c)
    for word in ("median", "estimate over error", "bound, Lipschitz", "share of each step", "proved: the matrix"):
        assert word in text
    assert all(len(line) <= 80 for line in text.splitlines())
    found = json.loads(c.to_json())
    assert found["samples"] == 5
    assert found["violations"] == 0
    assert found["grid"]["lagrangian"][1][0] is None
    assert found["constants"][0]["status"] == "proved"
    assert len(found["bounds"]) == 3


def test_without_the_truth_and_the_grid() -> None:
    c = certify(X, PROBLEM.b, STATES[:1], truth=False, nodes=4, grid=0)
    unknown = (c.error, c.error_size, c.effectivity, c.overestimation, c.violations, c.grid, c.profile.error)
    assert all(value is None for value in unknown)
    assert "estimate over error" not in str(c)


def test_no_graph_is_kept() -> None:
    x = STATES[:1].clone().requires_grad_()
    assert not certify(X, PROBLEM.b, x, truth=False, nodes=4, grid=0).estimate.requires_grad


NAN = FlowMap.from_function(lambda _s, _t, x: torch.where(x > 1, torch.nan, 1) * x)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"X": wrong}, TypeError, "`X` must be a FlowMap"),
        ({"b": wrong}, TypeError, "`b` must be a VelocityField"),
        ({"X": NAN, "x": STATES + 2}, ValueError, "`X` must be finite at the states, it is not at"),
        ({"b": problems.linear(torch.eye(3)).b}, ValueError, "3"),
        (
            {"x": STATES.float(), "X": FlowMap.from_function(lambda _s, _t, x: x @ torch.eye(2).double())},
            ValueError,
            "dtype",
        ),
        ({"x": STATES[:0]}, ValueError, "at least one state"),
        ({"times": [0.0, 0.5]}, ValueError, "`times` must go from `s` to `t`"),
        ({"times": [0.0, 0.7, 0.5, 1.0]}, ValueError, "`times` must not turn back"),
        ({"nodes": 1}, ValueError, "`nodes` must be a whole number of at least 2"),
        ({"grid": -1}, ValueError, "`grid` must be a whole number of at least 0"),
        ({"chunk": 0}, ValueError, "`chunk` must be a whole number of at least 1, got 0"),
        ({"flow": PROBLEM.X, "truth": False}, ValueError, "`flow` must be left out where `truth` is False"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(change: dict, error: type[Exception], said: str) -> None:
    arguments = {"X": X, "b": PROBLEM.b, "x": STATES, **change}
    with pytest.raises(error, match=said) as caught:
        certify(arguments.pop("X"), arguments.pop("b"), arguments.pop("x"), **arguments)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_of_an_exact_map_is_no_violation(dtype: torch.dtype) -> None:
    c = certify(PROBLEM.X, PROBLEM.b, STATES.to(dtype), nodes=4, grid=0)  # against a truth that is solved
    assert c.violations == 0
    assert c.estimate_size.max() < torch.finfo(dtype).eps ** 0.6


def test_conditions_go_with_their_samples() -> None:
    network = MLP(2, width=8, depth=1, labels=3, generator=torch.Generator().manual_seed(0)).double()
    learned = LearnedMap(network).requires_grad_(False).given(label=torch.tensor([0, 2, 1, 1, 0]))
    whole, parts = (
        certify(learned, learned.velocity(), STATES, times=TIMES, nodes=4, grid=3, chunk=chunk) for chunk in (5, 2)
    )
    assert torch.allclose(whole.estimate, parts.estimate, rtol=1e-3, atol=1e-9)
    other = certify(
        learned.given(label=0), learned.given(label=0).velocity(), STATES[1:2], times=TIMES, nodes=4, grid=0
    )
    assert not torch.allclose(whole.estimate[1], other.estimate[0], rtol=1e-2)
    assert whole.effectivity is not None
    assert torch.allclose(whole.effectivity, torch.ones(5).double(), atol=0.1)

"""The certificate of a trained map, cut down to seconds; its parts against a map whose error is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr

from experiments import certificate
from experiments._certified import Measured, jump_errors, sampled, shares, size
from experiments._recipes import status
from flowops import FlowMap, problems
from flowops.runs.assembly import completed
from flowops.runs.settings import check_config
from flowops.sampling import grids
from flowops.training import NetworkConfig
from tests.examples import normal, over

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
TURN = problems.rotation(1.5)


def wrong(delta: float = 1e-4) -> FlowMap:
    """The rotation, and what a step adds that it should not."""
    return FlowMap.from_function(lambda s, t, x: TURN.X(s, t, x) + delta * over((t - s) * t, x))


def test_estimates_of_samplers_are_their_errors() -> None:
    x = normal(5, 2)
    for k in (1, 3):
        end, off = sampled(wrong(), TURN.b, grids.uniform(k), x)
        torch.testing.assert_close(off, end - TURN.X(0.0, 1.0, x), rtol=1e-3, atol=1e-9)


def test_the_shares_are_those_of_what_each_step_adds() -> None:
    x, grid, X = normal(4, 2, seed=1), grids.uniform(4), wrong()
    found = shares(X, TURN.b, grid, x)
    whole = X.compose(grid, x) - TURN.X(0.0, 1.0, x)
    parts = []
    for s, t in zip(grid[:-1], grid[1:], strict=True):
        y = X.compose(grid[: grid.index(s) + 1], x) if s else x
        parts.append(TURN.X(t, 1.0, X(s, t, y)) - TURN.X(t, 1.0, TURN.X(s, t, y)))
    exact = torch.stack([(part * whole).sum() for part in parts]) / whole.square().sum()
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-6)
    assert float(found.sum()) == pytest.approx(1)


def test_the_errors_of_single_steps_are_those_from_the_states_of_the_map() -> None:
    x, X = normal(3, 2, seed=2), wrong()
    found = jump_errors(X, TURN.b, x, 4)
    y = X(0.0, 0.25, x)
    exact = size(X(0.25, 0.75, y) - TURN.X(0.25, 0.75, y)).square().mean().sqrt()
    assert float(found[1, 3]) == pytest.approx(float(exact), rel=1e-3)
    assert found[1, :2].isnan().all()


def test_ranks_are_spearmans() -> None:
    estimate, error = normal(30, seed=3).abs(), normal(20, seed=4).abs()
    found = Measured({1: estimate}, {1: error}, torch.ones(1), torch.ones(1, 2))
    assert found.correlation(1) == pytest.approx(spearmanr(estimate[:20], error)[0])


@pytest.mark.parametrize("name", certificate.CASES)
def test_the_settings_of_every_run_are_valid(name: str) -> None:
    check_config(completed(certificate.CASES[name].config, {}, (3, 32, 32)))


@pytest.mark.slow
def test_a_page_and_its_figure_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = certificate.CASES["digits"]
    network = NetworkConfig("mlp", options=("width=8", "depth=1"))
    config = replace(case.config, batch=16, network=network, audit=False)
    monkeypatch.setitem(certificate.CASES, "digits", replace(case, config=config, cells=2, dense=2, steps=(1, 2)))
    page = tmp_path / "page.md"
    words = ["digits", "--steps", "3", "--n", "12", "--subset", "6", "--out", str(tmp_path), "--write", str(page)]
    assert status(lambda: certificate.go(words, report=lambda _: None), "certificate") == 0
    text = page.read_text()
    assert all(f"\n| {k} | " in text for k in (1, 2))
    assert "| its field | " in text
    assert (tmp_path / "page_digits.png").stat().st_size > 10_000


def test_a_run_that_is_none_gets_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(lambda: certificate.go(["digit"]), "certificate") == 1
    error = capsys.readouterr().err
    assert "`cases` must be of digits, checkerboard, cifar10, got 'digit'" in error
    assert error.count("\n") == 1

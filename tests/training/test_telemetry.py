"""Sums by cell against a loop, tangents of maps in closed form, and the clock."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap
from flowops.training.telemetry import Cell, Clock, Telemetry, tangent_ratio, wide
from tests.examples import normal, over, uniform


def times(n: int, seed: int) -> Tensor:
    return uniform(n, seed=seed).float()


def test_means_by_cell_are_those_of_a_loop() -> None:
    telemetry, cells = Telemetry(3), 3
    seen: dict[tuple[int, int], list[float]] = {}
    for seed in range(4):
        s, t, loss = times(50, seed), times(50, seed + 10), normal(50, seed=seed).float()
        telemetry.add(s, t, loss)
        for a, b, value in zip(s.tolist(), t.tolist(), loss.tolist(), strict=True):
            seen.setdefault((math.floor(cells * a), math.floor(cells * b)), []).append(value)
    table = telemetry.table()
    assert sum(cell.count for cell in table) == 200
    assert [(round(3 * cell.s_low), round(3 * cell.t_low)) for cell in table] == sorted(seen)
    for cell in table:
        values = seen[round(3 * cell.s_low), round(3 * cell.t_low)]
        assert cell.count == len(values)
        assert cell.loss == pytest.approx(sum(values) / len(values), abs=1e-6)
        assert cell.s_high - cell.s_low == pytest.approx(1 / 3)
        assert math.isnan(cell.tangent)


def test_times_at_the_edges_outside_and_in_reversed_order() -> None:
    telemetry = Telemetry(2)
    telemetry.add(torch.tensor([0.0, 1.0, -0.5, 1.5, 0.9]), torch.tensor([1.0, 1.0, 2.0, 0.2, 0.1]), torch.arange(5.0))
    telemetry.add_tangent(torch.tensor([0.9]), torch.tensor([0.1]), torch.tensor([7.0]))
    assert telemetry.table()[1] == Cell(0.5, 1.0, 0.0, 0.5, 2, 3.5, 7.0)
    assert [(cell.count, cell.loss) for cell in telemetry.table()] == [(2, 1.0), (2, 3.5), (1, 1.0)]


def test_a_device_without_float64_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (wide(torch.device("mps")), wide(torch.device("cuda"))) == (torch.float32, torch.float64)
    found = []
    for dtype in (torch.float32, torch.float64):
        monkeypatch.setattr("flowops.training.telemetry.wide", lambda _, dtype=dtype: dtype)
        telemetry = Telemetry(2)
        for k in range(5):
            telemetry.add(times(30, k), times(30, k + 9), normal(30, seed=k).float())
            telemetry.add_tangent(times(30, k), times(30, k + 9), normal(30, seed=k + 1).float())
        assert telemetry.totals.dtype == dtype
        found.append(telemetry.table())
    for one, other in zip(*found, strict=True):
        assert (one.count, one.not_finite) == (other.count, other.not_finite)
        assert (one.loss, one.tangent) == pytest.approx((other.loss, other.tangent), rel=1e-4)


def test_a_reset_forgets_and_gradients_are_not_kept() -> None:
    telemetry = Telemetry()
    telemetry.add(times(5, 0), times(5, 1), torch.ones(5, requires_grad=True))
    assert not telemetry.totals.requires_grad
    telemetry.reset()
    assert telemetry.table() == []


def test_totals_of_two_processes_add_up() -> None:
    both, parts = Telemetry(4), (Telemetry(4), Telemetry(4))
    for k, part in enumerate(parts):
        for telemetry in (both, part):
            telemetry.add(times(20, k), times(20, k + 5), normal(20, seed=k).float())
    assert_close(parts[0].totals + parts[1].totals, both.totals)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_are_appended_and_a_resumed_run_replaces_its_own(tmp_path: Path) -> None:
    path = tmp_path / "run" / "telemetry.csv"
    for steps, value in (((10, 20, 30), 1.0), ((20, 30), 2.0)):
        telemetry = Telemetry(2)
        telemetry.add(torch.tensor([0.1, 0.6]), torch.tensor([0.8, 0.9]), torch.full((2,), value))
        for step in steps:
            telemetry.write(path, step)
    rows = read(path)
    assert list(rows[0]) == ["step", "s_low", "s_high", "t_low", "t_high", "count", "loss", "tangent", "not_finite"]
    assert [(row["step"], row["loss"]) for row in rows] == [(k, v) for k, v in
        (("10", "1.0"), ("20", "2.0"), ("30", "2.0")) for _ in range(2)]  # fmt: skip
    path.write_text("")  # a disk that was full at the first table
    telemetry.write(path, 40)
    assert [row["step"] for row in read(path)] == ["40", "40"]
    path.write_text("step,other\n")
    with pytest.raises(ValueError, match="must have the columns step,s_low"):
        Telemetry().write(path, 1)


class Wave(nn.Module):
    r"""$v_{s,t}(x)=x\,e^{3t-s}$, so that $|\partial_tv|/|v|=3$."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x * over((3 * t - s).exp(), x)


@pytest.mark.parametrize("event", [(), (2,), (3, 4, 4)])
def test_the_tangent_of_an_exponential(event: tuple[int, ...]) -> None:
    X, x = LearnedMap(Wave()), 1 + uniform(6, *event, seed=3)
    ratio = tangent_ratio(X, uniform(6), uniform(6, seed=1), x)
    assert_close(ratio, torch.full((6,), 3.0, dtype=torch.float64))
    assert tangent_ratio(X, 0.5, 0.5, x).shape == (6,)


def test_the_tangent_by_central_differences() -> None:
    X = FlowMap.from_function(lambda s, t, x: x + over((t - s) * (1 + t**2), x) * torch.sin(x + over(s * t, x)))
    s, t, x, h = uniform(8) / 2, 0.6 + uniform(8, seed=1) / 3, normal(8, 3, seed=2), 1e-5
    v = [X.average_velocity(s, q, x) for q in (t - h, t, t + h)]
    expected = ((v[2] - v[0]) / (2 * h)).norm(dim=1) / v[1].norm(dim=1)
    assert_close(tangent_ratio(X, s, t, x), expected, rtol=1e-7, atol=1e-7)


def test_the_tangent_records_no_graph() -> None:
    network = Wave()
    network.scale = nn.Parameter(torch.ones(()))
    assert not tangent_ratio(LearnedMap(network), 0.1, 0.2, torch.ones(2, 2, requires_grad=True)).requires_grad


def test_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    clock = Clock(32)
    assert all(math.isnan(rate) for rate in clock.rates())
    for waited in (0.5, 0.0, 1.5, 0.0):
        now += 2.0
        clock.tick(waited)
    assert clock.rates() == (16.0, 0.25)
    now += 1.0
    clock.tick(0.0)
    assert clock.rates() == (32.0, 0.0)


def test_no_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="`cells` must be .*, got 0"):
        Telemetry(0)


def test_a_loss_that_is_not_finite_shows_in_its_cell_and_does_not_spoil_the_mean() -> None:
    telemetry = Telemetry(2)
    losses = torch.tensor([1.0, math.nan, 3.0, math.inf, 2.0])
    telemetry.add(torch.tensor([0.1, 0.1, 0.2, 0.1, 0.9]), torch.tensor([0.2, 0.3, 0.4, 0.9, 0.9]), losses)
    table = telemetry.table()
    assert [(cell.count, cell.not_finite) for cell in table] == [(2, 1), (0, 1), (1, 0)]
    assert [cell.loss for cell in table if cell.count] == [2.0, 2.0]

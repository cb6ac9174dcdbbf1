"""What a report prints, what its verdicts are made of, and how time is shared."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import Tensor, nn

from flowops.checks import Place, Report, Verdict
from flowops.checks.budget import Budget, OutOfTime
from flowops.checks.examination import Compared, judge

X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).double()
TIMES = {"t": torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)}
ONES = torch.ones(3).double()


def sides(left: Tensor, right: Tensor, scale: Tensor = ONES, error: Tensor | None = None) -> Verdict:
    return judge("Name: a = b", "source", [Compared(left, right, TIMES, X, scale, error)], 1e-6)


def test_the_worst_sample_in_units_of_its_scale_decides() -> None:
    off = torch.tensor([[0.0, 1e-3], [2e-3, 0.0], [0.0, 0.0]]).double()
    found = sides(X + off, X, torch.tensor([1.0, 100.0, 1.0]).double())
    assert found.outcome == "FAILS"
    assert found.residual == pytest.approx(1e-3)
    assert found.place is not None
    assert found.place.times == {"t": 0.1}
    assert torch.equal(found.place.right, X[0])
    assert str(found) == (
        "Name: a = b fails at t = 0.1, x = (1, 2): left side (1, 2.001), right side (1, 2); residual 0.001 exceeds "
        "1e-06. Source: source."
    )


def test_a_known_error_of_the_sides_is_allowed_and_no_more() -> None:
    off = torch.full_like(X, 1e-3)
    assert sides(X + off, X, error=1.01e-3 * ONES).outcome == "holds"
    assert sides(X + off, X, error=0.9e-3 * ONES).outcome == "FAILS"


def test_samples_of_which_nothing_can_be_said_are_left_out() -> None:
    off = torch.tensor([[1e9, 0.0], [0.0, 0.0], [0.0, 0.0]]).double()
    found = sides(X + off, X, torch.tensor([1e12, 1.0, 1.0]).double())
    assert found.outcome == "holds"
    assert found.reason == "1 of 3 samples are left out, where errors grow too much"
    assert f"Name: a = b holds ({found.reason})." in Report("it", (found,)).sentence()
    nothing = sides(X + off, X, 1e12 * ONES)
    assert nothing.outcome == "not decided"
    assert "errors may grow 1e+12 times" in nothing.reason


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_side_that_is_not_finite_fails(value: float) -> None:
    left = X.clone()
    left[1, 0] = value
    found = sides(left, X, math.inf * ONES)
    assert found.outcome == "FAILS"
    assert found.place is not None
    assert found.place.times == {"t": 0.2}


def test_a_large_state_shows_its_worst_component() -> None:
    left = torch.zeros(3, 4, 4)
    left[1, 2, 3] = 0.5
    said = str(Place({"s": 0.0, "t": 1.0}, torch.ones(3, 4, 4), left, torch.zeros(3, 4, 4), of="rule"))
    assert said == (
        "rule, s = 0, t = 1, x = (1, 1, 1, ... 48 numbers): left side 0.5 in component 27 of 48, right side 0 in "
        "component 27 of 48"
    )


def test_a_report_is_a_table_and_a_sentence_that_names_the_first_broken_equation() -> None:
    good, bad = Verdict("A: x = x", "one", "holds", 1e-9, 1e-8), sides(X + 1, X)
    report = Report("the map", (good, bad, Verdict("B: y", "two", "not decided", tolerance=1e-8, reason="too slow")))
    lines = str(report).splitlines()
    assert lines[0].split() == ["statement", "residual", "tolerance", "verdict", "source"]
    assert [line.split()[0] for line in lines[1:4]] == ["A:", "Name:", "B:"]
    assert lines[-1].startswith("the map, first broken equation: Name. Name: a = b fails at t = 0.1")
    assert lines[-1].endswith("B: y is not decided: too slow.")
    assert not report.holds
    assert report.first_broken is bad


def test_a_report_without_failures_names_the_largest_residual_in_units_of_its_tolerance() -> None:
    rows = (Verdict("A: x", "", "holds", 1e-9, 1e-8), Verdict("B: y", "", "holds", 1e-4, 1e-2))
    assert Report("it", rows).sentence() == "it: everything holds; the largest residual is 0.1 of its tolerance, A."


def test_a_part_that_is_over_stops_at_the_next_module_and_leaves_its_time_to_none() -> None:
    budget, module = Budget(0.2, 2), nn.Identity()

    def long() -> None:
        with budget.part():
            while True:
                module(ONES)

    start = time.thread_time()
    with pytest.raises(OutOfTime, match="it takes more than the 0.1 s"):
        long()
    with pytest.raises(OutOfTime):
        long()
    assert time.thread_time() - start < 5
    module(ONES)  # outside of a part nothing is watched


def test_what_a_part_does_not_use_is_left_to_the_next() -> None:
    budget = Budget(1.0, 3)
    shares = []
    for _ in range(3):
        with budget.part() as seconds:
            shares.append(seconds)
    assert shares == pytest.approx([0.5, 2 / 3, 1.0], rel=0.05)

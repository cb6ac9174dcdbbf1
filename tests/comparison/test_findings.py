"""Which rows are told apart: by a deviation pooled over all of them."""

from __future__ import annotations

import math

import pytest

from flowops.comparison.findings import lowest, ranked, told
from flowops.comparison.outcome import Measured, Outcome
from flowops.comparison.row import Row, Spread, rows_of
from flowops.comparison.tables import distances


def outcome(method: str, seed: int, *values: float, before: int = 0) -> Outcome:
    measured = tuple(Measured(f"map, {k} steps", k, (v,), float(k), 0.1) for k, v in zip((1, 2), values, strict=True))
    return Outcome(
        f"{method}{seed}", method, (), "linear", "independent", seed, "row", "family", "measured", kind="map",
        columns=("distance",), measured=measured, before=before, seconds=1.0,
    )  # fmt: skip


def lost(method: str, seed: int) -> Outcome:
    return Outcome(
        f"{method}{seed}", method, (), "linear", "independent", seed, "row", "family", "not finite", "Ten steps."
    )


def rows(**values: tuple[tuple[float, float], ...]) -> tuple[Row, ...]:
    return rows_of([outcome(name, seed, *each) for name, some in values.items() for seed, each in enumerate(some)])


def test_the_pooled_deviation_is_that_of_the_logarithms() -> None:
    """Each row has seeds a factor e^0.2 apart: a variance of 0.02, so that means differ by 2 sqrt(0.02)."""
    low, high = math.exp(-0.1), math.exp(0.1)
    for shift, apart in ((0.27, False), (0.30, True)):
        factor = math.exp(shift)
        given = rows(a=((low, 1), (high, 1)), b=((factor * low, 1), (factor * high, 1)))
        found = lowest(given, 1)
        assert found is not None
        assert found.best.label == "a"
        assert found.factor == pytest.approx(math.exp(2 * math.sqrt(0.02)))
        assert ([row.label for row in found.alike or ()] == []) == apart


def test_one_seed_tells_nothing_apart() -> None:
    found = lowest(rows(a=((1.0, 2.0),), b=((5.0, 1.0),)), 1)
    assert found is not None
    assert found.alike is None
    assert "one seed tells no rows apart" in told(rows(a=((1.0, 2.0),), b=((5.0, 1.0),)), (1, 2))


def test_a_row_that_diverged_under_a_seed_is_not_the_lowest() -> None:
    given = rows_of([outcome("a", 0, 0.1, 0.1), lost("a", 1), outcome("b", 0, 1.0, 1.0), outcome("b", 1, 1.1, 1.0)])
    found = lowest(given, 1)
    assert found is not None
    assert found.best.label == "b"
    assert str(given[0].spread(1)) == "0.1 (1 of 2 not finite)"
    assert "Not finite, or without a teacher, under at least one seed: `a`." in told(given, (1, 2))
    assert given[0].faults == ("a1: not finite, Ten steps.",)
    assert [row.label for row in ranked(given, (1, 2))] == ["b", "a"]


def test_ranks_are_means_over_the_numbers_of_calls() -> None:
    given = rows(a=((1.0, 3.0),), b=((2.0, 2.0),), c=((3.0, 1.0),), d=((4.0, 0.5),))
    assert [row.label for row in ranked(given, (1,))] == ["a", "b", "c", "d"]
    assert [row.label for row in ranked(given, (2,))] == ["d", "c", "b", "a"]


def test_a_spread() -> None:
    assert str(Spread.of([1.0, 2.0])) == "1.5 ± 0.7"
    assert str(Spread.of([1.0])) == "1"
    assert str(Spread.of([math.nan])) == ""
    assert (Spread.of([1.0, math.inf]).lost, Spread.of([1.0, math.inf]).mean) == (1, 1.0)


def test_the_lowest_is_bold() -> None:
    text = distances(rows(a=((1.0, 3.0),), b=((2.0, 2.0),)), (1, 2), ("distance",), None)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    assert lines == [["`a`", "**1**", "3"], ["`b`", "2", "**2**"]]

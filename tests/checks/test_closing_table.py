"""The lines of the table that the theory checks end with."""

from __future__ import annotations

import math

import pytest

from theory_checks.verdicts import Line


@pytest.mark.parametrize("backward", [False, True])
def test_the_worst_residual_is_that_of_the_largest_share_of_its_tolerance(backward: bool) -> None:
    measured = [(0.0, 1e-8), (3e-8, 1e-7), (1e-6, 4e-4), (5e-10, 1e-8)]
    line = Line("source")
    for worst, tolerance in reversed(measured) if backward else measured:
        line.measure(worst, tolerance)
    assert (line.worst, line.tolerance) == (3e-8, 1e-7)
    assert line.columns()[1:3] == ("3.0e-08", "1.0e-07")


def test_a_residual_that_is_no_number_is_the_worst() -> None:
    line = Line("source")
    for worst in (1e-9, math.inf, 1e-9):
        line.measure(worst, 1e-8)
    assert line.worst == math.inf


def test_one_failure_is_enough_and_statements_without_residuals_have_none() -> None:
    line = Line("source")
    for passed in (True, False, True):
        line.add(passed)
    assert line.columns() == ("source", "", "", "3", "FAILS")

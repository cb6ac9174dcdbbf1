r"""Wrong versions of the methods are caught by the checks of the methods.

Every seeded error (a sign, s and t swapped, the wrong point or time, a stop-gradient missing or misplaced, a factor or
the square missing) fails at least one of the checks that the rows of the table pass.

Source: mutation testing; the two public errors among them are in the code of 2406.07507.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from flowops.methods import METHODS, Method
from flowops.times import FullSquare
from theory_checks.method_cases import OTHER_MINIMIZER, Aspect, aspects
from theory_checks.method_measurements import (
    Measured,
    gradient_grows,
    has_its_minimum,
    is_semigradient,
    is_stationary,
    looks_forward,
    loss_grows,
    sees_the_rate,
    vanishes,
    vanishes_at_its_order,
)
from theory_checks.method_mutants import Mutant, mutants
from theory_checks.method_settings import conditional_variance, quadrature_settings, sampled
from theory_checks.verdicts import Check

pytestmark = pytest.mark.slow  # `make thorough` runs it too

MUTANTS = mutants()
NODES = quadrature_settings()[1]
SAMPLES = (sampled("linear system"), sampled("gaussian trigonometric"))


def measurements(method: Method) -> Iterator[Measured]:
    """All checks of all aspects of a method, the cheap ones first."""
    for aspect in aspects(method):
        yield from (of_exact if aspect.exact else of_conditional)(method, aspect)


def of_exact(method: Method, aspect: Aspect) -> Iterator[Measured]:
    """Checks of a term that vanishes at the exact map."""
    for setting in SAMPLES:
        if aspect.order is None:
            yield from vanishes(method, aspect, setting)
            if not (aspect.term.joint or isinstance(aspect.term.law, FullSquare)):
                yield from looks_forward(method, aspect, setting)
            yield from loss_grows(method, aspect, setting)
            if aspect.term.joint:
                yield from sees_the_rate(method, aspect, setting)
        else:
            yield from vanishes_at_its_order(method, aspect, setting)
        if aspect.stopped:
            yield from gradient_grows(method, aspect, setting)
            yield from is_semigradient(method, aspect, setting)


def of_conditional(method: Method, aspect: Aspect) -> Iterator[Measured]:
    """Checks of a term that vanishes in expectation."""
    if aspect.order is None:
        yield from is_stationary(method, aspect, NODES)
    else:
        yield from vanishes_at_its_order(method, aspect, NODES)
    yield from gradient_grows(method, aspect, NODES)
    if aspect.minimum:
        s, t = 0.2, 0.7
        minimum = conditional_variance(NODES.I, aspect.regresses_at(s, t))
        yield has_its_minimum(method, aspect, NODES, minimum, s, t)
        yield from loss_grows(method, aspect, NODES)
        if aspect.term.joint:
            yield from sees_the_rate(method, aspect, NODES)
    if aspect.stopped:
        yield from is_semigradient(method, aspect, NODES)


@cache
def first_fault(method: Method) -> str | None:
    """What is wrong with a method, or None."""
    return next((str(m) for m in measurements(method) if not m.holds), None)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in OTHER_MINIMIZER])
def test_every_row_of_the_table_passes(check: Check, name: str) -> None:
    fault = first_fault(METHODS[name])
    check.at_most(int(fault is not None), 0, where=f"for {name}: {fault}")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.name}: {m.what}")
def test_a_wrong_row_is_caught(check: Check, mutant: Mutant) -> None:
    missed = first_fault(mutant.method) is None
    check.at_most(int(missed), 0, where=f"as {mutant.name} with the error {mutant.what!r} passes every check")

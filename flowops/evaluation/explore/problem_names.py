"""Problems in the plane by name: those of the theory checks, and the toys that runs are trained on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flowops._named import meant
from flowops.data import open_dataset
from flowops.data.toys import Toy
from flowops.interpolants import Interpolant
from flowops.problems import empirical
from flowops.problems.reference import REFERENCE, AnyProblem

POINTS = 200  # of a toy that is known by its samples alone
TOYS = ("gaussians", "moons", "spirals", "pinwheel")


def _toy(name: str, interpolant: Interpolant) -> AnyProblem:
    """The law of a toy where it has an exact field, else that of some of its points, each with the same weight."""
    toy = open_dataset(name)
    assert isinstance(toy, Toy)
    if toy.problem is not None:
        return toy.problem(interpolant)
    return empirical(toy.reference(POINTS, seed=0).x1.double(), interpolant)


NAMES: dict[str, Callable[[Interpolant], AnyProblem]] = {**REFERENCE, **{name: partial(_toy, name) for name in TOYS}}
"""Each made for an interpolant."""


def problem_of(name: str, interpolant: Interpolant) -> AnyProblem:
    """The problem of that name.

    Raises:
        ValueError: for another one.
    """
    if name not in NAMES:
        raise ValueError(
            f"`problem` must be one of {', '.join(NAMES)} or package.module:factory, got {name!r}{meant(name, NAMES)}"
        )
    return NAMES[name](interpolant)

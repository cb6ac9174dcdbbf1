"""Comparing the two sides of statements, one after the other, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowops._solvers import SolverError
from flowops.checks.budget import Budget, OutOfTime
from flowops.checks.growth import size
from flowops.checks.report import Report
from flowops.checks.verdict import FAILS, HOLDS, MEASURED, UNDECIDED, Outcome, Place, Verdict

_CERTAIN = 1e-2  # what may be allowed of the size of a side; where errors grow beyond, nothing is said
_MAGNIFIED = 100.0  # a growth of errors that does not count as beyond, however loose the tolerance


class Undecidable(Exception):
    """A statement of which nothing can be said, and why."""


@dataclass(frozen=True)
class Compared:
    """The two sides of an equation on a batch.

    Attributes:
        left, right: the sides, `[batch, ...]`.
        times: by name, `[batch]` each.
        x: the states, `[batch, *event]`.
        scale: what a difference is measured against, `[batch]`: sizes, and what errors grow by.
        error: what the sides are known to err by, `[batch]`, by a quadrature or a difference quotient.
        of: which of several equations it is.
        remark: what a reader should know of the sides, even where they agree.
    """

    left: Tensor
    right: Tensor
    times: Mapping[str, Tensor]
    x: Tensor
    scale: Tensor
    error: Tensor | None = None
    of: str = ""
    remark: str = ""

    def first(self, n: int) -> Compared:
        """The first `n` samples."""
        times = {name: time[:n] for name, time in self.times.items()}
        error = None if self.error is None else self.error[:n]
        left, right, x, scale = self.left[:n], self.right[:n], self.x[:n], self.scale[:n]
        return replace(self, left=left, right=right, times=times, x=x, scale=scale, error=error)

    def detached(self) -> Compared:
        """The same numbers without a graph."""
        error = None if self.error is None else self.error.detach()
        left, right, x, scale = (side.detach() for side in (self.left, self.right, self.x, self.scale))
        return replace(self, left=left, right=right, x=x, scale=scale, error=error)

    def residuals(self) -> Tensor:
        """The difference of the sides beyond their known error, over the scale, `[batch]`."""
        difference = size(self.left - self.right)
        beyond = difference if self.error is None else (difference - self.error).clamp(min=0)
        return (beyond / self.scale).nan_to_num(nan=math.inf, posinf=math.inf)

    def decided(self, tolerance: float) -> Tensor:
        """Whether what is allowed is small beside the sides themselves, `[batch]`."""
        allowed = max(_CERTAIN, _MAGNIFIED * tolerance) * (1 + size(self.right))
        spent = self.scale * tolerance + (0.0 if self.error is None else self.error)
        return (spent <= allowed) | ~(self.left.reshape(len(self.left), -1).isfinite().all(1))

    def place(self, row: int) -> Place:
        """One sample."""
        times = {name: float(time[row]) for name, time in self.times.items()}
        return Place(times, self.x[row].detach(), self.left[row].detach(), self.right[row].detach(), self.of)


@dataclass(frozen=True)
class Statement:
    """A statement, where it is from, and its sides.

    Attributes:
        text: name and equation.
        source: where it is stated.
        compare: the sides, of one equation or of several.
        factor: its tolerance in units of that of the whole report.
        measured: whether it is told as a size, since it is never exact.
    """

    text: str
    source: str
    compare: Callable[[], Compared | Iterable[Compared]]
    factor: float = 1.0
    measured: bool = False


def examine(
    name: str, statements: Sequence[Statement], tolerance: float, seconds: float, probe: Callable[[], object]
) -> Report:
    """The verdicts on statements in order; none takes more than its share of the time.

    No graph is recorded, unless a call of the object, `probe`, fails without one: it may take gradients itself.

    Raises:
        ValueError: for a number of seconds that is none.
    """
    if not seconds >= 0:
        raise ValueError(f"`seconds` must be a time of at least 0, got {seconds}; pass 40, say.")
    budget = Budget(seconds, len(statements))
    with torch.set_grad_enabled(_wants_graph(probe)):
        return Report(name, tuple(_verdict(statement, tolerance, budget) for statement in statements))


def _wants_graph(probe: Callable[[], object]) -> bool:
    try:
        with torch.no_grad():
            probe()
    except Exception:  # what else is wrong with the object, the statements will find
        return True
    return False


def _verdict(statement: Statement, tolerance: float, budget: Budget) -> Verdict:
    text, source, tolerance = statement.text, statement.source, statement.factor * tolerance
    try:
        with budget.part():
            sides = statement.compare()
            found = [sides] if isinstance(sides, Compared) else list(sides)
    except (OutOfTime, Undecidable, SolverError) as error:
        return Verdict(text, source, UNDECIDED, tolerance=tolerance, reason=str(error).rstrip("."))
    except Exception as error:  # whatever a user's object raises is a finding, not a crash
        reason = f"it raised {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
        return Verdict(text, source, FAILS, tolerance=tolerance, reason=reason.rstrip(". "))
    return measured(text, source, found, tolerance) if statement.measured else judge(text, source, found, tolerance)


def measured(text: str, source: str, found: Sequence[Compared], tolerance: float) -> Verdict:
    """The size of what is never exact: the root mean square of the difference over that of the larger side.

    Sides that are both less than the tolerance are measured in units of it: they may be rounding.
    """
    compared = [one.detached() for one in found]
    left, right = (
        torch.cat([side.double().reshape(-1) for side in sides])
        for sides in ([one.left for one in compared], [one.right for one in compared])
    )
    if not bool((left - right).isfinite().all()):
        return Verdict(text, source, FAILS, reason="a side is not finite")
    least = tolerance * len(left) ** 0.5
    return Verdict(text, source, MEASURED, float((left - right).norm() / max(left.norm(), right.norm(), least)))


def judge(text: str, source: str, found: Sequence[Compared], tolerance: float) -> Verdict:
    """The verdict on sides that were compared: the worst sample decides."""
    kept, rows, total = [], 0, 0
    for compared in (one.detached() for one in found):
        decided = compared.decided(tolerance)
        rows, total = rows + int(decided.sum()), total + len(decided)
        worst = torch.where(decided, compared.residuals(), -1.0)
        if bool(decided.any()):
            kept.append((float(worst.max()), compared, int(worst.argmax())))
    if not kept:
        largest = max((float(c.scale.max()) for c in found), default=math.nan)
        reason = (
            f"errors may grow {largest:.1g} times on the way, and nothing can be said at a tolerance of {tolerance:.1g}"
        )
        return Verdict(text, source, UNDECIDED, tolerance=tolerance, reason=reason if found else "nothing to compare")
    residual, compared, row = max(kept, key=lambda one: one[0])
    remarks = [one.remark for one in found if one.remark]
    if rows < total:
        remarks.append(f"{total - rows} of {total} samples are left out, where errors grow too much")
    outcome: Outcome = HOLDS if residual <= tolerance else FAILS
    return Verdict(text, source, outcome, residual, tolerance, compared.place(row), "; ".join(remarks))

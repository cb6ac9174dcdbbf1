r"""What a comparison shows: which rows are lowest at each number of calls, and which cannot be told apart from them.

Two seeds say little of the spread of one row, all rows together say more: the deviations of the logarithms of the
distances are pooled, $s^2=\sum_i(k_i-1)s_i^2/\sum_i(k_i-1)$, and two rows are told apart where the means of their
logarithms differ by more than $2s\sqrt{1/k_i+1/k_j}$. Several rows are compared with the lowest: of those that are its
equals, one in twenty is told apart by chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from flowops.comparison.row import Row

ERRORS = 2.0  # standard errors beyond which two rows are told apart


@dataclass(frozen=True)
class Lowest:
    """The lowest row at a number of calls.

    Attributes:
        steps: the number of calls.
        best: the row.
        alike: rows that are not told apart from it, lowest first; None where there is one seed alone.
        factor: the ratio of two distances beyond which rows of all seeds are told apart.
    """

    steps: int
    best: Row
    alike: tuple[Row, ...] | None
    factor: float


def lowest(rows: Sequence[Row], steps: int) -> Lowest | None:
    """The lowest of the rows that are finite and positive under every seed; None if there is none."""
    logs = {row.label: _logs(row, steps) for row in rows}
    known = [row for row in rows if logs[row.label]]
    if not known:
        return None
    known.sort(key=lambda row: fmean(logs[row.label]))
    best, free = known[0], sum(len(values) - 1 for values in logs.values() if values)
    if not free:
        return Lowest(steps, best, None, math.nan)
    pooled = sum((len(v) - 1) * variance(v) for v in logs.values() if len(v) > 1) / free

    def error(row: Row) -> float:
        return math.sqrt(pooled * (1 / len(logs[row.label]) + 1 / len(logs[best.label])))

    reach = fmean(logs[best.label])
    alike = [row for row in known[1:] if fmean(logs[row.label]) - reach <= ERRORS * error(row)]
    return Lowest(steps, best, tuple(alike), math.exp(ERRORS * error(best)))


def _logs(row: Row, steps: int) -> list[float]:
    """The logarithms of the distances; none where a seed has no positive one."""
    found = row.spread(steps)
    return [] if found.lost or not found.values or min(found.values) <= 0 else [math.log(v) for v in found.values]


def ranked(rows: Sequence[Row], steps: Sequence[int]) -> list[Row]:
    """The rows by the mean of their ranks at these numbers of calls; a row without a distance is last there."""
    places: dict[str, float] = dict.fromkeys((row.label for row in rows), 0.0)
    for k in steps:
        means = {row.label: fmean(logs) if (logs := _logs(row, k)) else math.inf for row in rows}
        for label, mean in means.items():
            places[label] += sum(other < mean for other in means.values()) + (0 if math.isfinite(mean) else len(rows))
    return sorted(rows, key=lambda row: places[row.label])


def told(rows: Sequence[Row], steps: Sequence[int]) -> str:
    """What follows, as a list of Markdown."""
    return "\n".join(f"* {line}" for line in _lines(rows, steps))


def _lines(rows: Sequence[Row], steps: Sequence[int]) -> Iterator[str]:
    factor = math.nan
    for k in steps:
        found = lowest(rows, k)
        if found is None:
            continue
        factor = found.factor
        yield f"At {_calls(k)} `{found.best.label}` is lowest, {found.best.spread(k)}; {_alike(found)}"
    for distils, title in (
        (False, "Of the rows without a teacher"),
        (True, "Of the rows with one, or with a stage before,"),
    ):
        some = [row for row in rows if row.distils == distils]
        best = [f"`{low.best.label}` at {_calls(k)}" for k in steps if (low := lowest(some, k))]
        if best:
            yield f"{title} the lowest are {', '.join(best)}."
    if by_rank := ranked([row for row in rows if row.measured], steps)[:6]:
        yield f"By the mean of their ranks over all numbers of calls: {_names(by_rank)}."
    if quick := sorted((row for row in rows if row.cost("seconds").values), key=lambda row: row.cost("seconds").mean)[
        :3
    ]:
        told_as = (f"`{row.label}` ({row.cost('seconds').mean:.3g} s)" for row in quick)
        yield f"Trained in the shortest time, without that of a teacher: {', '.join(told_as)}."
    if lost := [row for row in rows if row.faults]:
        yield f"Not finite, or without a teacher, under at least one seed: {_names(lost)}."
    if math.isfinite(factor):
        yield (
            f"Two rows are told apart at {_calls(steps[-1])} where their distances differ by a factor of more than "
            f"{factor:.3g}: two standard errors of the deviation between seeds, pooled over all rows."
        )


def _alike(found: Lowest) -> str:
    if found.alike is None:
        return "one seed tells no rows apart."
    if not found.alike:
        return "every other row is told apart from it."
    return f"not told apart from it: {_names(found.alike)}."


def _names(rows: Sequence[Row]) -> str:
    return ", ".join(f"`{row.label}`" for row in rows)


def _calls(k: int) -> str:
    return f"{k} call{'s' * (k > 1)}"

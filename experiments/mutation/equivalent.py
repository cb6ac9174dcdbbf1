"""Mutants that no check of results can see, each with the reason."""

from __future__ import annotations

# By the name of the mutant without its line.
EQUIVALENT: dict[str, str] = {
    "flowops/metrics/discrepancy.py swapped: `_discrepancy(torch.neg, x, y)` → `(_discrepancy(torch.neg, y, x))`": (
        "the energy distance is symmetric"
    ),
    "flowops/couplings/optimal_transport.py dropped term: `place * sums[:, -1:]` → `place`": (
        "each row of the plan sums to one but for rounding, and a place beyond the last sum is clamped to its column"
    ),
    "flowops/_solvers/active.py constant: `5` → `6` in `IENCE, LOOK = 40, 6`": (
        "how often stiffness is looked at; any number is right and decides only how soon a stiff sample is named"
    ),
    "flowops/interpolants/validation.py constant: `1` → `2` in ` high = t[max(k - 2, 0)].item(), t[mi`": (
        "the interval that is zoomed into begins a cell earlier: it holds the worst point and shrinks all the same"
    ),
    "flowops/_solvers/control.py dropped term: `1e-3 * length` → `length`": (
        "where the slope and its change are rounding the probe has the least length, 1e-6, and so has the first step"
    ),
    "flowops/maps/bidiagonal.py sign: `_ROUNDINGS * torch.finfo(u.dtype).eps * largest` → "
    "`(-(_ROUNDINGS * torch.finfo(u.dtype).eps * largest))`": "only the square of the number is read",
    "flowops/_derivatives.py constant: `64` → `65` in `DIRECTIONS = 65`": (
        "how many directions are pushed together: any number is right, and decides about memory only"
    ),
    "flowops/_derivatives.py constant: `2` → `3` in `unc.vjp(f, t, x)[:3]`": (
        "without auxiliary values there are two to take"
    ),
    "flowops/_solvers/trials.py constant: `1` → `2` in `= self.ask(times[-2], self.end)`": (
        "the last stage of the one method of linear equations lies at the end of the step, as the new slope does"
    ),
    "flowops/fields/helmholtz.py dropped term: `length / nodes` → `length` in "
    "`ft.fftfreq(nodes, length, dtype=dtype, dev`": (
        "all waves grow by one factor, which the projection on them does not see"
    ),
    "flowops/metrics/_points.py constant: `22` → `23` in `BLOCK = 1 << 23`": (
        "how many distances are in memory at once: any number is right"
    ),
    "flowops/metrics/histogram.py constant: `1e-6` → `1.1e-06` in `e=device) + 0.5 + 1.1e-06) * ((high - low) `": (
        "how far nodes lie off the middles, where densities may jump: any small number is right"
    ),
    "flowops/maps/schedule_change.py boundary: `held[:1] > angles[:1]` → `(held[:1] >= angles[:1])`": (
        "where they are equal nothing is cut, and the radius at that place is multiplied by zero"
    ),
    "flowops/couplings/optimal_transport.py arithmetic: `place * sums[:, -1:]` → `(place / sums[:, -1:])`": (
        "each row of the plan sums to one but for rounding, and a place beyond the last sum is clamped to its column"
    ),
    "flowops/couplings/optimal_transport.py constant: `1e-3` → `0.0011` in `olerance: float = 0.0011`": (
        "how near the sums of columns come where nobody says it: any small number is right"
    ),
    "flowops/couplings/optimal_transport.py dropped term: `1 / len(cost)` → `1`": (
        "the plan is larger by a factor, and only the places of its largest entries are read"
    ),
    "flowops/sampling/parareal.py boundary: `len(x) < len(x0)` → `(len(x) <= len(x0))`": (
        "a field restricted to all rows in their order is the field"
    ),
    "flowops/sampling/adaptive.py swapped: `distance(new, old)` → `(distance(old, new))`": ("a distance is symmetric"),
    "flowops/sampling/optimal_grids.py dropped term: `n - 1 - i` → `(n - 1)` in "
    "`ed(X, t[i].expand((n - 1)), t[i + 1 :], pat`": (
        "one time is repeated more often than there are states that read it"
    ),
    "flowops/sampling/extrapolation.py constant: `2` → `3` in `pair in (defects[:3], defects[1:]))`": (
        "of the pair's entries the first two are read"
    ),
}


def reason(name: str) -> str | None:
    """Why a mutant of this name does the same, or None."""
    place, _, change = name.partition(" ")
    return EQUIVALENT.get(f"{place.rpartition(':')[0]} {change}")

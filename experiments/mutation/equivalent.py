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
    "flowops/_solvers/active.py constant: `5` → `6` in `PATIENCE, LOOK = 40, 6`": (
        "how often stiffness is looked at; any number is right and decides only how soon a stiff sample is named"
    ),
    "flowops/interpolants/validation.py constant: `1` → `2` in `low, high = t[max(k - 2, 0)].item(), t[min(k + 1, p`": (
        "the interval that is zoomed into begins a cell earlier: it holds the worst point and shrinks all the same"
    ),
}


def reason(name: str) -> str | None:
    """Why a mutant of this name does the same, or None."""
    place, _, change = name.partition(" ")
    return EQUIVALENT.get(f"{place.rpartition(':')[0]} {change}")

"""Mutants that no check can see, each with the reason: the changed program does the same."""

from __future__ import annotations

# By the name of the mutant without its line.
EQUIVALENT: dict[str, str] = {}


def reason(name: str) -> str | None:
    """Why a mutant of this name does the same, or None."""
    place, _, change = name.partition(" ")
    return EQUIVALENT.get(f"{place.rpartition(':')[0]} {change}")

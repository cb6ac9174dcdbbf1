"""What a run wants to be told before it goes from data to noise."""

from __future__ import annotations

from pathlib import Path


def check_way_back(run: Path, way: object, labelled: bool) -> None:
    """Refuse to go back along a map that was never trained to, and to guess the classes of data.

    Args:
        run: the folder of the run.
        way: a solver, or whether the map was trained backward.
        labelled: whether the classes of the data are known, or not asked for.

    Raises:
        ValueError: in these cases.
    """
    if not labelled:
        raise ValueError("`label` must say which class each of `x1` has, got None for a run with labels; pass it.")
    if not way:
        raise ValueError(
            f"`solver` must be given for {run}, whose map never saw a start s after its end t; pass solver=dopri5 for "
            f"its own field, or train with the option law=FullSquare()."
        )

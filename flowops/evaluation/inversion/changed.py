"""What is changed on the way back from noise: the label, or the noise itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowops.evaluation.inversion.trips import Inversion
from flowops.runs import Run
from flowops.sampling import slerp

PLACES = 9  # states between two noises, the ends included


def edited(run: Run, found: Inversion, classes: Sequence[int], **shared: Any) -> dict[str, Tensor]:
    r"""The data, and a row for each class with $X^{c'}_{0,1}\circ X^c_{1,0}$ of them, by the way that errs least.

    An exact map carries the law of class $c$ to that of class $c'$; what samples keep of each other is what the noise
    holds.

    Args:
        run: the run.
        found: its inversion.
        classes: the classes $c'$.
        **shared: guidance, interval and chunk, as for `Run.draw`.

    Raises:
        ValueError: for a run without labels, and a class that does not exist.
    """
    if not run.classes:
        raise ValueError(
            f"`classes` must not be given for {run.folder.path}, which was trained without labels; drop them."
        )
    best = found.best
    rows = {"data": found.originals.x1}
    for label in classes:
        drawn = run.draw(x0=best.found.x0, **{**best.forth, **shared, "label": label})
        rows[f"to {run.classes[label]}"] = drawn.x
    return {name: x.cpu() for name, x in rows.items()}


def interpolated(run: Run, found: Inversion, **shared: Any) -> Tensor:
    """Of each pair of neighbours the first, samples between, the second: `[pairs, 2 + PLACES, *event]`.

    The noises are joined by `slerp`, or by a line where the base is not normal; each state has the class of the nearer
    end, so that the ends are those of the round trip.

    Args:
        run: the run.
        found: its inversion.
        **shared: guidance, interval and chunk, as for `Run.draw`.

    Raises:
        ValueError: for a single sample.
    """
    best, x1, labels = found.best, found.originals.x1, found.originals.labels
    if len(x1) < 2:
        raise ValueError(f"`n` must be at least 2 to interpolate, got {len(x1)}; pass more data.")
    first = torch.arange(0, len(x1) - 1, 2)
    one, other = (best.found.x0[rows].repeat_interleave(PLACES, 0) for rows in (first, first + 1))
    w = torch.linspace(0, 1, PLACES, dtype=one.dtype, device=one.device).repeat(len(first))
    if found.norm is None:
        x0 = torch.lerp(one, other, w.view(-1, *[1] * (one.ndim - 1)))
    else:
        x0 = slerp(one, other, w)
    own = None
    if labels is not None:
        near = [labels[rows].repeat_interleave(PLACES, 0) for rows in (first, first + 1)]
        own = torch.where(w.cpu() < 0.5, *near)
    x = run.draw(x0=x0, **{**best.forth, **shared, "label": own}).x
    between = x.unflatten(0, (len(first), PLACES))
    return torch.cat([x1[first, None], between, x1[first + 1, None]], 1).cpu()

"""Ways from data to noise and back, with their errors: a table, a record, rows of pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flowops.evaluation.inversion.originals import Originals
from flowops.evaluation.plain import finite
from flowops.runs import Run
from flowops.sampling import Inverted
from flowops.sampling.inversion import rms_error

HALF = 0.5  # what noise is shown at, most of whose numbers then lie in the range of a picture
_WORDS = 2  # columns of the table that hold words


@dataclass(frozen=True)
class Trip:
    """To noise by one way and back by the same or another.

    Attributes:
        found: the noise.
        forth: the way back to the data, as arguments of `Run.draw`.
        name: that way in words.
        x: where it ends, `[n, *event]`.
        error: root mean square to the data for each sample, `[n]`.
        relative: `error` in units of the deviation of the data.
    """

    found: Inverted
    forth: Mapping[str, Any]
    name: str
    x: Tensor
    error: Tensor
    relative: Tensor

    @property
    def label(self) -> str:
        """Both ways in words."""
        return self.found.sampler + (f", then {self.name}" if self.name != self.found.sampler else "")


@dataclass(frozen=True)
class Inversion:
    """Data, their noise by every way, and where that leads.

    Attributes:
        run: its folder.
        step: of its weights.
        originals: the data.
        trips: all ways; see `inversion`.
        norm: what the norm of a base sample is near to, or None where the base is not normal.
    """

    run: str
    step: int
    originals: Originals
    trips: tuple[Trip, ...]
    norm: float | None

    @property
    def best(self) -> Trip:
        """The trip that errs least."""
        return min(self.trips, key=lambda trip: _or_infinite(trip.error))

    @property
    def found(self) -> tuple[Inverted, ...]:
        """The noises, each once."""
        return tuple({id(trip.found): trip.found for trip in self.trips}.values())

    def record(self) -> dict[str, Any]:
        """All numbers, as JSON takes them."""
        rows = [
            {
                "to noise": trip.found.sampler,
                "back by": trip.name,
                "calls to noise": trip.found.calls,
                "error": trip.error.tolist(),
                "relative": trip.relative.tolist(),
                "norm": self._norms(trip.found).tolist() if self.norm is not None else None,
                "from solver": self._apart(trip.found),
            }
            for trip in self.trips
        ]
        held: dict[str, Any] = finite(
            {"run": self.run, "step": self.step, "data": self.originals.origin, "trips": rows, "best": self.best.label}
        )
        return held

    def markdown(self) -> str:
        """The table and what belongs to it, as Markdown."""
        header = ["to noise", "back by", "calls to noise", "error", "relative", "norm of the noise", "from dopri5's"]
        cells = []
        for trip in self.trips:
            norms, apart = self._norms(trip.found), self._apart(trip.found)
            spread = f"{float(norms.mean()):.3f} ± {float(norms.std(correction=0)):.3f}"
            cells.append(
                [
                    *(trip.found.sampler, trip.name, f"{trip.found.calls:.4g}"),
                    *(f"{float(values.mean()):.3g}" for values in (trip.error, trip.relative)),
                    *(spread if self.norm is not None else "", "" if apart is None else f"{apart:.3g}"),
                ]
            )
        if not any(line[-1] for line in cells):
            header, cells = header[:-1], [line[:-1] for line in cells]
        widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
        rule = ["-" * w if k < _WORDS else "-" * (w - 1) + ":" for k, w in enumerate(widths)]
        return "\n".join(
            [
                f"{self.run}, step {self.step}: {self.originals.origin}, to noise and back.",
                "Errors are root mean squares, relative ones in units of the deviation of the data; the norm of normal "
                "noise is 1.",
                "",
                *(_line(row, widths) for row in (header, rule, *cells)),
            ]
        )

    def pictures(self) -> dict[str, Tensor]:
        """Rows to be looked at: the data, and of every way the noise and the round trip."""
        rows, shown = {"data": self.originals.x1}, set[int]()
        for trip in self.trips:
            if id(trip.found) not in shown:
                rows[f"noise / 2, {trip.found.sampler}"] = HALF * trip.found.x0
                shown.add(id(trip.found))
            rows[f"back, {trip.label}: error {float(trip.error.mean()):.3g}"] = trip.x
        return {label: x.cpu() for label, x in rows.items() if bool(x.isfinite().all())}

    def _norms(self, found: Inverted) -> Tensor:
        return found.x0.flatten(1).norm(dim=1) / (self.norm or 1.0)

    def _apart(self, found: Inverted) -> float | None:
        """How far the noise is from that of the adaptive solver, where both are there."""
        true = next((other for other in self.found if other.sampler == "dopri5"), None)
        return None if true is None or found is true else float(rms_error(found.x0, true.x0).mean())


def inversion(
    run: Run,
    originals: Originals,
    along_map: Sequence[Mapping[str, Any]],
    by_solver: Mapping[str, Any] | None = None,
    **shared: Any,
) -> Inversion:
    """Data to noise along the map and back, by a solver and back, and by the solver and back along the map.

    Args:
        run: the run.
        originals: the data.
        along_map: steps or grids of the map; a map that goes forward only takes the noise of the solver by them.
        by_solver: a solver with its steps or tolerance, or None.
        **shared: guidance, interval and chunk, as for `Run.invert`.

    Raises:
        ValueError: as `Run.invert`; and if no noise is finite.
    """
    x1, given = originals.x1, {**shared, "label": originals.labels}
    trips = []
    if run.two_sided or by_solver is None:
        for way in along_map:
            found = run.invert(x1, **way, **given)
            trips.append(Trip(found, way, found.sampler, found.back, found.error, found.relative))
    if by_solver is not None:
        found = run.invert(x1, **by_solver, **given)
        trips.append(Trip(found, by_solver, found.sampler, found.back, found.error, found.relative))
        for way in along_map:
            drawn = run.draw(x0=found.x0, **way, **given)
            error = rms_error(drawn.x, x1)
            trips.append(Trip(found, way, drawn.sampler, drawn.x, error, error / found.deviation))
    if not any(bool(trip.x.isfinite().all() and trip.found.x0.isfinite().all()) for trip in trips):
        raise ValueError(f"`{run.folder.path}` must lead to finite noise, and leads to none; look at its loss.")
    size = float(run.interpolant.alpha(0.0)) * math.sqrt(run.event.numel())
    normal = not run.paired and run.interpolant.gaussian_base
    return Inversion(str(run.folder.path), run.step, originals, tuple(trips), size if normal else None)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (c.ljust(w) if k < _WORDS else c.rjust(w) for k, (c, w) in enumerate(zip(cells, widths, strict=True)))
    return f"| {' | '.join(padded)} |"


def _or_infinite(error: Tensor) -> float:
    value = float(error.mean())
    return value if math.isfinite(value) else math.inf

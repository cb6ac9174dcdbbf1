"""What is seen of a map and its true flow: particles, the way of one of them, samples, residuals. No page is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from flowops.evaluation.explore.equal_steps import EqualSteps
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.plane import Plane, flat
from flowops.evaluation.report.residual_maps import ResidualMap, residual_map
from flowops.maps import FlowMap
from flowops.pictures import is_image

TIMES, IMAGE_TIMES = 200, 40  # steps of the grid on which the true flow is held
CELLS, IMAGE_CELLS = 12, 8  # of a heat map, on each axis
LEGS = 32  # points of the curve of one particle
ROWS, IMAGES = (1, 2, 4, 8), 8  # numbers of steps of images, and how many images stand in a row


@dataclass(frozen=True)
class Choice:
    """What is chosen on the page.

    Attributes:
        s: the time at which particles start.
        t: the time at which they are compared, before or after `s`.
        steps: equal steps of the map between the two.
        way: which map, one of `View.ways`.
    """

    s: float = 0.0
    t: float = 1.0
    steps: int = 1
    way: str = "map"


@dataclass(frozen=True)
class Scene:
    """Particles at one choice, in the plane.

    Attributes:
        start: where they are at time s, `[n, 2]`.
        mapped: where the map carries them, `[n, 2]`.
        true: where they go, `[n, 2]`.
        group: class of each, or its quadrant at time s, `[n]`.
        distance: root mean square distance of the two ends over states and entries, of those that are finite.
        lost: how many ends are not finite.
    """

    start: Tensor
    mapped: Tensor
    true: Tensor
    group: Tensor
    distance: float
    lost: int

    def nearest(self, x: float, y: float) -> int:
        """The particle of which one of the two ends is closest to a point."""
        point = torch.tensor([x, y], dtype=torch.float64)
        squares = torch.stack([(ends - point).square().sum(1) for ends in (self.mapped, self.true)])
        return int(squares.nan_to_num(nan=math.inf).amin(0).argmin())


@dataclass(frozen=True)
class Way:
    r"""How one particle goes from s to t, in the plane.

    Attributes:
        true: the solution, `[m, 2]`.
        stops: the states between the steps of the map, `[k + 1, 2]`.
        curve: $\tau\mapsto X_{t_j,\tau}(x_j)$ in each step, one behind the other, `[m', 2]`.
    """

    true: Tensor
    stops: Tensor
    curve: Tensor


class View:
    """A map, its field and states at the first time, with the true flow of these states solved once for all times.

    Since the particles at time s lie on solutions from the first time, where they truly are at time t is known without
    another solve: what a choice costs is the steps of the map.

    Args:
        observed: the field, the states at the first time, and the horizon.
        ways: maps of one step by name, the first one the one that is shown first; conditions belong to the states.
        labels: classes of the states, `[n]`; None for none.
        learned: whether the map was trained, and so for steps that go forward.
        notes: what a reader should know.

    Cost: one adaptive solve of all states.
    """

    @torch.no_grad()
    def __init__(
        self,
        observed: Observed,
        ways: Mapping[str, FlowMap],
        labels: Tensor | None = None,
        *,
        learned: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.observed, self.ways, self.labels, self.learned, self.notes = observed, dict(ways), labels, learned, notes
        self.images = is_image(observed.event)
        self.times = observed.times(IMAGE_TIMES if self.images else TIMES)
        self.path = observed.truth().path(observed.horizon[0], self.times, observed.x)

    @cached_property
    def plane(self) -> Plane:
        """The plane in which states are shown: their own, or that in which solutions spread most."""
        return Plane.of(flat(self.path, 2))

    @cached_property
    def frame(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The corners of a square around all solutions, with some room, so that axes rest while times move."""
        points = self.plane(flat(self.path, 2)).reshape(-1, 2)
        points = points[points.isfinite().all(1)]
        low, high = (points.amin(0), points.amax(0)) if len(points) else (torch.zeros(2), torch.ones(2))
        middle, half = (low + high) / 2, 0.53 * float((high - low).max().clamp(min=1e-3))
        (x, y) = middle.tolist()
        return (x - half, y - half), (x + half, y + half)

    def place(self, time: float) -> int:
        """The number of the time of the grid that is closest to one."""
        return int((self.times - time).abs().argmin())

    def true(self, time: float) -> Tensor:
        """The states at a time of the grid."""
        return self.path[self.place(time)]

    def calls(self, choice: Choice) -> int:
        """Calls of the map or the field per sample."""
        return choice.steps * {"heun": 2}.get(choice.way, 1)

    @torch.no_grad()
    def mapped(self, choice: Choice, rows: Tensor | None = None) -> Tensor:
        """Where the chosen steps carry the particles of time s, or some of them, `[n, *event]`."""
        s, t = (float(self.times[self.place(time)]) for time in (choice.s, choice.t))
        x, X = self.true(choice.s), self.ways[choice.way]
        if rows is not None:
            x, X = x[rows], X.subset(rows)
        return EqualSteps(X, choice.steps)(s, t, x)

    def scene(self, choice: Choice) -> Scene:
        """The particles at a choice."""
        mapped = self.mapped(choice)
        points = [self.plane(flat(x, 1)) for x in (self.true(choice.s), mapped, self.true(choice.t))]
        group = self.labels if self.labels is not None else _quadrant(points[0])
        return Scene(points[0], points[1], points[2], group, *_apart(mapped, self.true(choice.t)))

    def distance(self, choice: Choice) -> tuple[float, int]:
        """`Scene.distance` and `Scene.lost`."""
        return _apart(self.mapped(choice), self.true(choice.t))

    @torch.no_grad()
    def way(self, choice: Choice, particle: int) -> Way:
        """How one particle goes."""
        first, last = self.place(choice.s), self.place(choice.t)
        between = range(first, last + 1) if first <= last else range(first, last - 1, -1)
        x, device = self.path[first, particle], self.path.device
        s, t = self.times[first], self.times[last]
        alone = torch.tensor([particle], device=device)
        stops = EqualSteps(self.ways[choice.way].subset(alone), choice.steps).stops(s[None], t[None], x[None])[:, 0]
        parts = max(2, LEGS // choice.steps)
        leg = torch.arange(choice.steps, device=device).repeat_interleave(parts)
        inside = torch.linspace(0, 1, parts, device=device, dtype=s.dtype).repeat(choice.steps)
        begin, end = (torch.lerp(s, t, place / choice.steps) for place in (leg.to(s.dtype), leg + inside))
        curve = self.ways[choice.way].subset(alone.expand(len(leg)))(begin, end, stops[leg])
        true = self.path[list(between), particle]
        return Way(*(self.plane(flat(states, 1)) for states in (true, stops, curve)))

    def samples(self, choice: Choice, shown: int = IMAGES) -> dict[str, Tensor]:
        """Images in rows: at time s, carried by 1, 2, 4, 8 and the chosen number of steps, and where they truly go."""
        rows = torch.arange(min(shown, len(self.observed.x)), device=self.path.device)
        found = {f"at s = {choice.s:.3g}": self.true(choice.s)[rows]}
        for k in sorted({*ROWS, choice.steps}):
            label = f"{choice.way}, {k} step{'s' * (k > 1)}"
            found[label] = self.mapped(replace(choice, steps=k), rows)
        return {**found, "true flow": self.true(choice.t)[rows]}

    def residuals(self, choice: Choice) -> ResidualMap:
        """The residuals of the chosen steps over all pairs of times; of images those of one step, which cost enough."""
        steps = EqualSteps(self.ways[choice.way], 1 if self.images else choice.steps)
        X = steps.X if steps.steps == 1 else steps
        return residual_map(replace(self.observed, X=X), IMAGE_CELLS if self.images else CELLS)


def _apart(mapped: Tensor, true: Tensor) -> tuple[float, int]:
    """The root mean square over states and entries of what is finite, and how many states are not."""
    squares = (mapped - true).flatten(1).double().square()
    finite = squares.isfinite().all(1)
    return float(squares[finite].mean().sqrt()), int((~finite).sum())


def _quadrant(points: Tensor) -> Tensor:
    """The number of the quadrant about the medians in which each point lies, from 0 to 3."""
    above = points > points.nanmedian(0).values
    return (2 * above[:, 1] + above[:, 0]).long()

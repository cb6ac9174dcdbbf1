r"""One solve that can be asked for the state at every time on its way."""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from flowops._arguments import per_event
from flowops._solvers import Starts
from flowops._types import State, Times
from flowops.fields import Clock, VelocityField
from flowops.maps.passage import Passage


@runtime_checkable
class Solved(Protocol):
    """A solution operator, as far as it matters here."""

    b: VelocityField

    def subset(self, rows: Tensor) -> Self:
        """The operator for these rows of the batch."""

    def _flow(self, s: Times, t: Times, x: State, starts: Starts | None = None, first: float | None = None) -> State:
        """The solve, at checked operands."""

    def _inside(self, clock: Clock) -> Any:
        """The operator of the field in its clock."""


def dense_output(X: Solved, s: Times, t: Times, x: State) -> DenseOutput | MovedOutput:
    """One solve to `t`, in the clock of the field if it has one."""
    clock = X.b.clock()
    return DenseOutput(X, s, t, x) if clock is None else MovedOutput(X, clock, s, t, x)


class DenseOutput:
    r"""$X_{s,\tau}(x)$ for all $\tau$ from `s` to `t`, by the step in which $\tau$ lies: with the error of a solve.

    Args:
        X: an adaptive solution operator whose batch fits into one chunk.
        s: times of `x`, `[batch]`.
        t: the farthest times, `[batch]`.
        x: state.
    """

    def __init__(self, X: Solved, s: Times, t: Times, x: State) -> None:
        self.X, self.s, self.t = X, s, t
        starts = Starts()
        self.end = X._flow(s, t, x, starts=starts)
        assert starts.r is not None
        assert starts.y is not None
        self.r = starts.r
        self.starts = starts.y.reshape(len(starts.r), *x.shape)

    def __call__(self, times: Tensor) -> Tensor:
        """The states at `times` (`[k, batch]`), `[k, batch, *event]`; all of them in one solve of a step."""
        s, t = self.s, self.t
        done = ((times - s) / torch.where(t == s, 1, t - s)).detach()
        step = torch.searchsorted(self.r.T.contiguous(), done.T.contiguous(), right=True).T - 1
        sample = torch.arange(len(s), device=s.device).expand_as(step)
        begin = torch.lerp(s, t, self.r.gather(0, step))
        states = self.starts[step, sample]
        near = self.X.subset(sample.flatten())
        value = near._flow(begin.flatten(), times.flatten(), states.flatten(0, 1), first=1.0)
        return value.reshape(states.shape)

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Where steps start and end, times `[steps + 1, batch]` and states; a sample that has arrived rests."""
        under_way = self.r.isfinite()
        times = torch.where(under_way, torch.lerp(self.s, self.t, self.r.clamp(max=1)), self.t)
        states = torch.where(per_event(under_way, self.end), self.starts, self.end)
        return torch.cat([times, self.t[None]]), torch.cat([states, self.end[None]])


class MovedOutput:
    r"""The same for a field that is solved in a clock of its own; times and states are those of the field."""

    def __init__(self, X: Solved, clock: Clock, s: Times, t: Times, x: State) -> None:
        self.X, self.s, self.t, self.x, self.clock = X, s, t, x, clock
        way = Passage(X.b, clock, s, t)
        self.inner = dense_output(X._inside(clock), way.s, way.t, way.enter(x))
        self.end: Tensor = way.leave(self.inner.end, x)

    def __call__(self, times: Tensor) -> Tensor:
        """The states at `times` (`[k, batch]`), `[k, batch, *event]`."""
        way = Passage(self.X.b, self.clock, self.s, times)
        return way.leave(self.inner(way.t), self.x)

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Where steps start and end, times `[steps + 1, batch]` and states; a sample that has arrived rests."""
        places, states = self.inner.nodes()
        times = self.clock.time(places).clamp(torch.minimum(self.s, self.t), torch.maximum(self.s, self.t))
        times = torch.where(places == places[-1], self.t, times)
        times[0] = self.s
        return times, Passage(self.X.b, self.clock, self.s, times).leave(states, self.x)

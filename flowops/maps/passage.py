r"""The way from one time to another through the clock of a field."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._arguments import per_event
from flowops._derivatives import is_tracked
from flowops._types import State, Times
from flowops.fields import Clock, VelocityField


class Passage:
    r"""Times and states in another clock: $x\mapsto x/c_s$ at the start, $y\mapsto c_ty$ at the ends.

    Where $\dot\tau$ is infinite a derivative in the time cannot pass through $\tau$. The time is held there, and the
    state moves along the field instead, $x-(s-\bar s)\,b_s(x)$ and $X+(t-\bar t)\,b_t(X)$: first derivatives are right.

    Attributes:
        s: $\tau$ of the start, `[batch]`.
        t: $\tau$ of the ends, `[*ends, batch]`.
    """

    def __init__(self, b: VelocityField, clock: Clock, s: Times, t: Tensor) -> None:
        self._b, self._clock = b, clock
        self._begin, self._finish = s, t
        self.s, self._start = self._place(s)
        self.t, self._end = self._place(t)

    def enter(self, x: State) -> State:
        """The states `x` of the start in the clock."""
        if is_tracked(self._begin):
            x = x - self._moved(self._b, self._begin, x)
        return (x / per_event(self._start, x)).to(x.dtype)

    def leave(self, y: Tensor, x: State) -> Tensor:
        """The states of the ends, `[*ends, batch, *event]`, from those in the clock; `x` where no time passes."""
        z = (y * per_event(self._end, x)).to(x.dtype)
        z = self._rested(z, x)
        if not is_tracked(self._finish):
            return z
        flat = z.reshape(-1, *x.shape[1:])
        return (flat + self._moved(self._of_ends(), self._finish.reshape(-1), flat)).reshape(z.shape)

    def enter_beside(self, part: Tensor, power: int) -> Tensor:
        """A part beside the state: directions (`power` 1), covectors (-1) or logarithms of determinants (0)."""
        return part if power == 0 else (part / per_event(self._start, part) ** power).to(part.dtype)

    def leave_beside(self, part: Tensor, before: Tensor, power: int, size: int) -> Tensor:
        """The same at the end; `before` was its value, `size` is that of an event."""
        if power == 0:
            return part + (size * (self._end / self._start).log()).to(part.dtype)
        return self._rested((part * per_event(self._end, part) ** power).to(part.dtype), before)

    def _place(self, times: Tensor) -> tuple[Tensor, Tensor]:
        t = times.reshape(-1)
        tau, c = self._clock.place(t.detach() if is_tracked(t) else t)
        if is_tracked(t):
            steep = self._clock.steep(t)
            free = self._clock.place(torch.where(steep, 0.5, t))
            tau, c = torch.where(steep, tau, free[0]), torch.where(steep, c, free[1])
        return tau.reshape(times.shape), c.reshape(times.shape)

    def _moved(self, b: VelocityField, t: Times, x: State) -> State:
        """How far the state moves along the field while the time moves, where the clock is steep."""
        held = t.detach()
        steep = per_event(self._clock.steep(held), x)
        slope = b(held, x).masked_fill(~steep, 0)
        return torch.where(steep, per_event(t - held, x) * slope, 0).to(x.dtype)

    def _of_ends(self) -> VelocityField:
        """The field for all ends, one after the other."""
        ends = self._finish.shape
        if len(ends) == 1:
            return self._b
        return self._b.subset(torch.arange(ends[-1], device=self._finish.device).expand(ends).reshape(-1))

    def _rested(self, z: Tensor, x: Tensor) -> Tensor:
        """`z` without the rounding of the scales where no time passes."""
        return z + torch.where(per_event(self._begin == self._finish, x), x - z, 0).detach()

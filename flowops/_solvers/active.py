"""The samples of a solve that are under way: each with its own place and step, without those that have arrived.

Places and steps are fractions `r` of a sample's interval, `tau = s + r (t - s)`. A sample that has arrived or failed
leaves; the tensors are made smaller when an eighth of their rows has left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._solvers.control import GROW, Control, first_length, first_step
from flowops._solvers.failures import EXHAUSTED, SINGULAR, STIFF, VANISHED, Ends
from flowops._solvers.methods import Method, stepper_of
from flowops._solvers.statistics import Statistics
from flowops._solvers.stepping import RightHandSide

Field = Callable[[Tensor | None], RightHandSide]
"""`field(rows)` is the right-hand side for these rows of the batch, `field(None)` for all of them."""

PATIENCE, LOOK = 40, 5  # steps after which a sample's stiffness is looked at, and how often
_LEAVE = 8  # a step is followed by a smaller batch if one in this many samples has arrived
STREAK = 5  # looks at which stability must have held the step down


@dataclass
class Accepted:
    """The steps that were accepted: `[steps, batch]` each, a sample's own first, then zeros.

    Attributes:
        r: where a step starts.
        length: how long it is.
        y: the states there, `[steps, batch, n]`, if they were asked for.
    """

    r: Tensor
    length: Tensor
    y: Tensor | None


class Active:
    """A batch under way from `s` to `t`; its fields `end`, `status`, `steps`, … are those of the whole batch."""

    def __init__(
        self, field: Field, y: Tensor, s: Tensor, t: Tensor, method: Method, control: Control, max_steps: int
    ) -> None:
        batch = len(y)
        self.field, self.method, self.control, self.max_steps = field, method, control, max_steps
        self.c = stepper_of(method, y).c.to(s.dtype)
        self.begin, self.finish, self.end = s, t, y.clone()
        self.status = torch.zeros(batch, dtype=torch.int64, device=y.device)
        self.place = torch.zeros_like(s)
        self.steps, self.tried, self.stiff = (torch.zeros_like(self.status) for _ in range(3))
        self.log: list[tuple[Tensor, ...]] = []
        # The rows under way.
        self.rows = torch.arange(batch, device=y.device)
        self.y, self.s, self.t = y, s, t
        self.r, self.step = torch.zeros_like(s), torch.zeros_like(s)
        self.ceiling = torch.full_like(s, GROW)
        self.own_steps, self.own_tried, self.streak = (torch.zeros_like(self.status) for _ in range(3))
        self.rhs: RightHandSide | None = None

    _OF_ROWS = ("rows", "y", "slope", "s", "t", "r", "step", "ceiling", "own_steps", "own_tried", "streak")

    def start(self, rhs: RightHandSide, slope: Tensor, first: float | None) -> None:
        """Choose the first steps of all; `slope` is that of every sample at `s`."""
        self.rhs, self.slope = rhs, slope
        H = (self.t - self.s)[:, None].to(self.y.dtype)
        length, scale, speed = first_length(self.y, H * slope, self.control)
        if first is not None:
            step = torch.full_like(length, first)
        else:
            probe = length.nan_to_num(nan=0.0)
            tau = torch.lerp(self.s, self.t, probe.to(self.s.dtype))
            ahead = rhs(tau, torch.addcmul(self.y, H * slope, probe[:, None]))
            step = first_step(length, speed, H * (ahead - slope), scale, self.method.rate)
        lost = ~speed.isfinite()
        self.step = torch.where(lost, 0, step.to(self.s.dtype))
        if bool(lost.any()):
            self.leave(torch.where(lost, SINGULAR, 0))

    def run(self, keep: bool, dense: bool) -> None:
        """Step until every sample has arrived or failed; `keep` logs the accepted steps, `dense` their states too."""
        eps = torch.finfo(self.s.dtype).eps
        stepper, H = stepper_of(self.method, self.y), self.t - self.s
        tried = 0
        while len(self.rows) and tried < self.max_steps:
            tried += 1
            if len(H) != len(self.rows):
                H = self.t - self.s
            y, step, r = self.y, self.step, self.r
            tau = torch.lerp(self.s, self.t, torch.addcmul(r, self.c, step))
            h = (step * H).to(y.dtype)[:, None]
            assert self.rhs is not None
            end, slope, estimates, last, last_slope = stepper.attempt(self.rhs, y, self.slope, tau, h)
            # An end at which the field is not finite is none: 0 times its slope is NaN, so is the error.
            error = torch.add(self.control.error(estimates, y, end), slope.sum(1), alpha=0).to(step.dtype)
            live = step > 0
            accept = (error <= 1).logical_and_(live)
            if keep:
                self.log.append((self.rows, self.own_steps, r, step, accept, *((y,) if dense else ())))
            moved = accept[:, None]
            self.y, self.slope = torch.where(moved, end, y), torch.where(moved, slope, self.slope)
            self.r = torch.where(accept, r + step, r)
            left = 1 - self.r
            step = step * self.control.factor(error, self.ceiling)
            step = torch.where(step * 1.01 >= left, left, step)
            self.ceiling = torch.where(accept, GROW, 1.0).to(step.dtype)
            self.own_steps = self.own_steps + accept
            self.own_tried = self.own_tried + live
            lost = (step <= (self.r * eps).clamp_min_(eps * eps)).logical_and_(step < left).logical_and_(live)
            hopeless = None
            if tried > PATIENCE and tried % LOOK == 0:
                hopeless = self.look(h, end - last, slope - last_slope, left > step * (self.max_steps - tried))
                lost = lost | hopeless
            self.step = step.masked_fill_(lost, 0)
            # The one look of the host at a step.
            idle, gone = torch.stack([(step == 0).sum(), lost.sum()]).tolist()
            if gone:
                cause = torch.where(error.isfinite(), VANISHED, SINGULAR)
                if hopeless is not None:
                    cause = torch.where(hopeless, STIFF, cause)
                self.leave(torch.where(lost, cause, 0))
            elif _LEAVE * idle >= len(step):
                self.leave(None)
        if len(self.rows):
            late = torch.where(self.streak >= STREAK, STIFF, EXHAUSTED)
            self.leave(torch.where(self.step > 0, late, 0))
            self.step = torch.zeros_like(self.step)

    def look(self, h: Tensor, apart: Tensor, bend: Tensor, long: Tensor) -> Tensor:
        """Which samples are stiff and too far from their end (`long`).

        `|h| |f(y) - f(z)| / |y - z|` of the last two stages is near the boundary of stability again and again
        (Hairer, Wanner, Solving ODEs II, §IV.2).
        """
        ratio = (h[:, 0] * bend.abs().amax(1) / apart.abs().amax(1)).abs()
        near = ratio > 0.9 * self.method.boundary
        self.streak = torch.where(near, self.streak + 1, (self.streak - 1).clamp_min_(0))
        stiff = self.streak >= STREAK
        self.stiff[self.rows] |= stiff
        return stiff & long

    def leave(self, status: Tensor | None) -> None:
        """Write down the samples whose step is zero, and go on with the others."""
        gone = self.step == 0 if status is None else (self.step == 0) | (status > 0)
        rows = self.rows[gone]
        self.end[rows], self.place[rows] = self.y[gone], self.r[gone]
        self.steps[rows], self.tried[rows] = self.own_steps[gone], self.own_tried[gone]
        if status is not None:
            self.status[rows] = status[gone]
        kept = (~gone).nonzero()[:, 0]
        for name in self._OF_ROWS:
            setattr(self, name, getattr(self, name).index_select(0, kept))
        if len(kept):
            self.rhs = self.field(self.rows)

    def ends(self) -> Ends:
        """Where every sample stopped."""
        place = torch.lerp(self.begin, self.finish, self.place)
        return Ends(self.status, place, torch.linalg.vector_norm(self.end, dim=1))

    def statistics(self, moving: Tensor, before: int) -> Statistics:
        """The work, with this many calls before the first step of the samples that move."""
        calls = torch.where(moving, stepper_of(self.method, self.end).calls(self.steps, self.tried) + before, 0)
        return Statistics(self.steps, self.tried - self.steps, calls, self.stiff > 0, self.status > 0)

    def accepted(self) -> Accepted:
        """The logged steps, sample by sample."""
        batch = len(self.end)
        most = max(1, int(self.steps.max())) if batch else 1
        empty = self.place.new_zeros(most, batch)
        states = self.end.new_zeros(most, *self.end.shape) if self.log and len(self.log[0]) > 5 else None
        if not self.log:
            return Accepted(empty, empty, states)
        accept = torch.cat([entry[4] for entry in self.log])
        rows, number, r, length = (torch.cat([entry[k] for entry in self.log])[accept] for k in range(4))
        r_, length_ = empty.clone(), empty.clone()
        r_[number, rows], length_[number, rows] = r, length
        if states is not None:
            states[0] = self.end  # a sample without a step stays where it starts
            for entry_rows, own, _, _, taken, y in self.log:
                states[own[taken], entry_rows[taken]] = y[taken]
        return Accepted(r_, length_, states)

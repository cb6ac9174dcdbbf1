r"""Fields and maps moved to another schedule with no retraining."""

from __future__ import annotations

from typing import overload

from torch import Tensor

from flowops._arguments import check_like, per_event
from flowops._types import Jacobian, PerSample, State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps.flow_map import FlowMap
from flowops.maps.schedule_change import ScheduleChange


@overload
def reschedule(operator: VelocityField, old: Interpolant, new: Interpolant) -> VelocityField: ...
@overload
def reschedule(operator: FlowMap, old: Interpolant, new: Interpolant) -> FlowMap: ...
def reschedule(operator: VelocityField | FlowMap, old: Interpolant, new: Interpolant) -> VelocityField | FlowMap:
    r"""The field or map of the interpolant `new`, from that of `old` with the same endpoints' coupling.

    $$\bar b_{t'}(x)=\tfrac{\dot c}{c}x+c\,\dot\tau\,b_\tau(x/c),\qquad
      \bar X_{s',t'}(x)=c_{t'}\,X_{\tau(s'),\tau(t')}(x/c_{s'})$$

    where $\bar I_{t'}=c_{t'}I_{\tau(t')}$; see `ScheduleChange` for $\tau$ and $c$. Both interpolants have two terms,
    and the new signal-to-noise range lies inside the old one.

    Args:
        operator: the field or map of `old`.
        old: its interpolant.
        new: the interpolant wanted.

    Raises:
        TypeError: if `operator` is neither a field nor a map, or an interpolant is none.
        ValueError: if an interpolant has a gamma term or the ranges do not fit.

    Cost: one call of the operator, and two root findings over the batch of times. Source: conjugation of
    $\dot x=b_t(x)$ by $x\mapsto cx$ and $t=\tau(t')$; Karras et al. 2206.00364.
    """
    if isinstance(operator, VelocityField):
        return RescheduledField(operator, ScheduleChange(old, new))
    if isinstance(operator, FlowMap):
        return RescheduledMap(operator, ScheduleChange(old, new))
    raise TypeError(f"`operator` must be a VelocityField or a FlowMap, got {type(operator).__name__}; wrap it.")


class RescheduledField(VelocityField):
    r"""$\bar b_{t'}(x)=\tfrac{\dot c}{c}x+c\,\dot\tau\,b_\tau(x/c)$."""

    def __init__(self, b: VelocityField, change: ScheduleChange) -> None:
        super().__init__()
        self.b, self.change = b, change

    def forward(self, t: Times, x: State) -> State:
        t = self.change.regular(t)
        tau = self.change.tau(t)
        c, c_rate = self.change.scale(t, tau), self.change.scale_rate(t, tau)
        inner = self.b(tau, (x / per_event(c, x)).to(x.dtype))
        return per_event(c_rate, x) * x + per_event(c * self.change.tau_dot(t, tau), x) * inner


class RescheduledMap(FlowMap):
    r"""$\bar X_{s',t'}(x)=c_{t'}\,X_{\tau(s'),\tau(t')}(x/c_{s'})$; derivatives by the chain rule from those of $X$."""

    def __init__(self, X: FlowMap, change: ScheduleChange) -> None:
        super().__init__()
        self.X, self.change = X, change

    def forward(self, s: Times, t: Times, x: State) -> State:
        sigma, tau = self.change.tau(s), self.change.tau(t)
        c_s, c_t = self.change.scale(s, sigma), self.change.scale(t, tau)
        return _times(c_t, self.X(sigma, tau, _over(x, c_s)))

    def value_and_dt(self, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[State, State]:
        r"""Value and $\dot c_t\,X+c_t\,\dot\tau_t\,\partial_tX$."""
        s, t = self._operands(s, t, x)
        end = self.change.regular(t)
        sigma, tau = self.change.tau(s), self.change.tau(end)
        c_s, c_t = self.change.scale(s, sigma), self.change.scale(end, tau)
        value, dt = self.X.value_and_dt(sigma, tau, _over(x, c_s))
        growth = c_t * self.change.scale_rate(end, tau)
        slope = _times(growth, value) + _times(c_t * self.change.tau_dot(end, tau), dt)
        return self(s, t, x), slope

    def ds(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$c_t\big(\dot\tau_s\,\partial_sX-\tfrac{\dot c_s}{c_s}\nabla X\,\tfrac{x}{c_s}\big)$."""
        s, t = self._operands(s, t, x)
        start = self.change.regular(s)
        sigma, tau = self.change.tau(start), self.change.tau(t)
        c_s, c_t = self.change.scale(start, sigma), self.change.scale(t, tau)
        y = _over(x, c_s)
        stretch = self.X.jvp(sigma, tau, y, _times(self.change.scale_rate(start, sigma), y))
        return _times(c_t, _times(self.change.tau_dot(start, sigma), self.X.ds(sigma, tau, y)) - stretch)

    def jvp(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$c_t\,\nabla X\,(u/c_s)$."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        sigma, tau, c_s, c_t = self._ends(s, t)
        return _times(c_t, self.X.jvp(sigma, tau, _over(x, c_s), _over(u, c_s)))

    def material_derivative(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\partial_s\bar X+\nabla\bar X\,u$, the sum of the two rules above."""
        return self.ds(s, t, x) + self.jvp(s, t, x, u)

    def vjp(self, s: TimeLike, t: TimeLike, x: Tensor, w: Tensor) -> State:
        r"""$(c_t/c_s)\,w^\top\nabla X$."""
        s, t = self._operands(s, t, x)
        check_like(w, x, "w")
        sigma, tau, c_s, c_t = self._ends(s, t)
        return _times(c_t / c_s, self.X.vjp(sigma, tau, _over(x, c_s), w))

    def jacobian(self, s: TimeLike, t: TimeLike, x: Tensor) -> Jacobian:
        r"""$(c_t/c_s)\,\nabla X$."""
        s, t = self._operands(s, t, x)
        sigma, tau, c_s, c_t = self._ends(s, t)
        return _times(c_t / c_s, self.X.jacobian(sigma, tau, _over(x, c_s)))

    def log_abs_det(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        r"""$d\log|c_t/c_s|+\log|\det\nabla X|$."""
        s, t = self._operands(s, t, x)
        sigma, tau, c_s, c_t = self._ends(s, t)
        stretch = x.shape[1:].numel() * (c_t / c_s).abs().log()
        return stretch.to(x.dtype) + self.X.log_abs_det(sigma, tau, _over(x, c_s))

    def velocity(self) -> VelocityField:
        """The rescheduled implied field of the map."""
        return RescheduledField(self.X.velocity(), self.change)

    def _ends(self, s: Times, t: Times) -> tuple[Times, Times, Times, Times]:
        sigma, tau = self.change.tau(s), self.change.tau(t)
        return sigma, tau, self.change.scale(s, sigma), self.change.scale(t, tau)


def _times(factor: Times, x: Tensor) -> Tensor:
    return (per_event(factor, x) * x).to(x.dtype)


def _over(x: Tensor, factor: Times) -> Tensor:
    return (x / per_event(factor, x)).to(x.dtype)

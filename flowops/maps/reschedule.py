r"""Fields and maps moved to another schedule with no retraining."""

from __future__ import annotations

from typing import overload

from torch import Tensor

from flowops._arguments import check_like, per_event
from flowops._types import Jacobian, PerSample, State, TimeLike, Times
from flowops.fields import Clock, VelocityField
from flowops.interpolants import Interpolant
from flowops.maps.flow_map import FlowMap
from flowops.maps.schedule_change import ScheduleChange, radius_rate


@overload
def reschedule(
    operator: VelocityField, old: Interpolant, new: Interpolant, *, truncate: bool = False
) -> VelocityField: ...
@overload
def reschedule(operator: FlowMap, old: Interpolant, new: Interpolant, *, truncate: bool = False) -> FlowMap: ...
def reschedule(
    operator: VelocityField | FlowMap, old: Interpolant, new: Interpolant, *, truncate: bool = False
) -> VelocityField | FlowMap:
    r"""The field or map of the interpolant `new`, from that of `old` with the same endpoints' coupling.

    $$\bar b_{t'}(x)=\tfrac{\dot c}{c}x+c\,\dot\tau\,b_\tau(x/c),\qquad
      \bar X_{s',t'}(x)=c_{t'}\,X_{\tau(s'),\tau(t')}(x/c_{s'})$$

    where $\bar I_{t'}=c_{t'}I_{\tau(t')}$; see `ScheduleChange` for $\tau$ and $c$. Both interpolants have two terms,
    and the new signal-to-noise range lies inside the old one. Where $\dot\tau$ is infinite at an end, fields and
    derivatives in time are the limits that those of smooth laws have, to the precision of the operator; close to it
    they lose $\epsilon\dot\tau$. A generic derivative in time, through a map that holds this one, is NaN there.

    **A truncated clock.** A variance-preserving schedule starts at $\beta/\alpha=0.0066$ and linear at 0: its field
    says nothing of the noisier laws between. With `truncate=True` $\tau$ is held at its end there, and states are only
    rescaled, as if what lies beyond were pure noise already (or data, at the other end). At the truncated start the
    law is off by at most

    $$W_2\le\bar r\,\big((1-\cos\theta_0)^2\,d+\sin^2\theta_0\,\mathbb E|x_1|^2\big)^{1/2},\qquad
      \tan\theta_0=\beta_0/\alpha_0$$

    (for the default schedule 0.0066 times the root mean square of the data), and at $t'=1$ by the Lipschitz constant of
    the rest of the flow times that; `change.defect` of what is returned computes it for both ends.

    Args:
        operator: the field or map of `old`.
        old: its interpolant.
        new: the interpolant wanted.
        truncate: hold the clock where `new` reaches beyond `old`, instead of refusing it.

    Raises:
        TypeError: if `operator` is neither a field nor a map, an interpolant is none, or `truncate` is neither True nor
            False.
        ValueError: if an interpolant has a gamma term or the ranges do not fit.

    Cost: one call of the operator, and two root findings over the batch of times; for derivatives in time, where
    $\dot\tau$ is infinite at an end, a forward-mode pass in place of the call. Source: conjugation of
    $\dot x=b_t(x)$ by $x\mapsto cx$ and $t=\tau(t')$; Karras et al. 2206.00364.
    """
    if isinstance(operator, VelocityField):
        return RescheduledField(operator, ScheduleChange(old, new, truncate))
    if isinstance(operator, FlowMap):
        return RescheduledMap(operator, ScheduleChange(old, new, truncate))
    raise TypeError(f"`operator` must be a VelocityField or a FlowMap, got {type(operator).__name__}; wrap it.")


class RescheduledField(VelocityField):
    r"""$\bar b_{t'}(x)=\bar\rho_{t'}x+\dot\tau\,(c\,b_\tau(x/c)-\rho_\tau x)$ with the rates $\rho$ of both scales."""

    def __init__(self, b: VelocityField, change: ScheduleChange) -> None:
        super().__init__()
        self.b, self.change = b, change

    def forward(self, t: Times, x: State) -> State:
        t = self.change.regular(t)

        def apart(tau: Times) -> State:
            """What is left of the old field without the growth of its scale."""
            c = self.change.scale(t, tau)
            return _times(c, self.b(tau, _over(x, c))) - _times(radius_rate(self.change.old, tau), x)

        return _times(radius_rate(self.change.new, t), x) + self.change.along(t, self.change.tau(t), apart)

    def clock(self) -> Clock | None:
        """The old clock, where the new one is steep at an end or holds it, or the old field has a better one."""
        inner = self.b.clock()
        if not (self.change.steep or self.change.truncated or inner):
            return None
        return Clock(self.b, self.change.place, self.change.steep or (inner is not None and inner.singular))

    def _collapsed(self, t: Times) -> Tensor | None:
        return self.b._collapsed(self.change.tau(t))


class RescheduledMap(FlowMap):
    r"""$\bar X_{s',t'}(x)=c_{t'}\,X_{\tau(s'),\tau(t')}(x/c_{s'})$; derivatives by the chain rule from those of $X$."""

    def __init__(self, X: FlowMap, change: ScheduleChange) -> None:
        super().__init__()
        self.X, self.change = X, change

    def forward(self, s: Times, t: Times, x: State) -> State:
        sigma, tau, c_s, c_t = self._ends(s, t)
        return _times(c_t, self.X(sigma, tau, _over(x, c_s)))

    def value_and_dt(self, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[State, State]:
        r"""Value and $\bar\rho_t\bar X+\dot\tau_tc\,(\partial_\tau X-\rho_\tau X)$, $\rho$ the rates of the scales."""
        s, t = self._operands(s, t, x)
        end = self.change.regular(t)
        sigma, c_s = self.change.place(s)
        y = _over(x, c_s)

        def slope(tau: Times) -> State:
            inner, dt = self.X.value_and_dt(sigma, tau, y)
            growth = radius_rate(self.change.old, tau)
            return _times(self.change.scale(end, tau), dt - _times(growth, inner))

        value = self(s, t, x)
        moved = self.change.along(end, self.change.tau(end), slope)
        return value, _times(radius_rate(self.change.new, end), value) + moved.to(x.dtype)

    def ds(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$c_t\,(\dot\sigma_s\,(\partial_\sigma X+\rho_\sigma\nabla X\,y)-\bar\rho_s\nabla X\,y)$ at $y=x/c_s$."""
        s, t = self._operands(s, t, x)
        start = self.change.regular(s)
        (sigma, c_s), (tau, c_t) = self.change.place(start), self.change.place(t)

        def slope(q: Times) -> State:
            y = _over(x, self.change.scale(start, q))
            return self.X.material_derivative(q, tau, y, _times(radius_rate(self.change.old, q), y))

        y = _over(x, c_s)
        growth = self.X.jvp(sigma, tau, y, _times(radius_rate(self.change.new, start), y))
        return _times(c_t, self.change.along(start, sigma, slope).to(x.dtype) - growth)

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
        (sigma, c_s), (tau, c_t) = self.change.place(s), self.change.place(t)
        return sigma, tau, c_s, c_t


def _times(factor: Times, x: Tensor) -> Tensor:
    return (per_event(factor, x) * x).to(x.dtype)


def _over(x: Tensor, factor: Times) -> Tensor:
    return (x / per_event(factor, x)).to(x.dtype)

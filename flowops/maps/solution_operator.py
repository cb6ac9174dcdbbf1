r"""The solution operator of a velocity field: the flow map obtained by solving the ODE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flowops._arguments import check_like, check_state, expand_time, per_event
from flowops._derivatives import push_basis, push_columns
from flowops._solvers import Solver, SolverError, Starts, Statistics, refuse_vmap
from flowops._types import Jacobian, PerSample, State, TimeLike, Times
from flowops.fields import Clock, VelocityField
from flowops.fields.velocity_field import check_velocity_field
from flowops.maps.dense_output import DenseOutput, dense_output
from flowops.maps.event import Event, Function, first_event
from flowops.maps.flow_map import FlowMap, grid_of
from flowops.maps.mean_slope import mean_slope
from flowops.maps.passage import Passage

Slopes = Callable[..., tuple[Tensor, ...]]


class SolutionOperator(FlowMap):
    r"""$X_{s,t}$ of $\dot x_t=b_t(x_t)$ by a numerical solve, with per-sample times in one batch.

    $s>t$ is allowed, $s=t$ returns the state exactly. An adaptive method takes steps of its own for every sample, and
    asks the field only for samples that have not arrived: what a field holds for each sample must be a condition
    (`given`). One sample that fails does not stop the others. A field that knows a better clock (`b.clock()`) is solved
    in it, with the tolerances for the states there.

    Derivatives never difference the solver: $\partial_tX_{s,t}(x)=b_t(X_{s,t}(x))$; $\nabla X\,u$ solves the
    variational equation $\dot u=\nabla b_\tau(x_\tau)u$ with the same method; $\partial_sX_{s,t}(x)=-\nabla
    X_{s,t}(x)\,b_s(x)$; $w^\top\nabla X$ goes backward through the accepted steps.
    Derivatives by `torch.autograd`, `torch.func.grad`, `vjp` and `jvp` with respect to the state, the times and the
    field's parameters go through the accepted steps. An adaptive solve refuses `vmap` over its arguments, and
    `torch.compile` leaves it out of its graphs; fixed-step methods work inside all of them.

    A stiff equation, whose steps are held down by stability instead of accuracy, is for `"rodas5p"`: linearly implicit,
    L-stable, of order 5(4). It holds a matrix $d\times d$ for every sample, for $d$ up to 1,024 in all parts that are
    solved together ($2d$ for `jvp`), and takes the field's Jacobian by `torch.func`.

    Args:
        b: the field; it may be compiled.
        method: adaptive `"dopri8"` (default in float64), `"dop853"`, `"dopri5"` (default in float32), `"tsit5"`,
            `"bosh3"`, `"adaptive_heun"`, `"rodas5p"`, fixed-step `"euler"`, `"midpoint"`, `"heun"`, `"heun3"`, `"rk4"`,
            or an adaptive one of torchdiffeq, `"torchdiffeq:dopri5"`.
        rtol: relative tolerance of a sample's worst component; 1e-11 in float64, 2.5e-6 in float32.
        atol: absolute tolerance, likewise.
        **solver: `steps` (fixed-step methods, default 100), `adjoint` (keep for gradients only the states between steps
            and go through every step again), `chunk` (samples that are solved at once, by default as many as hold
            $2^{20}$ numbers, or entries of matrices), `max_steps`, `on_failure` (`"raise"` or `"nan"`).

    >>> b = VelocityField.from_function(lambda t, x: t[:, None] * x)
    >>> X = SolutionOperator(b)
    >>> X(0.0, torch.tensor([1.0, 2.0]).double(), torch.ones(2, 1).double())  # one end time per sample
    tensor([[1.6487],
            [7.3891]], dtype=torch.float64)

    Raises:
        TypeError: if `b` is no `VelocityField`, or the states are neither float32 nor float64.
        ValueError: for an unknown method or option.
        SolverError: by a call, if samples fail; it names them, the time, the state's norm and what to try.

    Cost: one solve per call of the map, one of twice the width for `jvp` and `ds`, one and its gradient for `vjp`, one
    of width $1+d$ for `jacobian`, one with the divergence for `log_abs_det`. Source: Hairer, Nørsett, Wanner, Solving
    ODEs I, §I.14 (derivatives), §II.4 (step sizes), §II.5 (pairs), II, §IV.7, and Steinebach 2023, BIT 63:27 (rodas5p).
    """

    def __init__(
        self,
        b: VelocityField,
        *,
        method: str | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        **solver: Any,
    ) -> None:
        super().__init__()
        check_velocity_field(b)
        self.b = b
        self.solver = Solver.from_options(method=method, rtol=rtol, atol=atol, **solver)

    def forward(self, s: Times, t: Times, x: State) -> State:
        return self._flow(s, t, x)

    def solve(self, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[State, Statistics]:
        r"""$X_{s,t}(x)$ and what it cost each sample: steps, rejected ones, calls of the field, stiffness, failure.

        Raises:
            ValueError: for a method of torchdiffeq, which does not tell.
        """
        if not (self.solver.own or self.solver.fixed):
            raise ValueError(f"`method` must be one of flowops for statistics, got {self.solver.method!r}; drop it.")
        s, t = self._operands(s, t, x)
        parts, statistics = self._run(s, t, (x,), _equation)
        assert statistics is not None
        return parts[0], statistics

    def value_and_dt(self, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[State, State]:
        r"""$X_{s,t}(x)$ and $\partial_tX_{s,t}(x)=b_t(X_{s,t}(x))$: the ODE. Cost: one solve and one call of `b`."""
        s, t = self._operands(s, t, x)
        value = self(s, t, x)
        return value, self.b(t, value)

    def ds(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$\partial_sX_{s,t}(x)=-\nabla X_{s,t}(x)\,b_s(x)$ by the variational equation. Cost: a solve of width 2."""
        s, t = self._operands(s, t, x)
        return self.jvp(s, t, x, -self.b(s, x))

    def jvp(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\nabla X_{s,t}(x)\,u$ by the variational equation. Cost: one solve of width 2."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        return self._solve(s, t, (x, u), lambda b: b.value_and_jvp)[1]

    def material_derivative(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\partial_sX+\nabla X\,u=\nabla X_{s,t}(x)\,(u-b_s(x))$. Cost: one solve of width 2."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        return self.jvp(s, t, x, u - self.b(s, x))

    def vjp(self, s: TimeLike, t: TimeLike, x: Tensor, w: Tensor) -> State:
        r"""$w^\top\nabla X_{s,t}(x)$ backward through the accepted steps. Cost: one solve, and a gradient of its steps.

        Nothing is solved backward, where a contractive flow would magnify errors. Fixed-step methods, those of
        torchdiffeq and `adjoint=True` solve the adjoint equation: one solve, and one of width 2 backward.
        """
        if self.solver.own and not self.solver.adjoint:
            return super().vjp(s, t, x, w)
        s, t = self._operands(s, t, x)
        check_like(w, x, "w")

        def backward(b: VelocityField) -> Slopes:
            def slopes(tau: Tensor, y: Tensor, a: Tensor) -> tuple[Tensor, ...]:
                value, pulled = b.value_and_vjp(tau, y, a)
                return value, -pulled

            return slopes

        return self._solve(t, s, (self(s, t, x), w), backward, power=-1)[1]

    def jacobian(self, s: TimeLike, t: TimeLike, x: Tensor) -> Jacobian:
        r"""$\nabla X_{s,t}(x)$ by the variational equation for all directions. Cost: one solve of width $1+d$."""
        s, t = self._operands(s, t, x)
        identity = push_basis(lambda e: e, x)

        def slopes(b: VelocityField) -> Slopes:
            return lambda tau, y, J: (b(tau, y), push_columns(lambda u: b.jvp(tau, y, u), y, J))

        return self._solve(s, t, (x, identity), slopes)[1]

    def log_abs_det(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        r"""$\log|\det\nabla X_{s,t}(x)|=\int_s^t(\nabla\!\cdot b_\tau)(X_{s,\tau}(x))\,d\tau$: Liouville's formula.

        No determinant is taken: that of a flow that contracts some directions more than others has no digits left.
        Where trajectories meet in points it is $-\infty$, and $\infty$ from there.

        Cost: one solve with the exact divergence, a directional derivative per event coordinate and call of the field.
        """
        s, t = self._operands(s, t, x)
        met = [self.b._collapsed(time) for time in (s, t)]
        if met[0] is None or met[1] is None:
            return self._with_log_abs_det(s, t, x)[1]
        value = self._with_log_abs_det(s, torch.where(met[0] | met[1], s, t), x)[1]
        infinite = torch.where(met[1], -torch.inf, torch.inf).to(x.dtype)
        return torch.where((met[0] != met[1]), infinite, value)

    def average_velocity(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$v_{s,t}(x)=\int_0^1b_{s+r(t-s)}(X_{s,s+r(t-s)}(x))\,dr$, solved as $\dot z=b(x+(t-s)z)$: no quotient.

        Where the field may be infinite at an end (`Clock.singular`), it is the quotient with its limit, as for any map.
        """
        s, t = self._operands(s, t, x)
        clock = self.b.clock()
        if clock is not None and clock.singular:
            return mean_slope(lambda q: self(s, q, x), lambda q: self.dt(s, q, x), s, t, x, clock.reach(s, t))

        def system(rows: Tensor | None) -> Slopes:
            own = slice(None) if rows is None else rows
            b = self.b if rows is None else self.b.subset(rows)
            s_, t_, x_ = s[own], t[own], x[own]
            h = per_event(t_ - s_, x_).to(x.dtype)
            return lambda r, z: (b(torch.lerp(s_, t_, r.to(s_.dtype)), x_ + h * z),)

        unit = torch.ones_like(s)
        wanted = (*self.b.dependencies(), s, t, x)  # here x is no part of the state
        return self.solver.solve(system, (torch.zeros_like(x),), 0 * unit, unit, wanted)[0]

    def velocity(self) -> VelocityField:
        """The field this map solves."""
        return self.b

    def path(self, s: TimeLike, times: Sequence[TimeLike] | Tensor, x: Tensor) -> Tensor:
        r"""$X_{s,t_j}(x)$ by dense output, in whatever order the times are.

        One solve to the farthest time after $s$, one to the farthest before; every $t_j$ is reached, all of them at
        once, from the step in which it lies, with the error of a solve. Fixed-step methods and those of
        torchdiffeq solve for every time.
        """
        if not self.solver.own:
            return super().path(s, times, x)
        check_state(x)
        every = torch.stack([expand_time(s, x, "s"), *(expand_time(t, x, "times") for t in grid_of(times))])
        refuse_vmap(every, x)
        start, ends = every[0], every[1:]
        clock = self.b.clock()
        if clock is not None:
            way = Passage(self.b, clock, start, ends)
            return way.leave(self._inside(clock).path(way.s, way.t, way.enter(x)), x)
        return torch.cat([X._dense_path(start[own], ends[:, own], x[own]) for X, own in self._chunks(x)], 1)

    def until(self, s: TimeLike, t: TimeLike, x: Tensor, g: Function, *, direction: int = 0) -> Event:
        r"""Solve until $g(\tau,X_{s,\tau}(x))=0$ for the first time, sample by sample, at the latest until $t$.

        A zero is seen where $g$ has different signs at the two ends of a step, and found to rounding; one at $s$ itself
        does not count. First and second derivatives of time and state with respect to $s$, $x$ and the parameters of
        field and $g$ are those of the equation solved for $\tau$.

        Args:
            s: the time of `x`.
            t: the latest time, before or after `s`.
            x: state.
            g: `g(t, x)` of shape `[m]` for times `[m]` and states `[m, *event]`, of any number `m` of the samples.
            direction: 1 for zeros at which $g$ rises on the way from $s$ to $t$, -1 for those at which it falls, 0 for
                both.

        >>> ball = VelocityField.from_function(lambda t, x: torch.stack([x[:, 1], -9.81 + 0 * x[:, 1]], 1))
        >>> fallen = ball.flow_map().until(0.0, 9.0, torch.tensor([[1.0, 0.0]]).double(), lambda t, x: x[:, 0])
        >>> fallen.time  # the square root of 2 / 9.81
        tensor([0.4515], dtype=torch.float64)

        Raises:
            ValueError: for a fixed-step method or one of torchdiffeq, a direction that is none, or a `g` of another
                shape.

        Cost: one solve and about ten steps. Source: Shampine, Thompson, Event location for ODEs (2000).
        """
        if not self.solver.own:
            raise ValueError(
                f"`method` must be an adaptive one of flowops for events, got {self.solver.method!r}; drop it."
            )
        if direction not in (-1, 0, 1):
            raise ValueError(f"`direction` must be -1, 0 or 1, got {direction!r}; pass one of them.")
        s, t = self._operands(s, t, x)
        refuse_vmap(s, t, x)
        parts = [dense_output(X, s[own], t[own], x[own]) for X, own in self._chunks(x)]
        return Event.join([first_event(dense, g, direction) for dense in parts])

    def _chunks(self, x: State) -> list[tuple[SolutionOperator, Any]]:
        """The operators of parts of the batch that are solved at once, with their rows."""
        chunk = self.solver.rows(x.shape[1:].numel())
        if len(x) <= chunk:
            return [(self, slice(None))]
        return [(self.subset(own), own) for own in torch.arange(len(x), device=x.device).split(chunk)]

    def _dense_path(self, s: Times, ends: Tensor, x: State) -> Tensor:
        """`path` for times `[batch]` and `[k, batch]`."""
        after = ends >= s
        if bool(after.all()) or not bool(after.any()):
            return self._one_side(s, ends, x)
        later, earlier = (self._one_side(s, torch.where(side, ends, s), x) for side in (after, ~after))
        return torch.where(after.reshape(after.shape + (1,) * (x.ndim - 1)), later, earlier)

    def _one_side(self, s: Times, ends: Tensor, x: State) -> Tensor:
        """`_dense_path` where the ends of a sample lie on one side of its start."""
        last = ends.gather(0, (ends - s).abs().argmax(0, keepdim=True))[0]
        return DenseOutput(self, s, last, x)(ends)

    def _flow(self, s: Times, t: Times, x: State, starts: Starts | None = None, first: float | None = None) -> State:
        return self._solve(s, t, (x,), _equation, starts=starts, first=first)[0]

    def _with_log_abs_det(self, s: Times, t: Times, x: State) -> tuple[State, PerSample]:
        """The value and the logarithm by one solve, where no trajectories meet."""

        def slopes(b: VelocityField) -> Slopes:
            return lambda tau, y, _: (b(tau, y), b.divergence(tau, y))

        value, volume = self._solve(s, t, (x, x.new_zeros(len(x))), slopes, power=0)
        return value, volume

    def _inside(self, clock: Clock) -> SolutionOperator:
        """The operator of the field in its clock, by the same solver."""
        inner = _Inside(clock.b)
        inner.solver = self.solver
        return inner

    def _solve(
        self, s: Times, t: Times, parts: tuple[Tensor, ...], slopes: Callable[[VelocityField], Slopes], **options: Any
    ) -> tuple[Tensor, ...]:
        return self._run(s, t, parts, slopes, **options)[0]

    def _run(
        self,
        s: Times,
        t: Times,
        parts: tuple[Tensor, ...],
        slopes: Callable[[VelocityField], Slopes],
        power: int = 1,
        **options: Any,
    ) -> tuple[tuple[Tensor, ...], Statistics | None]:
        """The solve for a state and what goes with it, in the clock of the field if it has one.

        `power` says how a part beside the state scales with it: directions by 1, covectors by -1, logarithms by 0.
        """
        clock = self.b.clock()
        if clock is None:
            wanted = self.b.dependencies()
            system = _system(self.b, slopes)
            return self.solver.solve_with_statistics(system, parts, s, t, wanted, **options)
        way, size = Passage(self.b, clock, s, t), parts[0].shape[1:].numel()
        x, beside = parts[0], parts[1:]
        inside = (way.enter(x), *(way.enter_beside(part, power) for part in beside))
        (y, *others), statistics = self._inside(clock)._run(way.s, way.t, inside, slopes, power, **options)
        pairs = zip(others, beside, strict=True)
        return (way.leave(y, x), *(way.leave_beside(z, part, power, size) for z, part in pairs)), statistics


class _Inside(SolutionOperator):
    """The operator of a field in the clock of another, whose errors say so."""

    def _run(self, *arguments: Any, **options: Any) -> tuple[tuple[Tensor, ...], Statistics | None]:
        try:
            return super()._run(*arguments, **options)
        except SolverError as error:
            error.add_note("Its time and state are those of the field's own clock, b.clock().")
            raise


def _system(b: VelocityField, slopes: Callable[[VelocityField], Slopes]) -> Callable[[Tensor | None], Slopes]:
    return lambda rows: slopes(b if rows is None else b.subset(rows))


def _equation(b: VelocityField) -> Slopes:
    """The equation itself; a field without conditions need not look again at operands that the solver made."""
    slope = b if b._conditions else b._value
    return lambda tau, y: (slope(tau, y),)

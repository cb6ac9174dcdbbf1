r"""The flow map $X_{s,t}$ as an operator, and the velocity field that it implies."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flowops._arguments import check_like, check_result, check_state, expand_times
from flowops._derivatives import push_basis, value_and_jvp, value_and_vjp
from flowops._operator import Operator, hidden_module, takes
from flowops._types import Jacobian, PerSample, State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.maps.mean_slope import mean_slope


class FlowMap(Operator):
    r"""A two-time map $X_{s,t}(x)$ meant as the solution operator of $\dot x_t=b_t(x_t)$: $X_{s,t}(x_s)=x_t$.

    It is defined for every pair of times, forward and backward. A subclass supplies `forward(s, t, x)`, which sees
    times of shape `[batch]` and states of shape `[batch, *event]`, and may take further keyword arguments as conditions
    (see `given`). Everything else is derived from it by `torch.func`; a subclass overrides a derivative only where a
    closed form or a cheaper exact rule exists. Samples must not interact. Nothing here makes $X$ the flow of any field:
    that is what `flowops.residuals` measures.

    >>> X = FlowMap.from_function(lambda s, t, x: x * torch.exp(s - t)[:, None])  # the flow of -x
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> X.dt(0.0, 1.0, x)
    tensor([[-0.3679, -0.7358]])
    >>> X(0.5, 1.0, X(0.0, 0.5, x)) - X(0.0, 1.0, x)
    tensor([[0., 0.]])

    Source: Boffi, Albergo, Vanden-Eijnden 2406.07507; 2505.18825 eq. (4).
    """

    @staticmethod
    def from_function(function: Callable[..., Tensor]) -> FlowMap:
        """The map $X_{s,t}(x)$ = `function(s, t, x)`, with times of shape `[batch]`.

        Parameters are kept as by `VelocityField.from_function`: those of a module or its method, not behind a lambda.
        """
        return FunctionMap(function)

    @abstractmethod
    def forward(self, s: Times, t: Times, x: State, *_: Any, **conditions: Any) -> State:
        r"""$X_{s,t}(x)$ for times `[batch]` and states `[batch, *event]`."""

    def __call__(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        """$X_{s,t}(x)$, the shape and dtype of `x`.

        Args:
            s: the time of `x`.
            t: the time wanted; before or after `s`.
            x: state.

        Raises:
            TypeError, ValueError: for a state or a time of the wrong type, dtype, shape or device, and for a map that
                returns another shape or dtype.
        """
        s, t = self._operands(s, t, x)
        return self._value(s, t, x)

    def _value(self, s: Times, t: Times, x: State) -> State:
        """A call whose operands are checked."""
        return check_result(super().__call__(s, t, x, **self._conditions), x, s, t, name=type(self).__name__)

    def value_and_dt(self, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[State, State]:
        r"""$X_{s,t}(x)$ and $\partial_t X_{s,t}(x)$ in one forward-mode pass."""
        s, t = self._operands(s, t, x)
        return value_and_jvp(lambda q: self._value(s, q, x), (t,), (torch.ones_like(t),))

    def dt(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$\partial_t X_{s,t}(x)$: the end time moves, the start point is fixed. Cost: one forward-mode pass."""
        return self.value_and_dt(s, t, x)[1]

    def ds(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$\partial_s X_{s,t}(x)$: the start time moves, the start point is fixed. Cost: one forward-mode pass."""
        s, t = self._operands(s, t, x)
        return value_and_jvp(lambda q: self._value(q, t, x), (s,), (torch.ones_like(s),))[1]

    def jvp(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\nabla X_{s,t}(x)\,u$. Cost: one forward-mode pass."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        return value_and_jvp(lambda y: self._value(s, t, y), (x,), (u,))[1]

    def material_derivative(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\partial_s X_{s,t}(x)+\nabla X_{s,t}(x)\,u$, the derivative along $\dot x=u$. Cost: one augmented pass."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        return value_and_jvp(lambda q, y: self._value(q, t, y), (s, x), (torch.ones_like(s), u))[1]

    def average_velocity_and_material_derivative(
        self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor
    ) -> tuple[State, State]:
        r"""$v_{s,t}(x)$ and $\partial_s X_{s,t}(x)+\nabla X_{s,t}(x)\,u$.

        The latter is $u-v+(t-s)(\partial_sv+\nabla v\,u)$. Cost: that of both; one augmented pass for a `LearnedMap`.
        """
        return self.average_velocity(s, t, x), self.material_derivative(s, t, x, u)

    def vjp(self, s: TimeLike, t: TimeLike, x: Tensor, w: Tensor) -> State:
        r"""$w^\top\nabla X_{s,t}(x)$. Cost: one forward and one reverse pass."""
        s, t = self._operands(s, t, x)
        check_like(w, x, "w")
        return value_and_vjp(lambda y: self._value(s, t, y), x, w)[1]

    def average_velocity(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$v_{s,t}(x)=(X_{s,t}(x)-x)/(t-s)$, with its limit $b_s(x)$ at $s=t$; no 0/0 in value or gradient.

        Where $|t-s|<\epsilon^{1/4}$, and the quotient would lose more than a quarter of the digits,
        $\int_0^1\partial_tX_{s,s+\theta(t-s)}(x)\,d\theta$ by three Gauss points takes its place, right to
        $\epsilon^{3/2}/2016000$ of the seventh derivative in $t$: for maps that turn a hundred times in a unit of time
        too. Cost: at most one call and three forward-mode passes. Source: 2505.18825 eq. (6).
        """
        s, t = self._operands(s, t, x)
        return mean_slope(lambda q: self(s, q, x), lambda q: self.dt(s, q, x), s, t, x)

    def jacobian(self, s: TimeLike, t: TimeLike, x: Tensor) -> Jacobian:
        r"""$\nabla X_{s,t}(x)$, `[batch, *event, *event]`. Cost: one forward-mode pass per event coordinate."""
        s, t = self._operands(s, t, x)
        return push_basis(lambda u: self.jvp(s, t, x, u), x)

    def log_abs_det(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        r"""$\log|\det\nabla X_{s,t}(x)|$, `[batch]`. Cost: the Jacobian and its factorization, cubic in the event."""
        check_state(x)
        size = x.shape[1:].numel()
        return torch.linalg.slogdet(self.jacobian(s, t, x).reshape(x.shape[0], size, size))[1]

    def velocity(self) -> VelocityField:
        r"""The implied field $b_t(x)=\partial_tX_{s,t}(x)|_{s=t}$ (the tangent condition, 2505.18825 Lemma 2.1)."""
        return ImpliedVelocity(self)

    def auxiliary(self) -> VelocityField:
        """The velocity of a second output, which some learned maps have beside that of their diagonal.

        Raises:
            ValueError: if there is none.
        """
        raise ValueError(
            f"`X` must have a second output for a velocity, and {type(self).__name__} has none; build the network of a "
            f"LearnedMap with auxiliary=True."
        )

    def _diagonal(self, t: Times, x: State) -> State:
        r"""$\partial_tX_{s,t}(x)|_{s=t}$ at checked operands."""
        return self.dt(t, t, x)

    def compose(self, times: Sequence[TimeLike] | Tensor, x: Tensor, *, trajectory: bool = False) -> Tensor:
        r"""$X_{t_{k-1},t_k}\circ\dots\circ X_{t_0,t_1}(x)$: $k$ steps along a grid of $k+1$ times.

        Args:
            times: the grid, in any order; each entry a number, a 0-d tensor or one time per sample.
            x: state at the first of the times.
            trajectory: also return the states in between: `[k+1, batch, *event]`, the first one being `x`.

        Raises:
            ValueError: for a single time, or a grid without one.
        """
        check_state(x)
        grid = grid_of(times)
        states = [x]
        for s, t in zip(grid[:-1], grid[1:], strict=True):
            x = self(s, t, x)
            if trajectory:
                states.append(x)
        return torch.stack(states) if trajectory else x

    def path(self, s: TimeLike, times: Sequence[TimeLike] | Tensor, x: Tensor) -> Tensor:
        r"""$X_{s,t_j}(x)$ at each of the times $t_j$, `[len(times), batch, *event]`.

        Args:
            s: the time of `x`.
            times: in any order; each entry a number, a 0-d tensor or one time per sample.
            x: state.

        Raises:
            ValueError: for a single time, or none.

        Cost: one call of the map per time; one solve along all of them for an adaptive `SolutionOperator`.
        """
        return torch.stack([self(s, t, x) for t in grid_of(times)])

    def _operands(self, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[Tensor, Tensor]:
        check_state(x)
        if self._conditions:
            self.check_conditions(x)
        return expand_times(s, t, x)


class ImpliedVelocity(VelocityField):
    r"""$b_t(x)=\partial_tX_{s,t}(x)|_{s=t}$, the slope of $X$ on its diagonal; $v_{t,t}(x)$ of a `LearnedMap`."""

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X = X

    def forward(self, t: Times, x: State) -> State:
        if self.X._conditions:
            self.X.check_conditions(x)
        return self.X._diagonal(t, x)


class FunctionMap(FlowMap):
    """A flow map given by a callable of `(s, t, x)`."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        if not callable(function):
            raise TypeError(
                f"`function` must be a callable of (s, t, x), got {type(function).__name__}; pass a function."
            )
        self.function = function
        self.module = hidden_module(function)

    def forward(self, s: Times, t: Times, x: State, **conditions: Any) -> State:
        return self.function(s, t, x, **conditions)

    def _accepts(self, name: str) -> bool:
        return takes(self.function, name)


def grid_of(times: Sequence[TimeLike] | Tensor) -> list[TimeLike]:
    """The entries of a sequence of times; a single time, or none, is refused."""
    if isinstance(times, float | int) or (isinstance(times, Tensor) and times.ndim == 0):
        raise ValueError(f"`times` must be a grid of times, got the single time {times}; pass [t_0, ..., t_k].")
    grid = list(times)
    if not grid:
        raise ValueError("`times` must hold at least one time, got none; pass [t_0, ..., t_k].")
    return grid

r"""The right-hand side of $\dot x_t=b_t(x_t)$ as an operator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowops._arguments import check_like, check_result, check_state, expand_time
from flowops._derivatives import push_basis, value_and_jvp, value_and_vjp
from flowops._operator import Operator, hidden_module, takes
from flowops._types import Jacobian, PerSample, State, TimeLike, Times
from flowops.fields.divergence import DivergenceEstimate, exact_divergence, hutchinson_divergence

if TYPE_CHECKING:
    from flowops.fields.clock import Clock
    from flowops.fields.likelihood import Base
    from flowops.maps import SolutionOperator


class VelocityField(Operator):
    r"""A velocity field $b_t(x)$, the right-hand side of $\dot x_t=b_t(x_t)$.

    A subclass supplies `forward(t, x)`, which sees times of shape `[batch]` and states of shape `[batch, *event]`, and
    may take further keyword arguments as conditions (see `given`). Everything else is derived from it by `torch.func`;
    a subclass overrides a derivative only where a closed form exists. Samples must not interact.

    >>> b = VelocityField.from_function(lambda t, x: -x)
    >>> X = b.flow_map()
    >>> X(0.0, 1.0, torch.ones(1, 2, dtype=torch.float64))
    tensor([[0.3679, 0.3679]], dtype=torch.float64)

    Source: Albergo, Boffi, Vanden-Eijnden 2303.08797; Boffi, Albergo, Vanden-Eijnden 2505.18825 eq. (2).
    """

    @staticmethod
    def from_function(function: Callable[..., Tensor]) -> VelocityField:
        """The field $b_t(x)$ = `function(t, x)`, with `t` of shape `[batch]`.

        A module, a method of one and a `functools.partial` of either keep its parameters: `.to()` moves them, and where
        the field is a teacher they are constants. A lambda around a module hides them: it stays where it is, and
        gathers gradients of what it teaches. Where a module takes its arguments in another order, write a method.
        """
        return FunctionField(function)

    @abstractmethod
    def forward(self, t: Times, x: State, *_: Any, **conditions: Any) -> State:
        r"""$b_t(x)$ for times `[batch]` and states `[batch, *event]`."""

    def __call__(self, t: TimeLike, x: Tensor) -> State:
        """$b_t(x)$, the shape and dtype of `x`.

        Raises:
            TypeError, ValueError: for a state or a time of the wrong type, dtype, shape or device, and for a field that
                returns another shape or dtype.
        """
        t = self._operands(t, x)
        return check_result(super().__call__(t, x, **self._conditions), x, t, name=type(self).__name__)

    def _value(self, t: Times, x: State) -> State:
        """A call whose operands are checked."""
        return check_result(super().__call__(t, x, **self._conditions), x, t, name=type(self).__name__)

    def value_and_jvp(self, t: TimeLike, x: Tensor, u: Tensor) -> tuple[State, State]:
        r"""$b_t(x)$ and $\nabla b_t(x)\,u$ in one forward-mode pass."""
        t = self._operands(t, x)
        check_like(u, x, "u")
        return value_and_jvp(lambda y: self._value(t, y), (x,), (u,))

    def jvp(self, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\nabla b_t(x)\,u$, the directional derivative of the field. Cost: one forward-mode pass."""
        return self.value_and_jvp(t, x, u)[1]

    def value_and_vjp(self, t: TimeLike, x: Tensor, w: Tensor) -> tuple[State, State]:
        r"""$b_t(x)$ and $w^\top\nabla b_t(x)$ in one forward and one reverse pass."""
        t = self._operands(t, x)
        check_like(w, x, "w")
        return value_and_vjp(lambda y: self._value(t, y), x, w)

    def vjp(self, t: TimeLike, x: Tensor, w: Tensor) -> State:
        r"""$w^\top\nabla b_t(x)$. Cost: one forward and one reverse pass."""
        return self.value_and_vjp(t, x, w)[1]

    def dt(self, t: TimeLike, x: Tensor) -> State:
        r"""$\partial_t b_t(x)$ at fixed $x$. Cost: one forward-mode pass."""
        t = self._operands(t, x)
        return value_and_jvp(lambda q: self._value(q, x), (t,), (torch.ones_like(t),))[1]

    def jacobian(self, t: TimeLike, x: Tensor) -> Jacobian:
        r"""$\nabla b_t(x)$, `[batch, *event, *event]`. Cost: one forward-mode pass per event coordinate."""
        t = self._operands(t, x)
        return push_basis(lambda u: self.jvp(t, x, u), x)

    def divergence(
        self,
        t: TimeLike,
        x: Tensor,
        method: str = "exact",
        *,
        n: int = 1,
        generator: torch.Generator | None = None,
    ) -> PerSample:
        r"""$\nabla\!\cdot b_t(x)$, shape `[batch]`.

        Args:
            t: time.
            x: state.
            method: `"exact"` (one forward-mode pass per event coordinate) or `"hutchinson"` (`n` of them).
            n: number of random probes of the Hutchinson estimate; see `hutchinson` for its standard error.
            generator: source of the probes.

        Raises:
            ValueError: if `method` is neither, or `n` is less than one.
        """
        if method == "hutchinson":
            return self.hutchinson(t, x, n=n, generator=generator).value
        if method != "exact":
            raise ValueError(f'`method` must be "exact" or "hutchinson", got "{method}"; pass one of the two.')
        t = self._operands(t, x)
        return exact_divergence(lambda u: self.jvp(t, x, u), x)

    def hutchinson(
        self, t: TimeLike, x: Tensor, *, n: int = 1, generator: torch.Generator | None = None
    ) -> DivergenceEstimate:
        r"""Estimate of $\nabla\!\cdot b_t(x)$ from `n` Rademacher probes, with its standard error per sample.

        Cost: `n` forward-mode passes. Source: Hutchinson 1989.
        """
        t = self._operands(t, x)
        return hutchinson_divergence(lambda u: self.jvp(t, x, u), x, n=n, generator=generator)

    def log_prob(self, x: Tensor, t: TimeLike = 1.0, base: Base | None = None, **options: Any) -> PerSample:
        r"""$\log\rho_t(x)$ of the law that the flow of $b$ carries from `base` at time 0.

        $$\log\rho_t(x)=\log\rho_0(X_{t,0}(x))-\int_0^t(\nabla\!\cdot b_\tau)(X_{t,\tau}(x))\,d\tau$$

        Args:
            x: states at time `t`.
            t: the time at which the density is wanted.
            base: density at time 0, a `torch.distributions.Distribution` or a callable `x -> [batch]`; standard normal
                if not given.
            **options: `divergence="exact" | "hutchinson"`, `n` and `generator` as in `divergence` (probes are held
                fixed along the path), and those of `SolutionOperator`.

        Raises:
            ValueError: where the law is one of points, which have no density.

        Cost: one solve of the augmented equation, with the exact divergence in the clock of the field if it has one.
        Source: Chen et al. 1806.07366; 2303.08797.
        """
        from flowops.fields.likelihood import log_prob

        return log_prob(self, x, self._operands(t, x), base, **options)

    def flow_map(self, **solver: Any) -> SolutionOperator:
        """The solution operator of this field; `solver` as in `SolutionOperator`."""
        from flowops.maps import SolutionOperator

        return SolutionOperator(self, **solver)

    def clock(self) -> Clock | None:
        """The clock in which a `SolutionOperator` solves, if there is one in which this field is more regular."""
        return None

    def _collapsed(self, t: Times) -> Tensor | None:
        r"""Where trajectories meet in points, so that $\nabla X_{s,t}=0$ for other times $s$; None for nowhere."""
        return None

    def reversed(self) -> VelocityField:
        r"""The field of the reversed clock, $\tilde b_t(x)=-b_{1-t}(x)$, whose flow is $X_{1-s,1-t}$."""
        from flowops.fields.algebra import Reversed

        return Reversed(self)

    def __add__(self, other: VelocityField) -> VelocityField:
        from flowops.fields.algebra import Sum

        return Sum(self, other) if isinstance(other, VelocityField) else NotImplemented

    def __mul__(self, factor: float | Tensor) -> VelocityField:
        from flowops.fields.algebra import Scaled

        return NotImplemented if isinstance(factor, VelocityField) else Scaled(factor, self)

    __rmul__ = __mul__

    def __neg__(self) -> VelocityField:
        return -1.0 * self

    def __sub__(self, other: VelocityField) -> VelocityField:
        return self + (-other) if isinstance(other, VelocityField) else NotImplemented

    def _operands(self, t: TimeLike, x: Tensor) -> Tensor:
        check_state(x)
        if self._conditions:
            self.check_conditions(x)
        return expand_time(t, x)


class FunctionField(VelocityField):
    """A velocity field given by a callable of `(t, x)`."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        if not callable(function):
            raise TypeError(f"`function` must be a callable of (t, x), got {type(function).__name__}; pass a function.")
        self.function = function
        self.module = hidden_module(function)

    def forward(self, t: Times, x: State, **conditions: Any) -> State:
        return self.function(t, x, **conditions)

    def _accepts(self, name: str) -> bool:
        return takes(self.function, name)


def check_velocity_field(b: object, name: str = "b") -> None:
    """Refuse anything but a field.

    Raises:
        TypeError: for it.
    """
    if not isinstance(b, VelocityField):
        raise TypeError(
            f"`{name}` must be a VelocityField, got {type(b).__name__}; wrap it with VelocityField.from_function."
        )

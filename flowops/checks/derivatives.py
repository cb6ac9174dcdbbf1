"""Derivatives of a map by routes that know no rule of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowops._arguments import check_like, per_event
from flowops._types import Jacobian, State, TimeLike, Times
from flowops.checks.growth import size
from flowops.fields import VelocityField
from flowops.maps import FlowMap

_STEP = 0.004
_TOGETHER = 8  # directions that are differenced in one call, of seven states each


def values_only(X: FlowMap) -> FlowMap:
    """The same map with every derivative by the generic forward-mode rule."""
    return FlowMap.from_function(lambda s, t, x: X(s, t, x))


def field_values(b: VelocityField) -> VelocityField:
    """The same field with every derivative by the generic forward-mode rule."""
    return VelocityField.from_function(lambda t, x: b(t, x))


def density_slopes(log_density: Callable[[Tensor, Tensor], Tensor], t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""$\partial_t\log\rho_t(x)$, `[batch]`, and $\nabla\log\rho_t(x)$, by automatic differentiation.

    What the density does not depend on, such as time if it is at rest, has the slope zero.
    """
    t, x = t.clone().requires_grad_(), x.clone().requires_grad_()
    with torch.enable_grad():
        dt, score = torch.autograd.grad(log_density(t, x).sum(), (t, x), materialize_grads=True)
    return dt, score


class Differenced(FlowMap):
    r"""The same map with every derivative by seven-point differences of its values, one batched call each.

    For maps through which `torch.func` cannot pass. Times are differenced on nodes inside the horizon, directions with
    steps of their own length, or of the size of the state where that is less. The truncation error is of sixth order in
    the step; half of it tells how large it is.

    Args:
        X: the map.
        step: distance of nodes, as a share of the horizon and of the size of a state.
        horizon: the first and the last time at which the map is called.
    """

    def __init__(self, X: FlowMap, step: float = _STEP, horizon: tuple[float, float] = (0.0, 1.0)) -> None:
        super().__init__()
        self.X, self.step, self.horizon = X, step, horizon

    def forward(self, s: Times, t: Times, x: State) -> State:
        return self.X(s, t, x)

    def value_and_dt(self, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[State, State]:
        """The value, and the difference in the end time."""
        s, t = self._operands(s, t, x)
        return self.X(s, t, x), self.dt(s, t, x)

    def dt(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        """The difference in the end time."""
        s, t = self._operands(s, t, x)
        nodes, weights = self._stencil(t)
        return self._combine(weights, s.expand(7, -1), nodes, x.expand(7, *x.shape))

    def ds(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        """The difference in the start time."""
        s, t = self._operands(s, t, x)
        nodes, weights = self._stencil(s)
        return self._combine(weights, nodes, t.expand(7, -1), x.expand(7, *x.shape))

    def jvp(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        """The difference along a direction."""
        s, t = self._operands(s, t, x)
        check_like(u, x, "u")
        h = self.step * ((1 + size(x)) / size(u)).clamp(max=1.0)
        offsets = torch.arange(-3, 4, dtype=x.dtype)[:, None] * h
        states = x + offsets.reshape(*offsets.shape, *[1] * (x.ndim - 1)) * u
        weights = _weights(torch.full_like(h, 3.0)) / h
        return self._combine(weights, s.expand(7, -1), t.expand(7, -1), states)

    def material_derivative(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        """The sum of the differences in the start time and along the direction."""
        return self.ds(s, t, x) + self.jvp(s, t, x, u)

    def jacobian(self, s: TimeLike, t: TimeLike, x: Tensor) -> Jacobian:
        """The differences along every coordinate, several of them in one call."""
        s, t = self._operands(s, t, x)
        basis = torch.eye(x[0].numel(), dtype=x.dtype).reshape(-1, 1, *x.shape[1:])
        columns = torch.cat([self._along(s, t, x, some) for some in basis.split(_TOGETHER)])
        return columns.movedim(0, -1).reshape(x.shape + x.shape[1:])

    def _along(self, s: Times, t: Times, x: State, directions: Tensor) -> Tensor:
        """The differences along directions `[k, 1, *event]`, `[k, batch, *event]`."""
        k, rows = len(directions), torch.arange(len(x)).repeat(len(directions))
        u = directions.expand(k, *x.shape).flatten(0, 1)
        return self.subset(rows).jvp(s[rows], t[rows], x[rows], u).reshape(k, *x.shape)

    def vjp(self, s: TimeLike, t: TimeLike, x: Tensor, w: Tensor) -> State:
        """The cotangent times the Jacobian of differences."""
        matrix = self.jacobian(s, t, x).reshape(len(x), x[0].numel(), -1)
        return torch.einsum("bi,bij->bj", w.reshape(len(x), -1), matrix).reshape(x.shape)

    def _combine(self, weights: Tensor, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[1]).repeat(len(x))
        values = self.X.subset(rows)(s.reshape(-1), t.reshape(-1), x.reshape(-1, *x.shape[2:])).reshape(x.shape)
        return (
            per_event(weights.reshape(-1), x.flatten(0, 1)).reshape(*x.shape[:2], *[1] * (x.ndim - 2)) * values
        ).sum(0)

    def _stencil(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Seven nodes in the horizon around each time, `[7, batch]`, and the weights of the first derivative at it."""
        start, end = self.horizon
        h = self.step * (end - start)
        first = (t - 3 * h).clamp(start, end - 6 * h)
        nodes = first + h * torch.arange(7, dtype=t.dtype)[:, None]
        return nodes.clamp(start, end), _weights((t - first) / h) / h


def _weights(position: Tensor) -> Tensor:
    """Derivative at `position` in [0, 6] of the interpolant through the nodes 0, ..., 6: weights `[7, batch]`."""
    nodes = torch.arange(7, dtype=torch.float64)
    basis = torch.linalg.inv(nodes[:, None] ** torch.arange(7))  # column k holds the coefficients of basis function k
    powers = torch.arange(1, 7, dtype=torch.float64)
    slopes = powers * position.double()[:, None] ** (powers - 1)
    return (slopes @ basis[1:]).mT.to(position.dtype)

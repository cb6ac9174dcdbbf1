"""Maps that are wrong by a known amount, and derivatives by routes that know no rule of a map's own."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops import FlowMap
from flowops._arguments import per_event


class Perturbed(FlowMap):
    r"""$X_{s,t}(x)+\delta\,(t-s)\,g_{s,t}(x)$ with a smooth $g$ that is neither additive in time nor odd in $t-s$.

    The identity at $s=t$ survives, nothing else does: it is the flow of no field.
    """

    def __init__(self, X: FlowMap, delta: float) -> None:
        super().__init__()
        self.X, self.delta = X, delta

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        g = torch.sin(x + per_event(s + 2 * t + 0.5, x)) + 0.5
        return self.X(s, t, x) + self.delta * per_event(t - s, x) * g


class Shifted(FlowMap):
    r"""$X_{s,t}(x)+\delta\cos x$: not even the identity at $s=t$."""

    def __init__(self, X: FlowMap, delta: float) -> None:
        super().__init__()
        self.X, self.delta = X, delta

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x) + self.delta * torch.cos(x)


def values_only(X: FlowMap) -> FlowMap:
    """The same map with every derivative by the generic forward-mode rule."""
    return FlowMap.from_function(lambda s, t, x: X(s, t, x))


class Differenced(FlowMap):
    """The same map with every derivative by seven-point differences of its values, one batched call each.

    For maps through which `torch.func` cannot pass. Times are differenced on nodes inside [0, 1]; the truncation
    error is of sixth order in the step.
    """

    STEP = 0.004

    def __init__(self, X: FlowMap) -> None:
        super().__init__()
        self.X = X

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.X(s, t, x)

    def value_and_dt(self, s, t, x):
        s, t = self._operands(s, t, x)
        nodes, weights = _stencil(t, self.STEP)
        return self.X(s, t, x), self._combine(weights, s.expand(7, -1), nodes, x.expand(7, *x.shape))

    def ds(self, s, t, x):
        s, t = self._operands(s, t, x)
        nodes, weights = _stencil(s, self.STEP)
        return self._combine(weights, nodes, t.expand(7, -1), x.expand(7, *x.shape))

    def jvp(self, s, t, x, u):
        s, t = self._operands(s, t, x)
        offsets = self.STEP * torch.arange(-3, 4, dtype=x.dtype)
        weights = _weights(torch.full(x.shape[:1], 3.0, dtype=x.dtype)) / self.STEP
        states = x + offsets.reshape(-1, *[1] * x.ndim) * u
        return self._combine(weights, s.expand(7, -1), t.expand(7, -1), states)

    def material_derivative(self, s, t, x, u):
        return self.ds(s, t, x) + self.jvp(s, t, x, u)

    def jacobian(self, s, t, x):
        size = x[0].numel()
        basis = torch.eye(size, dtype=x.dtype).reshape(size, 1, *x.shape[1:]).expand(size, *x.shape)
        columns = torch.stack([self.jvp(s, t, x, e) for e in basis])
        return columns.movedim(0, -1).reshape(x.shape + x.shape[1:])

    def vjp(self, s, t, x, w):
        matrix = self.jacobian(s, t, x).reshape(len(x), x[0].numel(), -1)
        return torch.einsum("bi,bij->bj", w.reshape(len(x), -1), matrix).reshape(x.shape)

    def _combine(self, weights: Tensor, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        values = self.X(s.reshape(-1), t.reshape(-1), x.reshape(-1, *x.shape[2:])).reshape(x.shape)
        return (weights.reshape(weights.shape + (1,) * (x.ndim - 2)) * values).sum(0)


def _stencil(t: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """Seven nodes in [0, 1] around each time, `[7, batch]`, and the weights of the first derivative at it."""
    first = (t - 3 * h).clamp(0, 1 - 6 * h)
    nodes = first + h * torch.arange(7, dtype=t.dtype)[:, None]
    return nodes, _weights((t - first) / h) / h


def _weights(position: Tensor) -> Tensor:
    """Derivative at `position` in [0, 6] of the interpolant through the nodes 0, ..., 6: weights `[7, batch]`."""
    nodes = torch.arange(7, dtype=torch.float64)
    basis = torch.linalg.inv(nodes[:, None] ** torch.arange(7))  # column k holds the coefficients of basis function k
    powers = torch.arange(1, 7, dtype=torch.float64)
    slopes = powers * position.double()[:, None] ** (powers - 1)
    return (slopes @ basis[1:]).mT

r"""The error of a map to first order, at every time on the way, by one linear equation along the learned path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from flowops import residuals
from flowops._arguments import check_like, check_state, expand_time, expand_times, per_event
from flowops._types import State, TimeLike, Times
from flowops.certificates.norms import euclidean
from flowops.certificates.quadrature import places, rule, spread
from flowops.fields import VelocityField
from flowops.maps import FlowMap

_ROUNDINGS = 1e5  # of the state: the least unit, so that rounding of a residual is below the tolerance


class TangentField(VelocityField):
    r"""$\dot z=\nabla b_\tau(y_\tau)\,z+a\,r_\tau$ along $y_\tau=\hat X_{s,\tau}(x)$; $r$ its residual, $a$ a factor.

    Args:
        X: the map.
        b: the field.
        start: $s$, `[batch]`.
        x: states at $s$.
        factor: $a$, `[batch]`.
    """

    _held: ClassVar[tuple[str, ...]] = ("start", "origin", "factor")

    def __init__(self, X: FlowMap, b: VelocityField, start: Times, x: State, factor: Tensor) -> None:
        super().__init__()
        self.X, self.b = X, b
        self._conditions = {"start": start, "origin": x, "factor": factor}

    def forward(self, t: Times, z: State, *, start: Times, origin: State, factor: Tensor) -> State:
        y = self.X(start, t, origin)
        residual = residuals.lagrangian(self.X, self.b, start, t, origin)
        return self.b.jvp(t, y, z) + (per_event(factor, z) * residual).to(z.dtype)


@torch.no_grad()
def tangent_error(
    X: FlowMap,
    b: VelocityField,
    s: TimeLike,
    times: Sequence[TimeLike] | Tensor,
    x: Tensor,
    *,
    start: Tensor | None = None,
    driven: bool | Tensor = True,
    tolerance: float = 1e-4,
) -> Tensor:
    r"""An estimate of $\hat X_{s,t_j}(x)-X_{s,t_j}(x)$ at many times, `[len(times), batch, *event]`.

    $e=\hat X-X$ obeys $\dot e=b(\hat X)-b(\hat X-e)+r$; to first order in $e$
    $$\dot e=\nabla b_\tau(\hat X_{s,\tau}(x))\,e+r_\tau,\qquad e_s=\hat X_{s,s}(x)-x,$$
    one linear solve along a path that is known. It is off by $\tfrac12\nabla^2b\,[e,e]$, whatever $\nabla\hat X$ is.

    Args:
        X: the map $\hat X$.
        b: the field.
        s: start time.
        times: end times, in any order.
        x: states at `s`.
        start: an error that the states have already, added to $e_s$.
        driven: whether the residual acts; one truth value per sample, or for all. Without it `start` is carried on
            alone.
        tolerance: of the solve, relative to the size of the error.

    Cost: a solve by dopri5 whose slopes take a call and a forward-mode pass of $\hat X$, and as much of `b`. Source:
    Hairer, Nørsett, Wanner, Solving ODEs I, §I.14. Checked by
    `theory_checks/test_linearized_error_is_of_second_order.py`.
    """
    check_state(x)
    s = expand_times(s, s, x)[0]
    ends = torch.stack([expand_time(t, x, "times") for t in times])
    on = torch.as_tensor(driven, device=x.device).expand(len(x)).to(x.dtype)
    begin = per_event(on, x) * (X(s, s, x) - x)
    if start is not None:
        check_like(start, x, "start")
        begin = begin + start
    rounding = torch.finfo(x.dtype).eps * (1 + euclidean(x))
    unit = torch.maximum(_unit(X, b, s, ends, x) * on + euclidean(begin), _ROUNDINGS * rounding)
    tangent = TangentField(X, b, s, x, on / unit)
    flow = tangent.flow_map(method="dopri5", rtol=tolerance, atol=tolerance)
    z = flow.path(s, list(ends), begin / per_event(unit, x))
    return z * per_event(unit, x)


def _unit(X: FlowMap, b: VelocityField, s: Times, ends: Tensor, x: State) -> Tensor:
    """About the size of the error that the residual makes, `[batch]`."""
    far = ends.gather(0, (ends - s).abs().argmax(0, keepdim=True))[0]
    points, weights, _ = rule(3, x)

    def residual(rows: Tensor, tau: Tensor) -> Tensor:
        return residuals.lagrangian(X.subset(rows), b.subset(rows), s[rows], tau, x[rows])

    values = spread(residual, torch.arange(len(x), device=x.device), places(points, s, far), x)
    sizes = torch.stack([euclidean(v) for v in values])
    return (far - s).abs().to(x.dtype) * (weights.to(x.dtype) @ sizes)

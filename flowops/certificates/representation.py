r"""The error of a map as an integral of its residual: exactly, or to first order without a solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowops import residuals
from flowops._arguments import check_state, expand_times
from flowops._types import State, TimeLike, Times
from flowops.certificates.quadrature import Integral, integrate
from flowops.fields import VelocityField
from flowops.fields.velocity_field import check_velocity_field
from flowops.maps import FlowMap

TOLERANCE = 1e-6


@torch.no_grad()
def lagrangian_error(
    X: FlowMap,
    b: VelocityField,
    s: TimeLike,
    t: TimeLike,
    x: Tensor,
    *,
    flow: FlowMap | None = None,
    tolerance: float = TOLERANCE,
    **options: Any,
) -> Integral:
    r"""$\hat X_{s,t}(x)-X_{s,t}(x)$ by the residual along the learned path (Alekseev-Gröbner).

    $$\hat X_{s,t}(x)-X_{s,t}(x)=\big[X_{s,t}(\hat X_{s,s}(x))-X_{s,t}(x)\big]
      +\int_s^t\nabla X_{\tau,t}(\hat X_{s,\tau}(x))\,r_\tau\,d\tau,\qquad
      r_\tau=\partial_\tau\hat X_{s,\tau}(x)-b_\tau(\hat X_{s,\tau}(x))$$

    for $s\le t$ and $s>t$, by differentiating $\tau\mapsto X_{\tau,t}(\hat X_{s,\tau}(x))$ with the Eulerian equation;
    the bracket vanishes for a map with identity.

    Args:
        X: the map $\hat X$.
        b: the field.
        s: start time.
        t: end time.
        x: states at `s`.
        flow: the flow map of `b`, which carries the residual on; solved for if None. Any other map is allowed: $\hat X$
            itself gives the first-order estimate, see `linearized_error`.
        tolerance: of the quadrature, relative to the integral of the integrand's size.
        **options: `most` nodes (64) and `chunk`, how many nodes are evaluated at once.

    Raises:
        TypeError, ValueError: for operators or states that do not fit.

    Cost: at every node two calls and a forward-mode pass of $\hat X$, a call of `b`, and a variational solve of twice
    the width; 12 nodes at least. Source: Alekseev 1961; Gröbner 1960; Hairer, Nørsett, Wanner, Solving ODEs I,
    Thm. I.14.5. Checked by `theory_checks/test_lagrangian_error_representation.py`.
    """
    s, t = _checked(X, b, s, t, x)
    Y = b.flow_map() if flow is None else flow

    def integrand(rows: Tensor, tau: Tensor) -> Tensor:
        map_, field = X.subset(rows), b.subset(rows)
        start, y = s[rows], x[rows]
        residual = residuals.lagrangian(map_, field, start, tau, y)
        return Y.subset(rows).jvp(tau, t[rows], map_(start, tau, y), residual)

    found = integrate(integrand, s, t, x, tolerance=tolerance, **options)
    return _with(found, X(s, s, x) - x, lambda moved: Y(s, t, moved) - Y(s, t, x), x)


@torch.no_grad()
def eulerian_error(
    X: FlowMap,
    b: VelocityField,
    s: TimeLike,
    t: TimeLike,
    x: Tensor,
    *,
    flow: FlowMap | None = None,
    tolerance: float = TOLERANCE,
    **options: Any,
) -> Integral:
    r"""$\hat X_{s,t}(x)-X_{s,t}(x)$ by the residual along the true path: nothing is carried on.

    $$\hat X_{s,t}(x)-X_{s,t}(x)=\big[\hat X_{t,t}(x_t)-x_t\big]
      -\int_s^t\big(\partial_\tau\hat X_{\tau,t}+\nabla\hat X_{\tau,t}\,b_\tau\big)(x_\tau)\,d\tau,
      \qquad x_\tau=X_{s,\tau}(x)$$

    for $s\le t$ and $s>t$, by differentiating $\tau\mapsto\hat X_{\tau,t}(x_\tau)$; the bracket vanishes for a map with
    identity.

    Args:
        X: the map $\hat X$.
        b: the field.
        s: start time.
        t: end time.
        x: states at `s`.
        flow: the flow map of `b`, which makes the path; solved for if None. $\hat X$ itself gives a first-order
            estimate.
        tolerance: as for `lagrangian_error`.
        **options: likewise.

    Raises:
        TypeError, ValueError: for operators or states that do not fit.

    Cost: at every node a solve, an augmented forward-mode pass of $\hat X$ and a call of `b`; 12 nodes at least.
    Source: 2406.07507 and 2505.18825 (9), (46). Checked by `theory_checks/test_eulerian_error_representation.py`.
    """
    s, t = _checked(X, b, s, t, x)
    Y = b.flow_map() if flow is None else flow

    def integrand(rows: Tensor, tau: Tensor) -> Tensor:
        on_the_path = Y.subset(rows)(s[rows], tau, x[rows])
        return -residuals.eulerian(X.subset(rows), b.subset(rows), tau, t[rows], on_the_path)

    found = integrate(integrand, s, t, x, tolerance=tolerance, **options)
    end = Y(s, t, x)
    return _with(found, X(t, t, end) - end, lambda moved: moved - x, x)


def linearized_error(
    X: FlowMap, b: VelocityField, s: TimeLike, t: TimeLike, x: Tensor, *, tolerance: float = 1e-3, **options: Any
) -> Integral:
    r"""An estimate of $\hat X_{s,t}(x)-X_{s,t}(x)$ that solves nothing: $\nabla\hat X$ carries the residual on.

    `lagrangian_error` with $\hat X$ in place of $X$, off by $\int(\nabla\hat X-\nabla X)_{\tau,t}\,r_\tau\,d\tau$:
    second order in the error where the gradient is learned as well as the value.

    Args:
        X: the map $\hat X$.
        b: the field.
        s: start time.
        t: end time.
        x: states at `s`.
        tolerance: as for `lagrangian_error`.
        **options: likewise.

    Cost: at every node two calls and two forward-mode passes of $\hat X$ and a call of `b`; 12 nodes at least.
    Checked by `theory_checks/test_linearized_error_is_of_second_order.py`.
    """
    return lagrangian_error(X, b, s, t, x, flow=X, tolerance=tolerance, **options)


def _with(found: Integral, defect: Tensor, carry: Callable[[Tensor], Tensor], x: State) -> Integral:
    """The integral and what a map that is wrong at equal times adds."""
    if not bool(defect.any()):
        return found
    return found._replace(value=found.value + carry(x + defect))


def check_operators(X: object, b: object) -> None:
    """Refuse what is no map, or no field."""
    if not isinstance(X, FlowMap):
        raise TypeError(f"`X` must be a FlowMap, got {type(X).__name__}; wrap it with FlowMap.from_function.")
    check_velocity_field(b)


def _checked(X: FlowMap, b: VelocityField, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[Times, Times]:
    check_operators(X, b)
    check_state(x)
    return expand_times(s, t, x)

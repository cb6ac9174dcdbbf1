r"""Bounds of the distance $W_2$ between the law that a map makes of samples and the one that the flow makes.

With the pairing by the same start, $W_2^2(\mathrm{Law}\,\hat X_{s,t}(x),\mathrm{Law}\,X_{s,t}(x))\le\mathbb E|\hat
X_{s,t}(x)-X_{s,t}(x)|^2$, $x$ from the law at $s$. $\mathbb E$ is a mean over samples, with its interval; $C_\tau$ is
the largest $\mu_2(\nabla b_\tau)$ over the segments between the paths of the samples, and stands for the one-sided
Lipschitz constant of the statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowops import residuals
from flowops._arguments import whole
from flowops._types import State, TimeLike
from flowops.certificates.bounds import NAMES, upper_bounds
from flowops.certificates.certify import checked_times, sampler_times
from flowops.certificates.constant import Constant
from flowops.certificates.course import Course, follow, growth_over
from flowops.certificates.interval import LEVEL, Interval
from flowops.certificates.norms import euclidean
from flowops.certificates.quadrature import places, rule, spread
from flowops.certificates.representation import check_operators
from flowops.fields import VelocityField
from flowops.maps import FlowMap

_NODES = 16


@dataclass(frozen=True)
class WassersteinBound:
    """A bound of $W_2$.

    Attributes:
        name: of the statement.
        value: the bound, with the interval that its samples leave.
        constant: what the field enters by, or None.
        source: where it is stated.
    """

    name: str
    value: Interval
    constant: Constant | None
    source: str

    def __str__(self) -> str:
        by = "" if self.constant is None else f" ({self.constant})"
        return f"{self.name}: W2 at most {self.value}{by}, {self.source}"


@torch.no_grad()
def wasserstein_bounds(
    X: FlowMap,
    b: VelocityField,
    x: Tensor,
    s: TimeLike = 0.0,
    t: TimeLike = 1.0,
    *,
    flow: FlowMap | None = None,
    nodes: int = _NODES,
    level: float = LEVEL,
) -> tuple[WassersteinBound, ...]:
    r"""Bounds of $W_2$ between map and flow, tighter ones first among those of the Lagrangian residual.

    * by the logarithmic norm: $\big(\mathbb E\,B(x)^2\big)^{1/2}$ of the bound $B$ of every sample;
    * Lagrangian: $\big(e^{\int(1+2C_\tau)_+d\tau}\int\mathbb E|r_\tau|^2d\tau\big)^{1/2}$, $r$ along the learned path.
      Without the positive part it is false for contractive fields;
    * Eulerian: $\big(|t-s|\int\mathbb E|\partial_\tau\hat X_{\tau,t}+\nabla\hat X_{\tau,t}\,b_\tau|^2(x_\tau)\,d\tau
      \big)^{1/2}$ along the true path, without a constant.

    Args:
        X: the map.
        b: the field.
        x: independent draws of the law at `s`, at least two.
        s: start time.
        t: end time.
        flow: the flow map of `b`; solved for if None.
        nodes: of the quadrature.
        level: of the intervals.

    Raises:
        TypeError, ValueError: as `certify`, and for fewer than two draws.

    Cost: as `certify`, and `nodes` Eulerian residuals of every sample. Source: 2406.07507 Props. 3.7, 3.8. Checked by
    `theory_checks/test_wasserstein_bounds_of_map_matching.py`.
    """
    times = checked_times(X, b, x, s, t, None)
    Y = b.flow_map() if flow is None else flow
    course = follow(X, b, times, x, Y, nodes, estimated=False)
    constant = _one_sided(course)
    squares = course.defect[0].square() + _mean(course.residual[0, :nodes].square(), course.length[0])
    growth = _positive_growth(course.rates.growth[0, :nodes].amax(-1), course.length[0].max())
    by_norm = upper_bounds(course)[0][NAMES[0]].square()
    start, end = times[0], times[-1]
    tau = course.times[0, :nodes]
    *path, last = Y.path(start, [*tau, end], x)
    residual = torch.stack([residuals.eulerian(X, b, u, end, y) for u, y in zip(tau, path, strict=True)])
    eulerian = course.length[0] * _mean(_square(residual), course.length[0])
    defect = euclidean(X(end, end, last) - last).double()
    return (
        WassersteinBound("logarithmic norm", Interval.of_mean(by_norm, level).root(), constant, "Dahlquist 1959"),
        WassersteinBound(
            "Lagrangian", Interval.of_mean(growth * squares, level).root(), constant, "2406.07507 Prop. 3.7"
        ),
        WassersteinBound(
            "Eulerian",
            Interval.of_mean((eulerian.sqrt() + defect).square(), level).root(),
            None,
            "2406.07507 Prop. 3.8",
        ),
    )


@torch.no_grad()
def self_distillation_bounds(
    X: FlowMap,
    b: VelocityField,
    x: Tensor,
    s: TimeLike = 0.0,
    t: TimeLike = 1.0,
    *,
    flow: FlowMap | None = None,
    nodes: int = _NODES,
    level: float = LEVEL,
) -> tuple[WassersteinBound, ...]:
    r"""Bounds of $W_2$ by what self-distillation sees: the diagonal $\hat v_{\tau,\tau}$ and the map's own residuals.

    $$W_2\le e^{\frac12\int(1+2\hat C)_+}\big(\sqrt{\varepsilon_b}+\sqrt{\varepsilon_L}\big),\qquad
      W_2\le e^{\frac12\int(1+2\hat C)_+}\sqrt{\varepsilon_b}+\sqrt{|t-s|\,\varepsilon_E}$$

    with the excess of the velocity loss $\varepsilon_b=\int\mathbb E|\hat v_{\tau,\tau}-b_\tau|^2(x_\tau)\,d\tau$ over
    the true law (not the loss itself, which the conditional variance keeps from zero), the Lagrangian residual against
    $\hat v$ along the learned path, and the Eulerian one along the law of the flow of $\hat v$. Each is at most the
    printed form with 4 or 2: $(\sqrt a+\sqrt b)^2\le2(a+b)$. $\hat C$ is that of $\hat v$.

    Args:
        X: the map.
        b: the true field.
        x: independent draws of the law at `s`, at least two.
        s: start time.
        t: end time.
        flow: the flow map of `b`; solved for if None.
        nodes: of the quadrature.
        level: of the intervals of either loss; that of their sum is lower.

    Raises:
        TypeError, ValueError: as `certify`, and for fewer than two draws.

    Cost: solves of `b` and of the diagonal, and `nodes` residuals of either kind of every sample. Source: 2505.18825
    Prop. 2.4, E.3, E.4, with the hypotheses under which they hold. Checked by
    `theory_checks/test_wasserstein_bounds_of_self_distillation.py`.
    """
    times = checked_times(X, b, x, s, t, None)
    seen = _seen_by_self_distillation(X, b, times, x, b.flow_map() if flow is None else flow, nodes)
    constant, factor = seen.constant, seen.factor
    excess, lagrangian, eulerian = (Interval.of_mean(loss, level) for loss in seen.losses)
    carried = excess.through(lambda value: factor * value).root()
    return (
        WassersteinBound(
            "Lagrangian self-distillation",
            carried + lagrangian.through(lambda value: factor * value).root(),
            constant,
            "2505.18825 Prop. 2.4 (16), E.3",
        ),
        WassersteinBound(
            "Eulerian self-distillation", carried + eulerian.root(), constant, "2505.18825 Prop. 2.4 (17), E.4"
        ),
    )


class _Seen(NamedTuple):
    r"""What self-distillation sees of every sample, `[n]` each, and $e^{\int(1+2\hat C)_+}$ with its constant."""

    losses: tuple[Tensor, Tensor, Tensor]
    factor: float
    constant: Constant


def _seen_by_self_distillation(
    X: FlowMap, b: VelocityField, times: Tensor, x: State, flow: FlowMap, nodes: int
) -> _Seen:
    """The excess of the diagonal and both residuals against it, each along its own law."""
    start, end, v = times[0], times[-1], X.velocity()
    tau = places(rule(whole(nodes, "nodes"), x)[0], start, end)
    truth = flow.path(start, list(tau), x)
    *own, landed = v.flow_map().path(start, [*tau, end], x)
    rows, length = torch.arange(len(x), device=x.device), (end - start).abs().double()
    learned = torch.stack([X(start, u, x) for u in tau])

    def residual(which: Tensor, when: Tensor) -> Tensor:
        return residuals.lagrangian(X.subset(which), v.subset(which), start[which], when, x[which])

    segments = [growth_over(v, times, tau, y, torch.stack(own)) for y in (truth, learned)]
    rate = torch.maximum(*(found.rates.growth.amax(1) for found in segments))
    differences = torch.stack([v(u, y) - b(u, y) for u, y in zip(tau, truth, strict=True)])
    backward = torch.stack([residuals.eulerian(X, v, u, end, y) for u, y in zip(tau, own, strict=True)])
    first, last = (euclidean(X(u, u, y) - y).double() for u, y in ((start, x), (end, landed)))
    losses = (
        _mean(_square(differences), length),
        first.square() + _mean(_square(spread(residual, rows, tau, x)), length),
        (last + (length * _mean(_square(backward), length)).sqrt()).square(),
    )
    constant = Constant("one-sided Lipschitz constant", float(rate.max()), segments[0].status, segments[0].how)
    return _Seen(losses, float(_positive_growth(rate, length.max())), constant)


@torch.no_grad()
def progressive_bound(
    X: FlowMap,
    b: VelocityField,
    x: Tensor,
    times: Sequence[TimeLike] | Tensor,
    *,
    teacher: FlowMap | None = None,
    flow: FlowMap | None = None,
    nodes: int = _NODES,
    level: float = LEVEL,
) -> WassersteinBound:
    r"""A bound of $W_2$ for one step of a map that was to match several of its teacher's.

    $$W_2\le\big(\mathbb E|\hat X_{s,t}-T_{t_{K-1},t_K}\circ\dots\circ T_{t_0,t_1}|^2(x)\big)^{1/2}
      +\big(\mathbb E\,B_T(x)^2\big)^{1/2}$$

    with the bound $B_T$ by the logarithmic norm of the teacher's $K$ steps.

    Args:
        X: the map.
        b: the field.
        x: independent draws of the law at the first time, at least two.
        times: the teacher's grid.
        teacher: the map $T$; $\hat X$ itself if None, as in progressive self-distillation.
        flow: the flow map of `b`; solved for if None.
        nodes: of the quadrature on every step.
        level: of the intervals of either part.

    Raises:
        TypeError, ValueError: as `certify`, and for fewer than two draws.

    Cost: as `certify` of the teacher's steps. Source: 2406.07507 (progressive flow map matching); 2505.18825 (30),
    (31). Checked by `theory_checks/test_wasserstein_bounds_of_map_matching.py`.
    """
    check_operators(X, b)
    T = X if teacher is None else teacher
    grid = sampler_times(T, b, x, times)
    course = follow(T, b, grid, x, b.flow_map() if flow is None else flow, nodes, estimated=False)
    apart = euclidean(X(grid[0], grid[-1], x) - T.compose(list(grid), x)).square()
    below = upper_bounds(course)[0][NAMES[0]].square()
    value = Interval.of_mean(apart, level).root() + Interval.of_mean(below, level).root()
    return WassersteinBound("progressive", value, _one_sided(course), "2406.07507; 2505.18825 (30)")


def _one_sided(course: Course) -> Constant:
    return Constant("one-sided Lipschitz constant", float(course.rates.growth.max()), course.status, course.how)


def _positive_growth(rate: Tensor, length: Tensor) -> Tensor:
    r"""$e^{\int(1+2C)_+}$ of $C$ at the nodes, `[nodes]`."""
    weights = rule(len(rate), rate)[1]
    return (length * (weights @ (1 + 2 * rate).clamp(min=0))).exp()


def _mean(values: Tensor, length: Tensor) -> Tensor:
    r"""$\int f$ of values at the nodes, `[nodes, n]`, for every sample."""
    return length * (rule(len(values), values)[1] @ values.double())


def _square(values: Tensor) -> Tensor:
    """Squared sizes of states `[nodes, n, *event]`."""
    return values.double().reshape(*values.shape[:2], -1).square().sum(2)

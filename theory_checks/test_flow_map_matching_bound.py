r"""The excess of flow map matching bounds the distance: D <= max(1, l^2) e^{2M} (L - min L), l and M of the own field.

Of a map $\hat X$ with $\hat X_{s,s}=\mathrm{id}$ let $\hat u_{s,t}=\partial_t\hat X_{s,t}\circ\hat X_{s,t}^{-1}$ be the
field that it follows from time $s$, $\ell$ its Lipschitz constant and $\mu$ the one-sided one. With the two defects of
the loss at the true path $x_t=X_{s,t}(x)$,
$$g_{s,t}=\partial_t\hat X_{s,t}(\hat X_{t,s}(x_t))-b_t(x_t),\qquad c_{s,t}=\hat X_{s,t}(\hat X_{t,s}(x_t))-x_t,$$
the error $e=\hat X_{s,t}(x)-x_t$ has $\dot e=\hat u(x_t+e)-\hat u(x_t+c)+g$, so that for $s\le t$
$$|\hat X_{s,t}(x)-X_{s,t}(x)|\le\int_s^te^{\int_\tau^t\mu}\big(|g_{s,\tau}|+\ell\,|c_{s,\tau}|\big)\,d\tau,$$
for $s>t$ with $-\hat u$. Both defects stand under the laws of $I_\tau$, as in the loss. Over $(s,t)\in[0,1]^2$, with
$M\ge0$ above $\mu$ in both directions,
$$\mathbb E|\hat X_{s,t}(I_s)-X_{s,t}(I_s)|^2\le\max(1,\ell^2)\,e^{2M}\big(L_{FMM}-\min L_{FMM}\big).$$
In one dimension, with an affine $\hat u$ and $g$ and $-\ell c$ of one sign, the first bound is an equality. The
constant must grow exponentially: for $b=0$ the map $e^{\ell(t-s)}x$ has the excess $\ell^2\,\mathbb E|x|^2$, and a mean
square distance of more than $e^{2\ell}/8\ell^2$ times that of $x$ from $\ell=3$ on.

Hypotheses: $\hat X_{s,t}$ one to one for all pairs, $\hat u$ Lipschitz, $\hat X$ differentiable in $t$; $w_{s,t}=1$.

Source: derived here, by Grönwall's inequality; 2406.07507 Prop. 3.11 (the loss).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from scipy.integrate import cumulative_simpson
from torch import Tensor

from flowops import FlowMap, Interpolant, VelocityField, interpolants
from flowops._arguments import per_event
from flowops._derivatives import value_and_jvp
from theory_checks.converses import QUADRATURE, SHARES, Reference, distance, integral, named, norm, way
from theory_checks.method_families import Family
from theory_checks.minimizers import Expectation, Loss, square, starts
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

DELTAS = (0.1, 1e-3)


def rates(X: FlowMap, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    r"""The Jacobian of $\hat u_{s,t}$ at $\hat X_{s,t}(x)$: $\partial_t\nabla\hat X\,(\nabla\hat X)^{-1}$."""
    size = x[0].numel()
    J, change = value_and_jvp(lambda q: X.jacobian(s, q, x).reshape(-1, size, size), (t,), (torch.ones_like(t),))
    return torch.linalg.solve(J, change, left=False).detach()


def bound(r: Reference, wrong: FlowMap, sign: float = 1.0) -> Tensor:
    r"""The integral of both defects; `sign` of $-1$ takes $-\mu$, as it would be for a field that runs backward.

    $\hat u$ is compared between the images of $x$ and of $\hat X_{t,s}(x_t)$. Its Jacobian is taken at states between
    these two, which are all that lie between the images where it is linear or the state a number.
    """
    w = way(r.s, r.t, r.x)
    x = r.X(w.s, w.times, w.x).detach()
    z = wrong(w.times, w.s, x).detach()
    value, dt = wrong.value_and_dt(w.s, w.times, z)
    worst, steepest = torch.full_like(w.times, -torch.inf), torch.zeros_like(w.times)
    direction = torch.where(w.t < w.s, -1.0, 1.0).to(x.dtype)[:, None, None]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        J = rates(wrong, w.s, w.times, torch.lerp(w.x, z, share))
        worst = torch.maximum(worst, torch.linalg.eigvalsh(direction * (J + J.mT) / 2)[:, -1])
        steepest = torch.maximum(steepest, torch.linalg.matrix_norm(J, ord=2))
    length = (r.t - r.s).abs()
    growth = torch.from_numpy(cumulative_simpson(w.by_node(sign * worst).numpy(), x=SHARES, axis=0, initial=0)) * length
    defects = w.by_node(norm(dt - r.b(w.times, x)) + steepest * norm(value - x))
    return integral((growth[-1] - growth).exp() * defects, length)


def turned(r: Reference, delta: float) -> FlowMap:
    """The flow map of a linear field, off by a matrix; the identity at equal times."""
    B = normal(3, r.size, r.size)

    def forward(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return r.X(s, t, x) + delta * ((t - s) * torch.cos(s + 2 * t))[:, None] * (x @ B.to(x.dtype))

    return FlowMap.from_function(forward)


@pytest.mark.parametrize("name", ["linear", "rotation", "logistic", "time-dependent"])
def test_the_two_defects_bound_the_distance(check: Check, name: str) -> None:
    """On linear maps of three and two dimensions, and on curved ones of numbers: forward, backward and at rest."""
    r = named(name)
    for delta in DELTAS:
        wrong = turned(r, delta) if r.size > 1 else Family(r.X, 1, delta)
        share = distance(r, wrong) / bound(r, wrong).clamp(min=1e-13)
        check.at_most(float(share.max()), 1 + QUADRATURE, where=f"at delta = {delta}")


class Affine(FlowMap):
    r"""The flow of $ax+\epsilon$, moved backward such that $c=-\epsilon q/a$ with $q=|t-s|/(1+|t-s|)$."""

    def __init__(self, a: float, epsilon: float) -> None:
        super().__init__()
        self.a, self.epsilon = a, epsilon

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        h, a, e = t - s, self.a, self.epsilon
        moved = torch.where(t < s, e / a * h / (1 - h) * (a * h).exp(), 0)
        return per_event((a * h).exp(), x) * x + per_event(e / a * torch.expm1(a * h) + moved, x)


@pytest.mark.parametrize("a", [0.8, -1.5])
def test_the_bound_is_an_equality_where_nothing_cancels(check: Check, a: float) -> None:
    r"""$g=\epsilon(1-q)$ and $-\ell c=\pm\epsilon q$ add up to $\epsilon$."""
    b = VelocityField.from_function(lambda _, x: a * x)
    X = FlowMap.from_function(lambda s, t, x: per_event((a * (t - s)).exp(), x) * x)
    s, t = torch.tensor([0.0, 0.2, 0.4], dtype=torch.float64), torch.tensor([1.0, 0.7, 0.4], dtype=torch.float64)
    r = Reference("affine", b, X, normal(5, 3, 1), s, t)
    for epsilon in (0.3, 1e-3):
        off, most = distance(r, Affine(a, epsilon)), bound(r, Affine(a, epsilon))
        check.vanishes(off - epsilon * torch.expm1(a * (t - s)) / a, 1e-12)
        check.vanishes((most - off) / epsilon, QUADRATURE)


def test_single_precision(check: Check) -> None:
    X, s, t = named("rotation").X, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    r = Reference("rotation", named("rotation").b, X, torch.tensor([[1.0, 0.5], [-0.3, 0.8]]), s, t)
    assert bound(r, turned(r, 0.1)).dtype == torch.float32
    check.at_most(float((distance(r, turned(r, 0.1)) / bound(r, turned(r, 0.1))).max()), 1 + QUADRATURE)


@cache
def pairs() -> Expectation:
    return Expectation.over(square(), interpolants.trigonometric(), 20)


@cache
def loss() -> Loss:
    return pairs().loss("fmm")


def constants(X: FlowMap) -> tuple[float, float]:
    r"""$M$ and $\ell$ of a scalar map over all pairs of times and six deviations, where it must be one to one."""
    s, t, _ = square(9)
    x = torch.linspace(-5, 6, 45, dtype=s.dtype)
    s, t, x = s.repeat_interleave(len(x)), t.repeat_interleave(len(x)), x.repeat(len(s))[:, None]
    assert X.jacobian(s, t, x).min() > 0, "the map must be one to one"
    slope = rates(X, s, t, x)[:, 0, 0]
    return max(float((slope * (t - s).sign()).max()), 0.0), float(slope.abs().max())


@pytest.mark.parametrize("size", [0.3, 0.1, 0.01])
def test_the_excess_bounds_the_mean_square_distance(check: Check, size: float) -> None:
    for theta in starts(3):
        X = pairs().family(size * theta)
        M, steep = constants(X)
        excess = float((loss()(X) - loss()(pairs().X)).detach())
        D = float(pairs().distance(X).detach())
        check.at_most(D / (max(1.0, steep**2) * math.exp(2 * M) * excess), 1.0, where=f"at size {size}")


def test_the_constant_must_grow_exponentially(check: Check) -> None:
    """The loss of the row for two laws with nothing to move between them: b = 0, and every velocity is zero."""
    I = Interpolant(alpha=torch.ones_like, beta=torch.zeros_like)
    s, t, weights = square(12)
    e = Expectation(s, t, torch.ones(len(s), 1).double(), torch.ones(len(s), 1).double(), weights, I)
    objective = e.loss("fmm")
    for rate in (3.0, 6.0, 9.0):
        X = FlowMap.from_function(lambda s, t, x, rate=rate: per_event((rate * (t - s)).exp(), x) * x)
        check.vanishes(objective(X) / rate**2 - 1, 1e-8)
        D = ((rate * (t - s)).exp() - 1).square() @ weights
        check.at_most(float(math.exp(2 * rate) / (8 * rate**2) / D), 1.0, where=f"at the rate {rate}")
        check.at_most(float(D / (rate**2 * math.exp(2 * rate) * objective(X))), 1.0, where=f"at the rate {rate}")


def test_negative_control(check: Check) -> None:
    r"""A rate of the wrong sign bounds nothing, and a field that is wrong breaks the bound by as much."""
    a, s, t = 1.0, torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    X = FlowMap.from_function(lambda s, t, x: per_event((a * (t - s)).exp(), x) * x)
    r = Reference("affine", VelocityField.from_function(lambda _, x: a * x), X, normal(5, 1, 1), s, t)
    assert distance(r, Affine(a, 0.1)) > (1 + QUADRATURE) * bound(r, Affine(a, 0.1), sign=-1.0)
    missing = []
    for delta in (1e-2, 5e-3):
        other = VelocityField.from_function(lambda _, x, d=delta: a * x + 0.1 * d)
        missing.append(distance(r, Affine(a, 0.1)) - bound(replace(r, b=other), Affine(a, 0.1)))
    check.sees(missing[0], missing[1], 1e-5)

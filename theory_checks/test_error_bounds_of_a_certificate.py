r"""Bounds of the error: exact <= logarithmic norm <= one-sided Lipschitz <= Lipschitz, and a bound of the estimate.

With $y_\tau=\hat X_{s,\tau}(x)$, its Lagrangian residual $r$ and the true path $x_\tau$,
$$|\hat X_{s,t}(x)-X_{s,t}(x)|\le e^{\int_s^t\mu}|\hat X_{s,s}(x)-x|
  +\int_s^te^{\int_\tau^t\mu_\sigma d\sigma}|r_\tau|\,d\tau$$
for every $\mu_\tau$ that is at least $\mu_2(\nabla b_\tau)$ on the segment from $x_\tau$ to $y_\tau$: its maximum
there, the maximum over all samples, or that of $\|\nabla b_\tau\|_2$. Backward in time with $-b$; along a sampler of
several steps too, whose path is piecewise smooth. The estimate $\hat e$ of $\dot{\hat e}=\nabla b(y)\hat e+r$ is off
by at most $\int e^{\int\mu}|b(y)-b(y-\hat e)-\nabla b(y)\hat e|$. The largest error on the way is at least
$|\int_u^\tau r|/(2+\int_u^\tau L)$, $L=\|\nabla b\|_2$ on the segments. A constant of a formula is proved or computed,
one of points on the segment estimated.

Hypotheses: $b$ continuous in $t$ and once continuously differentiable in $x$.

Source: Dahlquist 1959; Hairer, Nørsett, Wanner, Solving ODEs I, Thm. I.10.6.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, problems, residuals
from flowops.certificates import Certificate, Segments, certify, course, known_rates, tangent
from flowops.certificates.norms import Rates, euclidean, lanczos, rates
from theory_checks.controls import Shifted
from theory_checks.converses import named
from theory_checks.method_families import Family
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

STATUS = {"linear": "proved", "gaussian": "proved", "logistic": "computed"}
SOLVE = 2e-3  # relative error of the linear solve


T = TypeVar("T")


def known(value: T | None) -> T:
    """What is there where the truth is."""
    assert value is not None
    return value


@cache
def certificate(name: str, delta: float = 0.1) -> Certificate:
    """Of a wrong map: forward, backward, at rest, all the way."""
    r = named(name)
    return certify(Family(r.X, r.size, delta), r.b, r.x, r.s, r.t, flow=r.X, grid=0)


def over(size: Tensor, bound: Tensor) -> Tensor:
    """By what a size exceeds its bound, relative to the bound, or to a thousandth where that is larger."""
    return ((size - bound) / bound.clamp(min=1e-3)).clamp(min=0)


@pytest.mark.parametrize("name", [*STATUS])
def test_each_bound_holds_and_is_tighter_than_the_next(check: Check, name: str) -> None:
    c = certificate(name)
    chain = [known(c.error_size), *c.bounds.values()]
    for smaller, larger in zip(chain, chain[1:], strict=False):
        check.vanishes(over(smaller, larger), 1e-9)
    assert c.violations == 0
    assert {constant.status for constant in c.constants} == {STATUS[name]}
    assert c.rigorous


@pytest.mark.parametrize("name", [*STATUS])
def test_what_the_estimate_is_off_by_is_bounded(check: Check, name: str) -> None:
    c = certificate(name)
    check.vanishes(over(euclidean(c.estimate - known(c.error)), c.remainder + SOLVE * known(c.error_size)), 1e-9)


@pytest.mark.parametrize("name", [*STATUS])
def test_the_largest_error_is_at_least_what_the_residual_moves(check: Check, name: str) -> None:
    c = certificate(name)
    worst = torch.maximum(known(c.error_size), known(c.profile.error).amax(0))
    check.vanishes(over(c.lower, worst), 1e-3)  # the largest error is looked at on the nodes
    moved = named(name).s != named(name).t
    assert (c.lower > 0.1 * worst)[moved].all(), "and it is not far below"


def test_on_the_way_the_bound_holds_too(check: Check) -> None:
    c = certificate("gaussian")
    check.vanishes(over(known(c.profile.error), c.profile.bound), 1e-4)


def test_at_equal_times_everything_vanishes(check: Check) -> None:
    c, r = certificate("gaussian"), named("gaussian")
    rest = r.s == r.t
    assert rest.any()
    for values in (c.estimate, c.bound, c.lower, c.remainder):
        check.vanishes(values[rest], 1e-15)


def test_a_sampler_of_several_steps_and_a_map_without_identity(check: Check) -> None:
    r = named("logistic")
    for wrong in (Family(r.X, r.size, 0.1), Shifted(r.X, 0.02)):
        c = certify(wrong, r.b, r.x, 1.0, 0.0, times=[1.0, 0.6, 0.0], flow=r.X, grid=0)
        check.vanishes(over(known(c.error_size), c.bound), 1e-9)
        check.vanishes(over(euclidean(c.estimate - known(c.error)), c.remainder + SOLVE * known(c.error_size)), 1e-9)
        check.vanishes(c.steps.sum(0) - c.estimate, 1e-12)
        check.vanishes(c.shares.sum() - 1, 1e-12)


def test_without_the_truth_what_is_proved_stays_so(check: Check) -> None:
    r = named("gaussian")
    c = certify(Family(r.X, r.size, 0.1), r.b, r.x, r.s, r.t, truth=False, grid=0)
    check.vanishes(over(known(certificate("gaussian").error_size), c.bound), 1e-9)
    assert c.rigorous
    assert c.error is None


def test_images_by_lanczos_and_single_precision(check: Check) -> None:
    problem = problems.logistic(1.5, event=(3, 32, 32))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    wrong = Family(problem.X, 3072, 0.02)
    c = certify(wrong, problem.b + 0.0 * problem.b, x, flow=problem.X, nodes=8, grid=0)  # a sum has no formula
    assert c.estimate.dtype == c.bound.dtype == torch.float32
    assert not c.rigorous
    check.vanishes(over(known(c.error_size), c.bound), 1e-3)
    check.vanishes(known(c.effectivity) - 1, 0.1)


def test_lanczos_finds_the_largest_eigenvalue(check: Check) -> None:
    b, x = SmoothField((3, 4, 4), seed=2).requires_grad_(False), normal(3, 3, 3, 4, 4)
    t, direction = torch.full((3,), 0.4).double(), torch.tensor([1.0, -1.0, 1.0]).double()
    J = b.jacobian(t, x).reshape(3, 48, 48)
    exact = torch.linalg.eigvalsh(direction[:, None, None] * (J + J.mT) / 2)[:, -1]
    found = rates(b, t, x, direction, steps=30)
    check.vanishes(found.growth - exact, 1e-8)
    check.vanishes(found.norm - torch.linalg.matrix_norm(J, 2), 1e-8)
    low = normal(4, 3, 48, 2)
    check.vanishes(
        lanczos(lambda u: torch.einsum("nik,njk,nj->ni", low, low, u.flatten(1)).reshape(x.shape), x, 12)
        - torch.linalg.matrix_norm(low, 2).square(),
        1e-8,
    )  # a space that is exhausted


def test_formulas_are_the_maximum_over_the_segments(check: Check) -> None:
    """Formulas of the fields against Jacobians at many points of the segments: never less, and near at a fine grid."""
    for name in (*STATUS, "time-dependent", "rotation", "pendulum"):
        r = named(name)
        y, z = r.x, r.x + normal(5, *r.x.shape)
        direction = torch.where(r.t < r.s, -1.0, 1.0).double()
        formula = known(known_rates(r.b, Segments(r.t, y, z, direction))).rates
        points = [rates(r.b, r.t, torch.lerp(y, z, float(a)), direction) for a in torch.linspace(0, 1, 65)]
        found = Rates(*(torch.stack(part).amax(0) for part in zip(*points, strict=True)))
        for given, seen in zip(formula, found, strict=True):
            check.vanishes(over(seen, given), 1e-9, where=f"of {name}")
            check.vanishes(given - seen, 0.02, scale=1 + given.abs(), where=f"of {name}")


@pytest.mark.parametrize("mistake", ["sign", "point", "half"])
def test_a_residual_with_a_mistake_is_seen(monkeypatch: pytest.MonkeyPatch, mistake: str) -> None:
    """Of one sign, in one dimension, the bound is attained; the estimate is the error where the field is affine."""
    r = named("time-dependent").first
    wrong = FlowMap.from_function(lambda s, t, x: r.X(s, t, x) + 0.2 * (t - s)[:, None])

    def mistaken(X, b, s, t, x):
        right = residuals.lagrangian(X, b, s, t, x)
        return {"sign": -right, "point": X.dt(s, t, x) - b(t, r.X(s, t, x)), "half": right / 2}[mistake]

    for module in (course, tangent):
        monkeypatch.setattr(module, "residuals", SimpleNamespace(lagrangian=mistaken))
    c = certify(wrong, r.b, r.x, r.s, r.t, flow=r.X, grid=0)
    assert float(euclidean(c.estimate - known(c.error)) / known(c.error_size)) > 0.05
    assert mistake != "half" or c.violations == 1


def test_negative_control(check: Check) -> None:
    """Of one sign, in one dimension, the error is the bound; against a field that is wrong by delta it exceeds it."""
    r = named("time-dependent").first
    wrong = FlowMap.from_function(lambda s, t, x: r.X(s, t, x) + 0.2 * (t - s)[:, None])

    def excess(delta: float) -> Tensor:
        other = problems.time_dependent_scalar(rate=-1.0 - delta).b
        c = certify(wrong, other, r.x, r.s, r.t, flow=r.X, grid=0)
        return known(c.error_size) / c.bound - 1

    check.vanishes(excess(0.0), 1e-6)
    assert abs(float(excess(0.05))) > 1e-3

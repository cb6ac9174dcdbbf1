r"""One-sided Lipschitz: (b_t(x)-b_t(y)).(x-y) <= C_t |x-y|^2 gives |X_{s,t}(x)-X_{s,t}(y)| <= e^{int C} |x-y|.

So there is one solution from every state. For differentiable $b$ the least $C_t$ over a segment is the largest
eigenvalue $\mu$ of the symmetric part of $\nabla b_t$ on it; for $s\le t$ two solutions part at most by
$e^{\int_s^tC}$. The condition is one of forward time; backward that of $-b$ counts.

* $\dot x=3x^{2/3}$ is continuous and has no such $C$ at 0: the maps $X_{s,t}(x)=x$ and
  $X_{s,t}(x)=(x^{1/3}+t-s)^3$ both solve the Lagrangian equation from $x=0$, with $X_{s,s}=\mathrm{id}$.
* $\dot x=-3\,\mathrm{sign}(x)|x|^{2/3}$ has $C=0$ and is not Lipschitz: unique forward, where solutions meet at 0,
  and not backward from there.

Hypotheses: $b$ continuous and one-sided Lipschitz with integrable $C_t$.

Source: 2505.18825 Assumption E.1 (44); Hairer, Nørsett, Wanner, Solving ODEs I, Thm. I.10.6.
"""

from dataclasses import replace

import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, residuals
from theory_checks.cases import CLOSED_FORM
from theory_checks.converses import (
    EVERY,
    QUADRATURE,
    Reference,
    copies,
    growth_rate,
    integral,
    norm,
    scalar,
    share_of,
    way,
)
from theory_checks.verdicts import Check


def parted(r: Reference, gap: float, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    r"""The distance of the solutions from two states, and its bound with `factor` times $\mu$."""
    y = r.x + gap * torch.cos(3 * r.x)
    w = way(r.s, r.t, r.x)
    paths = [r.X(w.s, w.times, start).detach() for start in (w.x, copies(y, len(w.tau)))]
    direction = torch.where(w.t < w.s, -1.0, 1.0).to(r.x.dtype)
    mu = w.by_node(growth_rate(r.b, w.times, paths[0], paths[1], direction))
    distances = w.by_node(norm(paths[1] - paths[0]))
    return distances[-1], distances[0] * (factor * integral(mu, (r.t - r.s).abs())).exp()


@EVERY
def test_solutions_part_at_most_at_that_rate(check: Check, reference: Reference) -> None:
    for gap in (0.2, 1e-3) if reference.deltas[1:] else (1e-2,):
        check.at_most(float(share_of(*parted(reference, gap))), 1 + QUADRATURE, where=f"at a gap of {gap}")


@EVERY
def test_the_field_meets_the_condition_with_that_constant(check: Check, reference: Reference) -> None:
    r = reference
    y, one = r.x + 0.2 * torch.cos(3 * r.x), torch.ones_like(r.s)
    for sign in (1.0, -1.0):  # the condition of b, and of -b
        rise = sign * ((r.b(r.t, y) - r.b(r.t, r.x)) * (y - r.x)).detach().flatten(1).sum(1)
        least = growth_rate(r.b, r.t, r.x, y, sign * one)
        check.vanishes((rise - least * norm(y - r.x) ** 2).clamp(min=0), CLOSED_FORM)


def test_the_rate_is_attained_where_the_field_is_affine_and_scalar(check: Check) -> None:
    distance, bound = parted(scalar(), 0.2)
    check.vanishes(distance / bound - 1, QUADRATURE)


def power(x: Tensor) -> Tensor:
    """The real cube root."""
    return x.sign() * x.abs() ** (1 / 3)


ROOT = VelocityField.from_function(lambda _, x: 3 * power(x) ** 2)
LEAVING = FlowMap.from_function(lambda s, t, x: (power(x) + (t - s)[:, None]) ** 3)
STAYING = FlowMap.from_function(lambda _s, _t, x: x)
SINK = VelocityField.from_function(lambda _, x: -3 * x.sign() * power(x) ** 2)
ZERO = torch.zeros(3, 1, dtype=torch.float64)


def arriving(s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """The flow of `SINK` forward in time: at zero after the cube root of the distance, and there for good."""
    return x.sign() * (power(x).abs() - (t - s)[:, None]).clamp(min=0) ** 3


def test_two_maps_solve_a_field_that_is_not_lipschitz(check: Check) -> None:
    for t in (0.2, 0.7, 1.0):
        assert (LEAVING(0.0, t, ZERO) - STAYING(0.0, t, ZERO)).abs().min() > 1e-3
        velocity = 3 * t**2 * torch.ones_like(ZERO)  # of t^3, by hand: a cube root has no derivative at zero
        check.vanishes(ROOT(t, LEAVING(0.0, t, ZERO)) - velocity, CLOSED_FORM)
        check.vanishes(ROOT(t, STAYING(0.0, t, ZERO)), CLOSED_FORM)
    x = torch.tensor([[0.2], [1.0], [0.7]], dtype=torch.float64)
    check.vanishes(residuals.lagrangian(LEAVING, ROOT, 0.1, 0.8, x), CLOSED_FORM)
    for X in (LEAVING, STAYING):
        check.vanishes(residuals.identity(X, 0.3, ZERO), CLOSED_FORM)


def test_there_the_constant_is_infinite() -> None:
    rates = [float((ROOT(0.0, ZERO + h) - ROOT(0.0, ZERO)).max()) / h for h in (1e-3, 1e-6, 1e-9)]
    assert rates[2] > 9 * rates[1] > 81 * rates[0]


def test_one_side_is_enough_forward_and_not_backward(check: Check) -> None:
    x, y = (torch.linspace(a, b, 7, dtype=torch.float64)[:, None] for a, b in ((-1, 1), (-0.4, 1.3)))
    X = FlowMap.from_function(arriving)
    rise = (SINK(0.0, y) - SINK(0.0, x)) * (y - x)
    check.vanishes(rise.clamp(min=0), CLOSED_FORM)  # C = 0
    for t in (0.3, 0.9):
        far = (X(0.0, t, x) - X(0.0, t, y)).abs() - (x - y).abs()
        check.vanishes(far.clamp(min=0), CLOSED_FORM)
    near = torch.tensor([[0.001], [-0.008], [0.0]], dtype=torch.float64)
    check.vanishes(X(0.0, 0.5, near), CLOSED_FORM)  # three solutions have become one
    assert (near[0] - near[1]).abs() > 1e-3


def test_negative_control() -> None:
    """A constant that is too small by a tenth, and one by a hundredth, are no bound."""
    r = scalar()
    half = replace(r, s=torch.zeros_like(r.s), t=torch.full_like(r.t, 0.5))  # it contracts there
    for factor in (1.1, 1.01):
        distance, bound = parted(half, 0.2, factor)
        assert (distance > bound * (1 + QUADRATURE)).all(), factor

r"""The logarithmic norm is the rate of the norm of I + hJ, and bounds how fast trajectories part.

$$\mu_2(J)=\lim_{h\downarrow0}\frac{\|I+hJ\|_2-1}h,\qquad-\int_s^t\mu_2(-\nabla b_\tau)\,d\tau\le
\log\frac{|\nabla X_{s,t}(x)u|}{|u|}\le\int_s^t\mu_2(\nabla b_\tau)\,d\tau,\quad s\le t$$

Hypotheses: $b$ continuously differentiable; the integrals run along the trajectory, by Gauss-Legendre sums.

Source: Dahlquist 1959; Hairer, Nørsett, Wanner, Solving ODEs I, §I.10.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from flowops import VelocityField, problems
from flowops.fields import logarithmic_norm
from flowops.maps.quadrature import along
from theory_checks.cases import CLOSED_FORM, SINGLE, Case, named_cases
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

CASES = named_cases("linear", "logistic", "pendulum", "gaussian trigonometric")
each = pytest.mark.parametrize("known", CASES, ids=lambda c: c.name)
SHEAR = torch.tensor([[0.0, 3.0], [0.0, -0.5]], dtype=torch.float64)  # grows at first, although no eigenvalue does


def jacobians(b: VelocityField, t: float, x: Tensor) -> Tensor:
    """By reverse mode, sample by sample, `[batch, d, d]`."""

    def one(y: Tensor) -> Tensor:
        return torch.autograd.functional.jacobian(lambda z: b(t, z[None])[0], y).reshape(y.numel(), y.numel())

    return torch.stack([one(y) for y in x])


@pytest.mark.parametrize("event", [(), (1,), (3,), (2, 2, 2)])
def test_it_is_the_rate_of_the_norm(event: tuple[int, ...], check: Check) -> None:
    b, x = SmoothField(event, seed=3), normal(1, 4, *event)
    J = jacobians(b, 0.4, x).detach().numpy()
    steps = torch.tensor([4e-4, 2e-4, 1e-4, 5e-5]).double()
    norms = np.stack([np.linalg.norm(np.eye(J.shape[1]) + h * J, 2, axis=(1, 2)) for h in steps.numpy()])
    rates = torch.from_numpy((norms - 1) / steps.numpy()[:, None])
    extrapolated = 2 * rates[3] - rates[2]
    found = logarithmic_norm(b, 0.4, x).detach()
    check.vanishes(found - extrapolated, 1e-6, scale=1 + found.abs())


def excess(known: Case, x: Tensor, u: Tensor, t: float, *, factor: float = 1.0) -> Tensor:
    """By how much the logarithm of a stretch exceeds the integral of `factor` times the logarithmic norm."""
    zero = torch.zeros(len(x), dtype=x.dtype)
    path = along(known.X, zero, zero + t, x, 24)
    upper = t * path.mean(logarithmic_norm(known.b, path.times, path.states))
    lower = -t * path.mean(logarithmic_norm(-known.b, path.times, path.states))
    pushed = known.X.jvp(0.0, t, x, u)
    stretch = (pushed.flatten(1).norm(dim=1) / u.flatten(1).norm(dim=1)).log()
    return torch.stack([stretch - factor * upper, lower - stretch])


@each
def test_it_bounds_how_directions_stretch(known: Case, check: Check) -> None:
    x = known.states(20, 2)
    for t in (0.2, 1.0):
        over = excess(known, x, normal(3, *x.shape), t)
        check.vanishes(over.clamp(min=0), 10 * known.tolerance)


def test_the_bound_is_attained_to_second_order_in_the_worst_direction(check: Check) -> None:
    problem = problems.linear(SHEAR)
    values, vectors = torch.linalg.eigh((SHEAR + SHEAR.mT) / 2)
    x, u = normal(4, 1, 2), vectors[:, -1][None]
    steps = torch.tensor([0.04, 0.02, 0.01]).double()
    gaps = [(values[-1] - problem.X.jvp(0.0, h, x, u).norm().log() / h).abs() for h in steps.tolist()]
    check.order(torch.stack(gaps), steps, 2.0)
    check.vanishes(logarithmic_norm(problem.b, 0.2, x) - values[-1], CLOSED_FORM)


def test_distances_shrink_where_it_is_negative() -> None:
    A = torch.tensor([[-1.0, 0.9], [-0.9, -0.3]], dtype=torch.float64)
    problem, x, y = problems.linear(A), normal(5, 50, 2), normal(6, 50, 2)
    mu = logarithmic_norm(problem.b, 0.0, x)
    assert (mu < 0).all()
    for t in (0.1, 0.5, 2.0):
        distance = (problem.X(0.0, t, x) - problem.X(0.0, t, y)).norm(dim=1)
        assert (distance <= (mu * t).exp() * (x - y).norm(dim=1) * (1 + 1e-12)).all()


def test_single_precision(check: Check) -> None:
    b, x = SmoothField((3,), seed=3), normal(7, 5, 3)
    check.vanishes(logarithmic_norm(b, 0.4, x.float()) - logarithmic_norm(b, 0.4, x), SINGLE)


def test_negative_control(check: Check) -> None:
    """The largest real part of the eigenvalues is no bound, nor is a share of the logarithmic norm."""
    problem, x = problems.linear(SHEAR), normal(8, 1, 2)
    top = torch.linalg.eigvals(SHEAR).real.max()
    worst = torch.linalg.svdvals(problem.X.jacobian(0.0, 0.5, x))[0, 0].log()
    assert worst > 0.5 * top + 0.4
    known = CASES[0]
    J = known.b.jacobian(0.0, known.states(1, 9))[0]
    u = torch.linalg.eigh((J + J.mT) / 2)[1][:, -1].expand(2, 3)
    wrong, half = (excess(known, known.states(2, 9), u, 1e-3, factor=1 - delta)[0] * 1e3 for delta in (0.1, 0.05))
    exact = excess(known, known.states(2, 9), u, 1e-3)[0] * 1e3
    check.sees(wrong - exact, half - exact, known.tolerance)
    assert (wrong > 0).all()

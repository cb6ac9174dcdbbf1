r"""The velocity of an interpolant from a Gaussian base is a gradient: its Jacobian is symmetric.

$$b_t(x)=\nabla\Big(\tfrac{\dot\beta_t}{2\beta_t}|x|^2+\big(\tfrac{\dot\beta_t}{\beta_t}\sigma_t^2-\sigma_t\dot\sigma_t
\big)\log\rho_t(x)\Big),\qquad\oint_{\partial D}b\cdot d\ell=\int_D\big(\partial_1b_2-\partial_2b_1\big)$$

Hypotheses: independent base $N(0,I)$ and data. The circulation of a gradient vanishes around every loop; that of a
field in the plane is the integral of twice its spin (Stokes). The trace of the strain is the divergence.

Source: 2303.08797 §2 (velocity and score); Stokes' theorem.
"""

import pytest
import torch
from torch import Tensor

from flowops import Interpolant, VelocityField, interpolants, problems, residuals
from flowops.fields import spin, strain
from theory_checks.cases import CLOSED_FORM, ROUGH, SINGLE, data_problems, draw
from theory_checks.quadrature import unit
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

TIMES = torch.tensor([0.0, 0.3, 0.5, 0.9], dtype=torch.float64)


def test_velocities_are_gradients(interpolant: Interpolant, check: Check) -> None:
    for name, problem in data_problems(interpolant).items():
        x = draw(problem, TIMES, 4, seed=1)
        J, turned = residuals.jacobian_symmetry(problem.b, TIMES, x, parts=True)
        check.vanishes(J - turned, CLOSED_FORM, scale=1 + J.abs().amax(), where=name)


def circulation(b: VelocityField, radius: float, *, n: int = 64) -> Tensor:
    """Around a circle, by the trapezoidal rule, which is exact to rounding for smooth fields."""
    angle = 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n
    circle = radius * torch.stack([angle.cos(), angle.sin()], 1)
    tangent = torch.stack([-angle.sin(), angle.cos()], 1)
    return (b(0.4, circle) * tangent).sum() * radius * 2 * torch.pi / n


def flux(b: VelocityField, radius: float, *, n: int = 24) -> Tensor:
    """Twice the spin over the disc, by Gauss points in the radius and the trapezoidal rule in the angle."""
    points, weights = unit(n)
    r = radius * points
    angle = 2 * torch.pi * torch.arange(64, dtype=torch.float64) / 64
    x = torch.stack([r[:, None] * angle.cos(), r[:, None] * angle.sin()], -1).reshape(-1, 2)
    twice = 2 * spin(b, 0.4, x)[:, 1, 0].reshape(n, 64)
    return (twice.mean(1) * 2 * torch.pi * r * weights * radius).sum()


@pytest.mark.parametrize("radius", [0.5, 1.3])
def test_circulation_is_twice_the_spin_inside(radius: float, check: Check) -> None:
    turning = problems.rotation(2.0).b
    check.vanishes(circulation(turning, radius) - 4 * torch.pi * radius**2, CLOSED_FORM)
    b = SmoothField((2,), seed=2)
    check.vanishes((circulation(b, radius) - flux(b, radius)).detach(), CLOSED_FORM)


def test_gradients_have_no_circulation(interpolant: Interpolant, check: Check) -> None:
    for name in ("gaussian", "mixture"):
        b = data_problems(interpolant)[name].b
        check.vanishes(circulation(b, 1.3), CLOSED_FORM, where=name)


@pytest.mark.parametrize("event", [(), (1,), (3,), (2, 2, 2)])
def test_strain_and_spin_are_the_two_parts(event: tuple[int, ...], check: Check) -> None:
    b, x = SmoothField(event, seed=3), normal(1, 3, *event)
    S, W, size = strain(b, 0.4, x), spin(b, 0.4, x), x[0].numel()
    check.vanishes(S + W - b.jacobian(0.4, x), CLOSED_FORM)
    matrix, turn = S.reshape(3, size, size), W.reshape(3, size, size)
    check.vanishes(matrix - matrix.mT, CLOSED_FORM)
    check.vanishes(turn + turn.mT, CLOSED_FORM)
    check.vanishes(matrix.diagonal(dim1=1, dim2=2).sum(1) - b.divergence(0.4, x), CLOSED_FORM)
    check.vanishes(residuals.jacobian_symmetry(b, 0.4, x) - 2 * turn, CLOSED_FORM)


def test_single_precision(check: Check) -> None:
    b = data_problems(interpolants.trigonometric())["mixture"].b
    J, turned = residuals.jacobian_symmetry(b, 0.4, normal(2, 4, 2).float(), parts=True)
    check.vanishes(J - turned, SINGLE, scale=1 + J.abs().max())


def test_negative_control(check: Check) -> None:
    turning, x = problems.rotation(2.0).b, normal(3, 4, 2)
    for name, problem in data_problems(interpolants.trigonometric()).items():
        if name not in ROUGH:
            fields = [problem.b + delta * turning for delta in (1e-3, 5e-4)]
            wrong, half = (residuals.jacobian_symmetry(b, 0.4, x) for b in fields)
            check.sees(wrong, half, CLOSED_FORM)
            wrong, half = (circulation(b, 1.3) for b in fields)
            check.sees(wrong, half, CLOSED_FORM)

r"""A periodic field is its mean, a gradient and a field without divergence, orthogonal to each other.

$$b=\bar b+\nabla\phi+w,\qquad\nabla\!\cdot w=0,\qquad\int\nabla\phi\cdot w=0$$

Hypotheses: $b$ periodic and smooth; exact for trigonometric polynomials, geometrically convergent for analytic fields.
The parts are known: potentials and stream functions are differentiated by reverse mode.

Source: Helmholtz 1858; Chorin, Marsden, A Mathematical Introduction to Fluid Mechanics, §1.3.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowops import VelocityField
from flowops.fields import Helmholtz, helmholtz
from theory_checks.cases import CLOSED_FORM, SINGLE
from theory_checks.verdicts import Check

LENGTHS = (2.0, 3.0, 1.5)
MEAN = torch.tensor([0.7, -0.2, 0.4], dtype=torch.float64)


def phase(x: Tensor, *waves: int) -> Tensor:
    """The angle of a plane wave of the box."""
    return sum((2 * torch.pi * n * x[:, i] / LENGTHS[i] for i, n in enumerate(waves)), torch.zeros_like(x[:, 0]))


def potential(x: Tensor) -> Tensor:
    r"""$\phi$, of up to three waves a side."""
    return torch.sin(phase(x, 1, 2)) + 0.5 * torch.cos(phase(x, 3, 0) + 0.3)


def rough(x: Tensor) -> Tensor:
    r"""An analytic $\phi$ with all waves."""
    return 1 / (2 + torch.sin(phase(x, 1, 0)) * torch.cos(phase(x, 0, 1)))


def stream(x: Tensor) -> Tensor:
    """A stream function."""
    return torch.cos(phase(x, 2, -1)) + 0.3 * torch.sin(phase(x, 0, 3))


def slope(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient, by reverse mode."""
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        return torch.autograd.grad(f(y).sum(), y)[0]


def swirl(x: Tensor) -> Tensor:
    r"""$(\partial_2\psi,-\partial_1\psi)$, and in space a third component that depends on the other two."""
    d = slope(stream, x)
    w = torch.stack([d[:, 1], -d[:, 0]], 1)
    return w if x.shape[1] == 2 else torch.cat([w, stream(x)[:, None]], 1)


def made(d: int, f: Callable[[Tensor], Tensor] = potential, swirling: float = 1.0) -> VelocityField:
    """A field of known parts."""
    mean = MEAN[:d]
    return VelocityField.from_function(lambda _, x: mean.to(x) + slope(f, x) + swirling * swirl(x))


def error(parts: Helmholtz, f: Callable[[Tensor], Tensor]) -> Tensor:
    """Of both parts."""
    return torch.stack([parts.gradient - slope(f, parts.points), parts.solenoidal - swirl(parts.points)])


@pytest.mark.parametrize("d", [2, 3])
def test_the_parts_are_found(d: int, check: Check) -> None:
    parts = helmholtz(made(d), 0.3, LENGTHS[:d], nodes=9)
    check.vanishes(error(parts, potential), CLOSED_FORM)
    check.vanishes(parts.mean - MEAN[:d], CLOSED_FORM)
    check.vanishes((parts.gradient * parts.solenoidal).sum(1).mean(), CLOSED_FORM)


def test_on_a_line_everything_but_the_mean_is_a_gradient(check: Check) -> None:
    b = VelocityField.from_function(lambda _, x: 0.3 + torch.sin(torch.pi * x))
    parts = helmholtz(b, 0.0, [2.0], nodes=5)
    check.vanishes(parts.solenoidal, CLOSED_FORM)
    check.vanishes(parts.gradient - torch.sin(torch.pi * parts.points), CLOSED_FORM)


def test_analytic_fields_converge_geometrically(check: Check) -> None:
    worst = torch.stack(
        [error(helmholtz(made(2, rough), 0.0, LENGTHS[:2], nodes=n), rough).abs().max() for n in (17, 33, 65)]
    )
    assert worst[1] < 0.02 * worst[0]
    check.vanishes(worst[2], 1e-6)


def test_single_precision(check: Check) -> None:
    parts = helmholtz(made(2), 0.3, LENGTHS[:2], nodes=9, dtype=torch.float32)
    check.vanishes(error(parts, potential), SINGLE, scale=10)


def test_negative_control(check: Check) -> None:
    r"""A gradient with a swirl of size $\delta$."""
    wrong, half = (helmholtz(made(2, swirling=delta), 0.3, LENGTHS[:2], nodes=9).solenoidal for delta in (1e-3, 5e-4))
    check.sees(wrong, half, CLOSED_FORM)

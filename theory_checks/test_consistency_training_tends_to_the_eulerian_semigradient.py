r"""Consistency training tends to the Eulerian semigradient: grad(ct)/step -> -2 E[(dX/ds + grad X dI/ds) grad X].

With $u=s+\Delta$ and the same $x_0,x_1$, $X_{s,1}(I_s)-X_{u,1}(I_u)=-\Delta\,R_s+O(\Delta^2)$ for
$R_s=\partial_sX_{s,1}(I_s)+\nabla X_{s,1}(I_s)\,\dot I_s$, so that the gradient of `ct` over $\Delta$ tends at first
order to $-2\,\mathbb E[R_s\cdot\nabla_\theta X_{s,1}(I_s)]$. With $\Delta=\varepsilon(1-s)$ it is that of `scm` weighed
by $(1-s)^2$; `cd` does the same along its teacher.

Source: 2505.18825 (35), (40)-(42).
"""

import pytest
import torch

from flowops import Interpolant, residuals
from flowops.methods import get_method
from flowops.methods.point import ConditionalVelocity
from flowops.methods.weights import TimePower
from flowops.times import EndpointFixed, Step, Uniform
from theory_checks.gradients import STARTS, Fixed, agree, batch, differ, gradient, random_map, semigradient, tends
from theory_checks.strategies import SmoothField
from theory_checks.verdicts import Check

STEPS = [1e-2, 5e-3, 2.5e-3]
ONES = tuple(1.0 for _ in STARTS)


def later(step: float) -> Fixed:
    r"""Rungs $(s, s+\Delta)$."""
    return Fixed(STARTS, tuple(s + step for s in STARTS))


def scale(I: Interpolant) -> float:
    """How much faster than the linear one the schedule moves at most, on the times used."""
    t = torch.linspace(0.05, 0.8, 64, dtype=torch.float64)
    return max(1.0, float(torch.stack([I.alpha_dot(t), I.beta_dot(t)]).abs().max()))


@pytest.mark.two_terms
def test_the_residual_times_the_gradient_is_the_limit(interpolant: Interpolant, check: Check) -> None:
    X, samples = random_map(), batch()
    s, one = torch.tensor(STARTS, dtype=torch.float64), torch.ones(len(STARTS), dtype=torch.float64)
    x, b = interpolant(s, *samples), ConditionalVelocity(interpolant, *samples, None)
    limit = semigradient(X, -residuals.eulerian(X, b, s, one, x), s, one, x)
    steps = [h / scale(interpolant) for h in STEPS]
    tends(check, lambda h: gradient(get_method("ct", law=later(h)), X, interpolant, samples) / h, limit, steps)
    length = get_method("scm", law=Fixed(STARTS, ONES), weight=TimePower(1))
    agree(check, gradient(length, X, interpolant, samples), limit)


@pytest.mark.parametrize("name", ["ct", "cd"])
def test_continuous_time_is_the_limit(interpolant: Interpolant, check: Check, name: str) -> None:
    X, samples, b = random_map(1), batch(1), SmoothField((2,), 5)
    teacher = b if name == "cd" else None
    s = Uniform(0.05, 0.75)  # away from the end where schedules are steep
    limit = gradient(
        get_method("scm", law=EndpointFixed(s), weight=TimePower(2)), X, interpolant, samples, teacher=teacher
    )

    def at(h: float) -> torch.Tensor:
        return gradient(get_method(name, law=Step(s, h)), X, interpolant, samples, teacher=teacher) / h

    tends(check, at, limit, [h / scale(interpolant) for h in STEPS])


def test_negative_control(interpolant: Interpolant) -> None:
    X, samples = random_map(2), batch(2)
    s, h = Uniform(0.05, 0.75), STEPS[-1] / scale(interpolant)
    ct = gradient(get_method("ct", law=Step(s, h)), X, interpolant, samples) / h
    for wrong in (
        get_method("scm", law=EndpointFixed(s)),
        get_method("scm", law=EndpointFixed(s), weight=TimePower(1)),
        get_method("scm", law=EndpointFixed(s), weight=TimePower(2), stop_gradient=False),
    ):
        differ(ct, gradient(wrong, X, interpolant, samples))

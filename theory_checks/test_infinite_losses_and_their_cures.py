r"""An infinite flow-matching loss becomes finite under a weight by the speed, whose minimizer is still b.

With $c_t^2=\dot\alpha_t^2+\dot\beta_t^2+\dot\gamma_t^2$ and a law of times of density $\rho$,

$$\int\rho_t\,w_t\,\mathbb E|v_t(I_t)-\dot I_t|^2dt=\int\rho_tw_t\,\mathbb E|v_t-b_t|^2dt
  +\int\rho_tw_t\,\mathbb E|\dot I_t-b_t|^2dt,\qquad w_t=(c_t^2+c_0^2)^{-p/2}.$$

* $p=0$: infinite where $\int c_t^2dt$ is, at the rate that `divergences` says.
* Where $c_t\sim(1-t)^{-1/2}$ and $\rho_t\sim c_t^a$, the mean is finite iff $p>a$, the variance iff $p>1+a/2$.
* With $p=2$ a sample's loss at $v=0$ is at most $|x_0|^2+|x_1|^2+|z|^2$.
* With $p=2$, $c_0=0$ and $\alpha^2+\beta^2=1$ it is the loss of the trigonometric interpolant, sample by sample.
* Times up to $1-\delta$ leave $b$ the minimizer there and say nothing beyond; stopping there misses the data by
  $W_2\le(d\,\alpha_{1-\delta}^2+(1-\beta_{1-\delta})^2\mathbb E|x_1|^2)^{1/2}$, which single data points attain.

Hypotheses: independent normal $x_0$ and $z$, data with a finite second moment, for the rate a density; $w>0$, so that
the first integral vanishes for $v=b$ alone. Expectations are Gauss-Hermite quadratures of the row's losses, the speed
is differenced, the density of the angle is differentiated from its definition.

Source: Lipman et al. 2210.02747; Nichol, Dhariwal 2102.09672 and Song et al. 2011.13456 for the schedules.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import Interpolant, LearnedMap, VelocityField, interpolants, problems, reschedule
from flowops.interpolants import Divergence, divergences
from flowops.methods import InverseSpeed, get_method
from flowops.times import Diagonal, Uniform
from theory_checks.cases import CLOSED_FORM, SINGLE
from theory_checks.method_families import AsNetwork
from theory_checks.method_settings import MEAN, VARIANCE
from theory_checks.quadrature import standard_normal, unit
from theory_checks.verdicts import Check

INFINITE = {
    "cosine": interpolants.cosine(),
    "variance_preserving": interpolants.variance_preserving(),
    "roots": Interpolant.from_expressions("sqrt(1-t)", "sqrt(t)"),
    "latent": Interpolant.from_expressions("1-t", "t", "sqrt(2*t*(1-t))"),
    "powers": Interpolant.from_expressions("(1-t)**0.4", "t"),
}
STEEP = {name: INFINITE[name] for name in ("cosine", "variance_preserving")}


def exact(I: Interpolant) -> VelocityField:
    """The field of a scalar Gaussian pair."""
    return problems.gaussian([MEAN], VARIANCE, I).b


def nodes(I: Interpolant, order: int = 8) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Points $(x_0,x_1,z)$ and weights of a Gauss-Hermite rule, exact for polynomials of degree 15."""
    y, weights = standard_normal(order, 2 + I.has_latent)
    return y[:, :1], MEAN + VARIANCE**0.5 * y[:, 1:2], y[:, 2:] if I.has_latent else None, weights


def losses(I: Interpolant, field: Any, t: Tensor, dtype: torch.dtype = torch.float64, **options: Any) -> Tensor:
    """The losses of `fm` at times `[n]` on the nodes, `[n, nodes]`."""
    x0, x1, z, weights = nodes(I)
    n, size = len(t), len(weights)
    x0, x1 = (x.repeat(n, 1).to(dtype) for x in (x0, x1))
    method, X, times = get_method("fm", **options), LearnedMap(AsNetwork(field)), t.repeat_interleave(size).to(dtype)
    draw = method.draw(X, I, x0, x1, seed=0)
    (term,) = draw.terms
    assert term is not None
    term = term._replace(s=times, t=times, z=None if z is None else z.repeat(n, 1).to(dtype))
    return method.evaluate(X, I, draw._replace(terms=(term,))).per_sample.reshape(n, size)


def expected(I: Interpolant, field: Any, t: Tensor, moment: int = 1, **options: Any) -> Tensor:
    """The mean of a power of the loss of a sample at each time."""
    return losses(I, field, t, **options) ** moment @ nodes(I)[-1]


def zero(_: Tensor, x: Tensor) -> Tensor:
    """The field that stands still."""
    return torch.zeros_like(x)


def near(end: int, decades: tuple[int, ...], points: int = 8) -> tuple[Tensor, Tensor]:
    """Times at distances from $10^{-k}$ to $10^{-k-1}$ of an end, `[decades, points]`, and weights of a rule there."""
    y, w = unit(points)
    exponents = torch.tensor(decades, dtype=torch.float64)[:, None] + y
    d = 10.0**-exponents
    return (d if end == 0 else 1 - d), d * w * math.log(10)


def by_decade(I: Interpolant, field: Any, end: int, decades: tuple[int, ...], **options: Any) -> Tensor:
    """The part of the integrated mean loss that each decade of the distance to an end brings."""
    t, weights = near(end, decades)
    return (expected(I, field, t.flatten(), **options).reshape(t.shape) * weights).sum(1)


def predicted(d: Divergence, decade: int) -> float:
    """What a decade of the distance brings by the rate of a divergence, for a unit second moment."""
    return d.rate * (10 ** (d.power * (decade + 1)) - 10 ** (d.power * decade) if d.power else math.log(10))


@pytest.mark.parametrize("name", INFINITE)
def test_the_loss_diverges_at_the_rate_that_the_linter_says(check: Check, name: str) -> None:
    I = INFINITE[name]
    found = divergences(I)
    assert found
    for d in found:
        spread = VARIANCE if d.coefficient == "beta" else 1.0
        brought = by_decade(I, exact(I), d.end, (6,))
        right, wrong, half = (brought / (spread * predicted(d, 6) * (1 + delta)) - 1 for delta in (0.0, 0.02, 0.01))
        check.vanishes(right, 1e-3)
        check.sees(wrong, half, 1e-3)


def test_a_finite_loss_brings_less_with_every_decade(interpolant: Interpolant, check: Check) -> None:
    for end in (0, 1):
        if not any(d.end == end for d in divergences(interpolant)):
            brought = by_decade(interpolant, zero, end, (4, 5, 6))
            check.vanishes(brought[1:] / brought[:-1], 0.101)


def angle_rate(I: Interpolant, t: Tensor) -> Tensor:
    """The density of the angle clock, up to a constant, by differentiation of the angle."""
    return torch.func.jvp(lambda t: torch.atan2(I.beta(t), I.alpha(t)), (t,), (torch.ones_like(t),))[1]


@pytest.mark.parametrize("name", STEEP)
@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize("a", [0, 1])
def test_mean_and_variance_are_finite_above_their_exponents(check: Check, name: str, moment: int, a: int) -> None:
    I, decades = STEEP[name], (6, 7, 8)
    t, weights = near(1, decades)
    density = angle_rate(I, t) ** a
    for p in (0.0, 1.0, 1.5, 2.0, 3.0):
        weight = InverseSpeed(p) if p else 1.0
        brought = expected(I, exact(I), t.flatten(), moment, weight=weight).reshape(t.shape) * density * weights
        exponent = 1 - (a + moment * (2 - p)) / 2  # of what a decade brings, as a power of its distance
        finite = p > a if moment == 1 else p > 1 + a / 2
        assert finite == (exponent > 0)
        check.order(brought.sum(1), torch.tensor([10.0**-k for k in decades]), exponent, slack=0.02)


def test_no_sample_exceeds_its_own_size(interpolant: Interpolant, check: Check) -> None:
    t = torch.cat(
        [torch.logspace(-12, -1, 8, dtype=torch.float64), 1 - torch.logspace(-12, -1, 8, dtype=torch.float64)]
    )
    x0, x1, z, _ = nodes(interpolant)
    size = (x0**2 + x1**2 + (0 if z is None else z**2)).flatten()
    for floor in (0.0, 1.0):
        weighted = losses(interpolant, zero, t, weight=InverseSpeed(2.0, floor))
        check.vanishes((weighted / size - 1).clamp(min=0), 1e-12)


@pytest.mark.parametrize("name", STEEP)
def test_on_the_circle_it_is_the_loss_of_the_angle_clock(check: Check, name: str) -> None:
    I, clock = STEEP[name], interpolants.trigonometric()
    wave = VelocityField.from_function(lambda t, x: torch.sin(2 * x + 3 * t[:, None]) + 0.3)
    t = torch.tensor([0.05, 0.4, 0.8, 0.99, 1 - 1e-5], dtype=torch.float64)
    angle = torch.atan2(I.beta(t), I.alpha(t)) * 2 / torch.pi
    moved = reschedule(wave, clock, I)
    wanted = losses(clock, wave, angle, weight=InverseSpeed(2.0, 0.0))
    found, wrong, half = (losses(I, moved, t, weight=InverseSpeed(2.0 + d, 0.0)) for d in (0.0, 2e-3, 1e-3))
    check.vanishes(found - wanted, 1e-7, scale=1 + wanted)
    check.sees(wrong - wanted, half - wanted, 1e-6)


CURES: dict[str, dict[str, Any]] = {
    "weight": {"weight": InverseSpeed()},
    "strong weight": {"weight": InverseSpeed(3.0, 0.5)},
    "truncation": {"law": Diagonal(Uniform(0.0, 0.999))},
}


@pytest.mark.parametrize("cure", CURES)
@pytest.mark.parametrize("name", INFINITE)
def test_the_minimizer_is_the_exact_field(check: Check, name: str, cure: str) -> None:
    I, b = INFINITE[name], exact(INFINITE[name])
    t = torch.tensor([0.01, 0.2, 0.5, 0.9, 0.999], dtype=torch.float64)

    def slope(factor: float) -> Tensor:
        """The gradient of the expected loss at `factor` times b, along three polynomials, at each time."""
        theta = torch.zeros(len(t), 3, dtype=torch.float64, requires_grad=True)
        shape = (len(t), -1, 1)

        def field(times: Tensor, x: Tensor) -> Tensor:
            along = torch.stack([torch.ones_like(x), x, x**2], -1).reshape(*shape, 3)
            return factor * b(times, x) + (along * theta[:, None, None]).sum(-1).reshape(x.shape)

        return torch.autograd.grad(expected(I, field, t, **CURES[cure]).sum(), theta)[0]

    scale = 1 + expected(I, zero, t, **CURES[cure])[:, None]
    check.vanishes(slope(1.0), CLOSED_FORM, scale=scale)
    check.sees(slope(1 + 1e-2), slope(1 + 5e-3), CLOSED_FORM)


@pytest.mark.parametrize("name", INFINITE)
def test_the_excess_is_the_weighted_distance_to_the_field(check: Check, name: str) -> None:
    I, b = INFINITE[name], exact(INFINITE[name])
    t, h = torch.tensor([0.1, 0.4, 0.7, 0.95], dtype=torch.float64), 1e-4
    gap = 0.3
    rates = [(f(t - 2 * h) - 8 * f(t - h) + 8 * f(t + h) - f(t + 2 * h)) / (12 * h) for f in (I.alpha, I.beta, I.gamma)]
    c2 = torch.stack(rates).square().sum(0)
    found = expected(I, lambda t, x: b(t, x) + gap * x, t, weight=InverseSpeed(2.0, 0.5)) - expected(
        I, b, t, weight=InverseSpeed(2.0, 0.5)
    )
    variance = I.alpha(t) ** 2 + I.gamma(t) ** 2 + I.beta(t) ** 2 * VARIANCE
    distance = gap**2 * (variance + (I.beta(t) * MEAN) ** 2)
    check.vanishes(found - distance / (c2 + 0.25), CLOSED_FORM, scale=distance)
    check.sees(found - distance / (c2 + 0.27), found - distance / (c2 + 0.26), CLOSED_FORM)


@pytest.mark.parametrize("name", STEEP)
def test_single_precision(check: Check, name: str) -> None:
    I, t = STEEP[name], torch.tensor([0.3, 0.9, 1 - 2.0**-10, 1 - 2.0**-20], dtype=torch.float64)
    double = losses(I, zero, t, weight=InverseSpeed())
    single = losses(I, zero, t, torch.float32, weight=InverseSpeed())
    check.vanishes(single - double, SINGLE, scale=1 + double)


@pytest.mark.parametrize("name", STEEP)
def test_stopping_short_misses_smooth_data_by_delta_and_points_by_its_root(check: Check, name: str) -> None:
    I, delta = STEEP[name], torch.tensor([1e-4, 1e-5, 1e-6], dtype=torch.float64)
    problem = problems.gaussian([MEAN], VARIANCE, I)
    assert problem.X is not None
    ends = problem.X(0.0, 1 - delta, torch.zeros(3, 1, dtype=torch.float64))
    widths = problem.X(0.0, 1 - delta, torch.ones(3, 1, dtype=torch.float64)) - ends  # an affine map of a normal law
    start = (
        I.alpha(torch.zeros((), dtype=torch.float64)) ** 2
        + I.beta(torch.zeros((), dtype=torch.float64)) ** 2 * VARIANCE
    )
    first = I.beta(torch.zeros((), dtype=torch.float64)) * MEAN
    means, widths = ends + widths * first, widths * start.sqrt()
    smooth = ((means - MEAN) ** 2 + (widths - VARIANCE**0.5) ** 2).sqrt().flatten()
    check.order(smooth, delta, 1.0, slack=0.05)

    def bound(second_moment: float) -> Tensor:
        alpha, beta = I.alpha(1 - delta), I.beta(1 - delta)
        return (alpha**2 + (1 - beta) ** 2 * second_moment).sqrt()

    assert (smooth <= bound(MEAN**2 + VARIANCE)).all()
    x0, _, _, weights = nodes(I)
    point = torch.full_like(x0, MEAN)
    gaps = torch.stack([((I(1 - d, x0, point) - point) ** 2).flatten() @ weights for d in delta]).sqrt()
    check.vanishes(gaps / bound(MEAN**2) - 1, CLOSED_FORM)
    check.order(gaps, delta, 0.5, slack=0.05)


def test_truncation_says_nothing_beyond() -> None:
    I, law = STEEP["cosine"], Diagonal(Uniform(0.0, 0.99))
    b = exact(I)
    x0, x1, _, _ = nodes(I)
    fields = (b, lambda t, x: torch.where(t[:, None] > 0.99, 1e3, b(t, x)))
    loss = [get_method("fm", law=law)(LearnedMap(AsNetwork(f)), I, x0, x1, seed=0).loss for f in fields]
    assert loss[0] == loss[1]

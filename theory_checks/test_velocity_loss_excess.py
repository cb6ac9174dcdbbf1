r"""Excess of flow matching: E|v(I_t) - dI_t|^2 - E Var(dI_t | I_t) = E|v(I_t) - b_t(I_t)|^2 for every v.

The cross term $\mathbb E(v-b_t)(I_t)\cdot(b_t(I_t)-\dot I_t)$ vanishes for the conditional mean, and for no other
field: with $b_t+\delta g$ in place of $b_t$ the two sides part by a term of first order in $\delta$. So the minimum of
$L_b$ is the conditional variance, not zero, and a bound by $L_b$ says something of the excess only.

Left, the loss of `fm` by quadrature over $(x_0,x_1,z)$ and the conditional variance, of a Gaussian pair from the joint
covariance, of a mixture by summing its posterior law on a grid; right, an integral over the state against a density
written down by hand.

Hypotheses: $\mathbb E|\dot I_t|^2<\infty$, at every $t$. Over $[0,1]$ both terms on the left are infinite where
$\int\dot\alpha_t^2dt$ is (`cosine`, `variance_preserving`), and the excess stays finite.

Source: 2505.18825 (3), (12), (74)-(77).
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowops import Interpolant
from flowops.methods import METHODS
from theory_checks.method_cases import aspects
from theory_checks.method_families import Family
from theory_checks.method_measurements import at
from theory_checks.method_settings import MEAN, SKEW, VARIANCE, Setting, quadrature_settings
from theory_checks.quadrature import panels
from theory_checks.verdicts import Check

SETTINGS = pytest.mark.parametrize("setting", [pytest.param(s, id=s.name) for s in quadrature_settings()])
TIMES = (0.15, 0.5, 0.85)
(FLOW_MATCHING,) = aspects(METHODS["fm"])


def modes(setting: Setting) -> tuple[tuple[float, float, float], ...]:
    """Weights, means and variances of the data."""
    return SKEW if setting.name.startswith("skew") else ((1.0, MEAN, VARIANCE),)


def normal_density(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (-((x - mean) ** 2) / (2 * variance)).exp() / (2 * math.pi * variance).sqrt()


def coefficients(I: Interpolant, t: float) -> list[Tensor]:
    """The coefficients of base, data and latent, and their derivatives."""
    time = torch.tensor([t], dtype=torch.float64)
    return [f(time) for f in (I.alpha, I.beta, I.gamma, I.alpha_dot, I.beta_dot, I.gamma_dot)]


def law(setting: Setting, t: float) -> tuple[Tensor, Tensor, Tensor]:
    r"""States, their probabilities, and $\mathrm{Var}(\dot I_t\mid I_t)$ there, from the joint law of each mode.

    Within a mode $(I_t,\dot I_t)$ is Gaussian; over modes the posterior mean and variance are those of a mixture.
    """
    a, b, c, da, db, dc = coefficients(setting.I, t)
    x, w = panels(12.0)
    weights, means, variances = [], [], []
    for share, mean, variance in modes(setting):
        own = a**2 + b**2 * variance + c**2
        both = a * da + b * db * variance + c * dc
        rate = da**2 + db**2 * variance + dc**2
        weights.append(share * normal_density(x, b * mean, own))
        means.append(db * mean + both / own * (x - b * mean))
        variances.append(rate - both**2 / own)
    density = torch.stack(weights)
    given = density / density.sum(0)
    m = torch.stack(means)
    spread = given * (torch.stack(variances) + m**2)
    return x, w * density.sum(0), spread.sum(0) - (given * m).sum(0) ** 2


def sides(setting: Setting, t: float, delta: float, wrong: float = 0.0) -> tuple[Tensor, Tensor]:
    r"""Loss less conditional variance, and the squared distance from $b_t+$ `wrong`."""
    X = Family(setting.X, 1, delta)
    loss = at(FLOW_MATCHING.of(METHODS["fm"]), setting, FLOW_MATCHING, X, t, t).detach()
    x, probability, variance = law(setting, t)
    time, states = torch.full_like(x, t), x[:, None]
    v = X.average_velocity(time, time, states)
    off = (v - setting.b(time, states) - wrong * torch.cos(states)).detach()[:, 0]
    return loss - probability @ variance, probability @ off.square()


@SETTINGS
@pytest.mark.parametrize("t", TIMES)
def test_the_excess_is_the_distance_of_the_fields(check: Check, setting: Setting, t: float) -> None:
    for delta in (0.5, 0.05, 0.0):
        excess, distance = sides(setting, t, delta)
        check.vanishes(excess - distance, setting.tolerance, scale=1 + distance, where=f"at delta = {delta}")


@SETTINGS
def test_the_minimum_is_positive(setting: Setting) -> None:
    assert sum(float(probability @ variance) for _, probability, variance in (law(setting, t) for t in TIMES)) > 0.05


def test_where_the_loss_is_infinite_the_excess_is_not(check: Check) -> None:
    setting = next(s for s in quadrature_settings() if s.name == "gaussian variance_preserving")
    ends = torch.tensor([1e-2, 1e-4, 1e-6])
    minima = torch.stack([(law(setting, 1 - float(e))[1] @ law(setting, 1 - float(e))[2]) * e for e in ends])
    assert minima.min() > 0.01, "the conditional variance grows like 1/(1-t), which has no integral"
    for end in ends.tolist():
        excess = sides(setting, 1 - end, 0.5)[1]
        check.at_most(float(excess), 10.0)


@SETTINGS
def test_negative_control(check: Check, setting: Setting) -> None:
    """Against another field the two sides part by the cross term, at first order."""
    gaps = []
    for wrong in (2e-2, 1e-2):
        excess, distance = sides(setting, 0.5, 0.5, wrong)
        gaps.append(excess - distance)
    check.sees(gaps[0], gaps[1], setting.tolerance)

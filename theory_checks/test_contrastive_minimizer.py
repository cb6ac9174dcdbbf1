r"""Contrastive flow matching is minimal at (b_t - lam E I'_t)/(1 - lam), not at b_t.

In the mean over the other sample, $|v-\dot I_t|^2-\lambda|v-\dot I'_t|^2$ has the gradient
$2(1-\lambda)v-2b_t+2\lambda\,\mathbb E\dot I_t$ at $I_t=x$. `uncontrasted` undoes it. The mean gradient along random
smooth directions is held to its standard error, by batch means: Student's t with 39 degrees of freedom exceeds 7 with
probability 2e-8.

Hypotheses: independent samples, $0\le\lambda<1$.

Source: 2506.05350.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowops import LearnedMap, VelocityField, interpolants
from flowops.methods import METHODS, get_method, uncontrasted
from theory_checks.cases import SINGLE, gaussian, gaussian_parameters
from theory_checks.method_families import AsNetwork, Family
from theory_checks.method_measurements import by_theta
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

LAMBDA, BATCHES, SIZE, STANDARD_ERRORS = 0.5, 40, 8000, 7.0
MEAN = gaussian_parameters()[0]


def contrasted(I: interpolants.Interpolant, lam: float) -> VelocityField:
    """The minimizer, from the exact field of the problem."""
    b = gaussian(I).b

    def field(t: Tensor, x: Tensor) -> Tensor:
        mean = I.beta_dot(t)[:, None] * MEAN.to(x.dtype)  # the base has mean zero
        return (b(t, x) - lam * mean) / (1 - lam)

    return VelocityField.from_function(field)


def deviation(I: interpolants.Interpolant, b: VelocityField, generator: torch.Generator, name: str) -> float:
    """The largest mean gradient in standard errors, at a map that implies the field `b`."""
    problem = gaussian(I)
    method = get_method(name, lam=LAMBDA) if name == "contrastive-fm" else METHODS[name]
    X = Family(LearnedMap(AsNetwork(b)), 2)
    gradients = []
    for _ in range(BATCHES):
        x0, x1 = (f(SIZE, generator=generator, dtype=torch.float64) for f in (problem.sample_base, problem.sample_data))
        gradients.append(by_theta(method(X, I, x0, x1, generator=generator).loss, X))
    g = torch.stack(gradients)
    return float((g.mean(0) / g.std(0)).abs().max()) * math.sqrt(BATCHES)


@pytest.mark.parametrize("name", ["linear", "trigonometric", "encoding_decoding"])
def test_the_gradient_vanishes_there_and_not_at_the_field(check: Check, generator: torch.Generator, name: str) -> None:
    I = interpolants.NAMED[name]()
    check.at_most(deviation(I, contrasted(I, LAMBDA), generator, "contrastive-fm"), STANDARD_ERRORS)
    assert deviation(I, gaussian(I).b, generator, "contrastive-fm") > 2 * STANDARD_ERRORS


def test_negative_control(generator: torch.Generator) -> None:
    I = interpolants.linear()
    assert deviation(I, contrasted(I, LAMBDA), generator, "fm") > 2 * STANDARD_ERRORS
    assert deviation(I, contrasted(I, LAMBDA / 2), generator, "contrastive-fm") > 2 * STANDARD_ERRORS


@pytest.mark.parametrize("lam", [0.0, 0.05, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uncontrasted_gives_the_field_back(
    check: Check, interpolant: interpolants.Interpolant, lam: float, dtype: torch.dtype
) -> None:
    x, t = normal(1, 5, 2).to(dtype), torch.linspace(0.1, 0.9, 5, dtype=dtype)
    back = uncontrasted(contrasted(interpolant, lam), interpolant, torch.zeros_like(MEAN), MEAN, lam)(t, x)
    exact = gaussian(interpolant).b(t, x)
    assert back.dtype == dtype
    check.vanishes(back - exact, 1e-12 if dtype == torch.float64 else SINGLE, scale=1 + exact.abs().max())

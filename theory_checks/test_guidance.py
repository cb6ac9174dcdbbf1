r"""Guidance: w = 0, w = 1, and the shifted mean of Gaussians.

$$b^w_t(x)=b_t(x;\varnothing)+w\,(b_t(x;c)-b_t(x;\varnothing))$$

For Gaussian fields of equal covariance and means $m_c,m_\varnothing$, $b^w$ is the field of the Gaussian of mean
$m_\varnothing+w(m_c-m_\varnothing)$, and so is its flow map.

Source: 2505.18825 F.5 (98); 2311.13443.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowops import Interpolant, VelocityField, guided, problems
from theory_checks.cases import CLOSED_FORM, SINGLE, SOLVED, draw, exact_map, gaussian_parameters, mixture
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

MEANS = torch.tensor([[1.0, -0.5], [-1.0, 0.25]], dtype=torch.float64)


def pair(I: Interpolant) -> tuple[VelocityField, VelocityField]:
    """A conditional and an unconditional Gaussian field of one covariance."""
    cond, uncond = (problems.gaussian(mean, gaussian_parameters()[1], I).b for mean in MEANS)
    return cond, uncond


@given(t=st.floats(0, 1), seed=st.integers(0, 99))
def test_zero_and_one(interpolant: Interpolant, check: Check, t: float, seed: int) -> None:
    cond, uncond = pair(interpolant)[0], mixture(interpolant).b
    x = normal(seed, 3, 2)
    for scale, truth in ((0.0, uncond(t, x)), (1.0, cond(t, x))):
        check.vanishes(guided(cond, uncond, scale)(t, x) - truth, CLOSED_FORM, scale=1 + truth.abs().max())
    each = guided(cond, uncond, torch.tensor([0.0, 1.0, 0.0], dtype=x.dtype))(t, x)
    check.vanishes(each[1] - cond(t, x)[1], CLOSED_FORM, scale=1 + each.abs().max())


@given(t=st.floats(0, 1), w=st.floats(-1, 4), seed=st.integers(0, 99))
def test_gaussian_closed_form(interpolant: Interpolant, check: Check, t: float, w: float, seed: int) -> None:
    target = problems.gaussian(MEANS[1] + w * (MEANS[0] - MEANS[1]), gaussian_parameters()[1], interpolant)
    x = normal(seed, 3, 2)
    truth = target.b(t, x)
    check.vanishes(guided(*pair(interpolant), w)(t, x) - truth, CLOSED_FORM, scale=1 + truth.abs().max())


@pytest.mark.parametrize("w", [0.5, 2.0])
def test_gaussian_flow_map(interpolant: Interpolant, check: Check, w: float) -> None:
    target = problems.gaussian(MEANS[1] + w * (MEANS[0] - MEANS[1]), gaussian_parameters()[1], interpolant)
    x = draw(target, 0.1, 3, seed=0)
    truth = exact_map(target)(0.1, 0.9, x)
    check.vanishes(guided(*pair(interpolant), w).flow_map()(0.1, 0.9, x) - truth, SOLVED, scale=1 + truth.abs())


def test_single_precision(interpolant: Interpolant, check: Check) -> None:
    b, x = guided(*pair(interpolant), 1.5), normal(1, 3, 2)
    check.vanishes(b(0.5, x.float()) - b(0.5, x), SINGLE, scale=1 + b(0.5, x).abs().max())


def test_negative_control(interpolant: Interpolant, check: Check) -> None:
    cond, uncond = pair(interpolant)
    x = normal(2, 3, 2)
    wrong, half = (guided(cond, uncond, 1 + delta)(0.6, x) - cond(0.6, x) for delta in (1e-3, 5e-4))
    check.sees(wrong, half, CLOSED_FORM)

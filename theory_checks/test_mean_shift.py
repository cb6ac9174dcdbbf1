r"""Empirical measure: the denoiser of its exact field is a mean-shift step.

$$D_t(x)=\frac{\sum_iK_h(y-x_i)\,x_i}{\sum_iK_h(y-x_i)}=y+h^2\,\nabla\log\hat p_h(y),\qquad y=x/\beta_t,\
h=\alpha_t/\beta_t$$

Hypotheses: two-term interpolant, standard normal base, $\hat p_h$ the Gaussian kernel density estimate of the data. The
gradient is automatic differentiation of $\log\hat p_h$, not the field's own softmax.

Source: 2305.19947; Fukunaga, Hostetler 1975.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flowops import Interpolant, problems
from theory_checks.cases import CLOSED_FORM, SINGLE, draw
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

pytestmark = pytest.mark.two_terms

DATA = normal(21, 9, 3)


def mean_shift(y: Tensor, h: Tensor) -> Tensor:
    """One mean-shift step of bandwidth `h` by the gradient of the kernel density estimate."""
    y = y.detach().requires_grad_()
    log_density = torch.logsumexp(-((y[:, None] - DATA) ** 2).sum(2) / (2 * h**2), 1)
    return (y + h**2 * torch.autograd.grad(log_density.sum(), y)[0]).detach()


def denoiser(I: Interpolant, t: float, x: Tensor, factor: float = 1.0) -> Tensor:
    """The denoiser that the exact field implies."""
    return I.convert(t, x, factor * problems.empirical(DATA, I).b(t, x), "velocity", "denoiser")


@given(t=st.floats(0.1, 0.9), seed=st.integers(0, 99))
def test_denoiser_is_a_mean_shift_step(interpolant: Interpolant, check: Check, t: float, seed: int) -> None:
    x = draw(problems.empirical(DATA, interpolant), t, 4, seed=seed)
    time = torch.tensor(t, dtype=torch.float64)
    alpha, beta = interpolant.alpha(time), interpolant.beta(time)
    step = mean_shift(x / beta, alpha / beta)
    conditioning = 1 + (x / beta).abs().max() * (1 + (alpha / beta) ** 2)
    check.vanishes(denoiser(interpolant, t, x) - step, CLOSED_FORM, scale=conditioning)


def test_single_precision(interpolant: Interpolant, check: Check) -> None:
    x = draw(problems.empirical(DATA, interpolant), 0.6, 4, seed=0)
    check.vanishes(
        denoiser(interpolant, 0.6, x.float()) - denoiser(interpolant, 0.6, x), SINGLE, scale=1 + x.abs().max()
    )


def test_negative_control(interpolant: Interpolant, check: Check) -> None:
    x = draw(problems.empirical(DATA, interpolant), 0.6, 4, seed=1)
    exact = denoiser(interpolant, 0.6, x)
    wrong, half = (denoiser(interpolant, 0.6, x, 1 + delta) - exact for delta in (1e-3, 5e-4))
    check.sees(wrong, half, CLOSED_FORM)

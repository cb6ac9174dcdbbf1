r"""The noise level $\sigma_t=\alpha_t/\beta_t$ of an interpolant as a clock.

Diffusion papers place their times by the noise level; an interpolant maps them to the clock in which the base is at 0
and the data at 1. The root finder here also serves the change of clock between two interpolants.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowops.interpolants.interpolant import Interpolant, check_interpolant

_BISECTIONS = 10
_NEWTON_STEPS = 6
_LOGIT_RANGE = 40.0  # 1 / (1 + exp(-40)) is 1 in float64


def noise_level(I: Interpolant, t: Tensor) -> Tensor:
    r"""$\sigma_t=\alpha_t/\beta_t$, the shape and dtype of `t`; infinite where $\beta_t=0$.

    The noise level of diffusion models, $x_1+\sigma x_0$, after division by $\beta_t$. It falls from noise to data.

    Raises:
        TypeError: if `I` is no interpolant.
        ValueError: if `I` has a gamma term.

    Source: Karras et al. 2206.00364 ($\sigma$); Kingma et al. 2107.00630 ($\sigma^{-2}$ is the signal-to-noise ratio).
    """
    _check(I)
    return I.alpha(t) / I.beta(t)


@torch.no_grad()
def time_of_noise_level(I: Interpolant, sigma: Tensor) -> Tensor:
    r"""The time $t$ with $\alpha_t/\beta_t=\sigma$, the shape and dtype of `sigma`; no gradient.

    Solved for $\log\sigma$ in the logit of $t$, in which the linear interpolant is a straight line, so the digits of
    $\sigma$ are kept at both ends as far as $t$ itself can hold them. A noise level outside the range of the schedule
    gives its end times: 0 for $\sigma\ge\sigma_0$, 1 for $\sigma\le\sigma_1$. NaN stays NaN.

    Raises:
        TypeError: if `I` is no interpolant, or `sigma` no floating tensor.
        ValueError: if `I` has a gamma term, or, on the CPU, its noise level does not fall from time 0 to time 1; that
            it does so everywhere in between is for `I.validate()` to say. On another device, where the host would have
            to wait for the two numbers, every time is NaN then.

    Cost: 17 evaluations of the schedule; the host does not wait for the device.
    """
    _check(I)
    if not isinstance(sigma, Tensor) or not sigma.is_floating_point():
        given = sigma.dtype if isinstance(sigma, Tensor) else type(sigma).__name__
        raise TypeError(f"`sigma` must be a floating tensor of noise levels, got {given}; use torch.as_tensor.")
    sigma = sigma.detach()  # no_grad leaves forward mode alone
    first, last = noise_level(I, torch.arange(2, dtype=sigma.dtype, device=sigma.device))
    falls = first > last
    if sigma.device.type == "cpu" and not falls:
        raise ValueError(
            f"`I` must have a noise level alpha/beta that falls from base to data, got {first.item():.4g} at time 0 "
            f"and {last.item():.4g} at time 1; run I.validate()."
        )
    inside = (sigma < first) & (sigma > last)
    t = increasing_root(lambda q: _log_signal(I, q), lambda q: _log_signal_dot(I, q), -sigma.log())
    t = torch.where(inside, t, (sigma <= last).to(sigma.dtype))
    return torch.where(falls & ~sigma.isnan(), t, torch.nan)


def increasing_root(function: Callable[[Tensor], Tensor], rate: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    r"""The $\tau\in(0,1)$ with `function`$(\tau)=$ `target`, elementwise, of an increasing function with known rate.

    Bisection in the logit of $\tau$, then Newton steps where they stay inside the bracket; infinite values and rates at
    the ends do no harm.
    """
    low = torch.full_like(target, -_LOGIT_RANGE)
    high = -low
    y = torch.zeros_like(target)
    for step in range(_BISECTIONS + _NEWTON_STEPS):
        tau = y.sigmoid()
        excess = function(tau) - target
        low, high = torch.where(excess <= 0, y, low), torch.where(excess >= 0, y, high)
        y = (low + high) / 2
        if step >= _BISECTIONS:
            previous = tau.logit()
            newton = previous - excess / (rate(tau) * tau * (1 - tau))
            nearest = newton.clamp(low, high)  # a converged step may leave the bracket by its rounding
            y = torch.where((newton - nearest).abs() <= 1e-3 * (high - low), nearest, y)
    return y.sigmoid()


def _log_signal(I: Interpolant, t: Tensor) -> Tensor:
    return I.beta(t).log() - I.alpha(t).log()


def _log_signal_dot(I: Interpolant, t: Tensor) -> Tensor:
    return I.beta_dot(t) / I.beta(t) - I.alpha_dot(t) / I.alpha(t)


def _check(I: Interpolant) -> None:
    check_interpolant(I)
    if I.has_latent:
        raise ValueError(
            f"`I` must have two terms, got the {I.name} interpolant with a gamma term; its noise level is not "
            f"alpha/beta alone."
        )

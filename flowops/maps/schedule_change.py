r"""The change of clock and scale between two interpolants, $\bar I_{t'}=c_{t'}\,I_{\tau(t')}$."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowops._types import Times
from flowops.interpolants import Interpolant
from flowops.interpolants.noise_level import increasing_root
from flowops.interpolants.validation import in_float64


class ScheduleChange(nn.Module):
    r"""$\tau(t')$ and $c_{t'}$ with $\bar\alpha_{t'}=c\,\alpha_\tau$, $\bar\beta_{t'}=c\,\beta_\tau$, and their rates.

    $\tau$ solves $\theta(\tau)=\bar\theta(t')$ for the angle $\theta=\mathrm{atan2}(\beta,\alpha)$, which unlike
    $\beta/\alpha$ is finite at both ends;
    $c=\mathrm{hypot}(\bar\alpha,\bar\beta)/\mathrm{hypot}(\alpha,\beta)\circ\tau$. Gradients pass through the root.
    Source: theory of Kingma et al. 2107.00630 §5; Karras et al. 2206.00364.

    Raises:
        TypeError: if either is no interpolant.
        ValueError: if either has a gamma term, the old angle does not increase, or the new signal-to-noise range does
            not lie inside the old one.
    """

    def __init__(self, old: Interpolant, new: Interpolant) -> None:
        super().__init__()
        for name, interpolant in (("old", old), ("new", new)):
            if not isinstance(interpolant, Interpolant):
                raise TypeError(f"`{name}` must be an Interpolant, got {type(interpolant).__name__}; build one first.")
            if interpolant.has_latent:
                raise ValueError(
                    f"`{name}` must have two terms, got one with a gamma term; a schedule change is defined for "
                    f"alpha and beta alone."
                )
        _check_ranges(old, new)
        self.old, self.new = old, new
        self._steep = not bool(in_float64(old).alpha_dot(torch.ones((), dtype=torch.float64)).isfinite())

    def tau(self, t: Times) -> Times:
        r"""$\tau(t')$: bisection and Newton on the detached root, then two differentiable Newton steps."""
        target = angle(self.new, t)
        root = increasing_root(lambda q: angle(self.old, q), lambda q: angle_dot(self.old, q), target.detach())
        rate = angle_dot(self.old, root)
        regular = rate.isfinite() & (rate > 0)
        inner = torch.where(regular, root, 0.5)
        for _ in range(2):
            inner = inner - (angle(self.old, inner) - target) / angle_dot(self.old, inner)
        return torch.where(regular, inner, root)

    def tau_dot(self, t: Times, tau: Times) -> Times:
        r"""$\dot\tau=\dot{\bar\theta}(t')/\dot\theta(\tau)$.

        Where the old $\alpha$ vanishes like a square root, $\dot\alpha_\tau$ would magnify the rounding of $\tau$
        without bound: $\alpha\dot\alpha$ at $\tau$ over the matched $\alpha_\tau=\bar\alpha_{t'}/c$ does not.
        """
        if not self._steep:
            return angle_dot(self.new, t) / angle_dot(self.old, tau)
        c = self.scale(t, tau)
        alpha, beta = self.new.alpha(t) / c, self.new.beta(t) / c
        slope = alpha * self.old.beta_dot(tau) - beta * self.old.alpha_alpha_dot(tau) / alpha
        return angle_dot(self.new, t) * (alpha**2 + beta**2) / slope

    def scale(self, t: Times, tau: Times) -> Times:
        """$c_{t'}$."""
        return radius(self.new, t) / radius(self.old, tau)

    def scale_rate(self, t: Times, tau: Times) -> Times:
        r"""$\dot c/c$."""
        return radius_rate(self.new, t) - self.tau_dot(t, tau) * radius_rate(self.old, tau)

    def regular(self, t: Times) -> Times:
        r"""`t`, moved inward by $\epsilon^{2/3}$ at an end where $\dot\tau$ is infinite, so that limits are finite.

        There $\dot c\,x/c$ and $c\dot\tau b$ both diverge while their sum has a limit, which is so met to about
        $\epsilon^{2/3}$.
        """
        step = torch.finfo(t.dtype).eps ** (2 / 3)
        rate = self.tau_dot(t, self.tau(t)).detach()
        return torch.where(rate.isfinite(), t, torch.where(t < 0.5, t + step, t - step))


def angle(I: Interpolant, t: Tensor) -> Tensor:
    r"""$\theta_t=\mathrm{atan2}(\beta_t,\alpha_t)$, increasing from noise to data."""
    return torch.atan2(I.beta(t), I.alpha(t))


def angle_dot(I: Interpolant, t: Tensor) -> Tensor:
    r"""$\dot\theta_t=(\alpha\dot\beta-\beta\dot\alpha)/(\alpha^2+\beta^2)$."""
    alpha, beta = I.alpha(t), I.beta(t)
    return (alpha * I.beta_dot(t) - beta * I.alpha_dot(t)) / (alpha**2 + beta**2)


def radius(I: Interpolant, t: Tensor) -> Tensor:
    r"""$\mathrm{hypot}(\alpha_t,\beta_t)$."""
    return torch.hypot(I.alpha(t), I.beta(t))


def radius_rate(I: Interpolant, t: Tensor) -> Tensor:
    r"""$\tfrac{d}{dt}\log\mathrm{hypot}(\alpha_t,\beta_t)$."""
    return (I.alpha_alpha_dot(t) + I.beta_beta_dot(t)) / (I.alpha(t) ** 2 + I.beta(t) ** 2)


def _check_ranges(old: Interpolant, new: Interpolant) -> None:
    old, new = in_float64(old), in_float64(new)
    t = torch.linspace(0, 1, 257, dtype=torch.float64)
    angles = angle(old, t).detach()
    rising = angles.diff() > 0
    if not rising.all():
        where = t[int((~rising).int().argmax())].item()
        raise ValueError(
            f"`old` must have an increasing signal-to-noise ratio, it does not increase at t = {where:.4g}; run "
            f"old.validate()."
        )
    ends = angle(new, t[[0, -1]]).detach()
    if ends[0] < angles[0] - 1e-9 or ends[1] > angles[-1] + 1e-9:
        ratios = [f"{math.tan(a):.4g}" for a in (*ends.tolist(), angles[0].item(), angles[-1].item())]
        raise ValueError(
            f"`new` must have its signal-to-noise ratios beta/alpha inside those of `old`, got [{ratios[0]}, "
            f"{ratios[1]}] outside [{ratios[2]}, {ratios[3]}]; take an old schedule that reaches further."
        )

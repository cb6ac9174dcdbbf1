r"""Fields of interpolants whose data law is known: $x=\beta_tx_1+\sigma_t\varepsilon$ with one Gaussian noise.

With a standard normal base, $\alpha_tx_0+\gamma_tz$ is one Gaussian of variance $\sigma_t^2=\alpha_t^2+\gamma_t^2$, and
$\mathbb E[\dot\alpha_tx_0+\dot\gamma_tz\mid\sigma_t\varepsilon]=\dot\sigma_t\varepsilon$, so that for every schedule

$$b_t(x)=\dot\sigma_t\,\mathbb E[\varepsilon\mid x]+\dot\beta_t\,\mathbb E[x_1\mid x],\qquad
\nabla\log\rho_t(x)=-\mathbb E[\varepsilon\mid x]/\sigma_t.$$

A problem supplies the two conditional means. The laws depend on time through the angle
$\theta_t=\mathrm{atan2}(\beta_t,\sigma_t)$ and the scale $c_t=\mathrm{hypot}(\beta_t,\sigma_t)$ alone, so the flows
of all schedules are one: $X_{s,t}(x)=c_t\,Y_{\theta_s,\theta_t}(x/c_s)$ with the flow $Y$ of $\cos\theta,\sin\theta$.

The layout in here is `[..., batch]`: sums over coordinates and components then run over leading axes, where they are
several times faster, and times `[batch]` need no reshaping.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cache
from typing import NamedTuple, Self

import torch
from torch import Tensor

from flowops._derivatives import is_concrete
from flowops._types import PerSample, State, TimeLike, Times
from flowops.fields import Clock, VelocityField
from flowops.interpolants import Interpolant, trigonometric
from flowops.interpolants.validation import in_float64
from flowops.problems._checks import check_event


class Posterior(NamedTuple):
    r"""What is known of $(\varepsilon,x_1)$ given $x$: conditional means `[d, batch]` and $\log\rho_t(x)$ `[batch]`."""

    noise: Tensor
    data: Tensor
    log_density: Tensor


class MarginalField(VelocityField):
    r"""$b_t(x)=\mathbb E[\dot I_t\mid I_t=x]$ for a data law with known conditional means; see the module's text.

    Where only $\dot\sigma_t$ is infinite, $\sigma_t\dot\sigma_t$ takes its place, and the field of a smooth law is its
    limit at both ends. Where $\sigma_t$ itself vanishes, quotients by it take the precision $\epsilon$ of the time for
    it: of a law without a density, field, score and density have no limit there, and what is returned is finite without
    being one (that of noise of size $\epsilon$; `EmpiricalField` says what its field is at $t=1$).

    Source: Albergo, Boffi, Vanden-Eijnden 2303.08797 §2.
    """

    def __init__(self, interpolant: Interpolant, event: torch.Size) -> None:
        super().__init__()
        self.interpolant = interpolant
        self.event = event
        self._rising = _rises(interpolant)
        ends = torch.arange(2, dtype=torch.float64)
        self._singular = not bool(in_float64(interpolant).beta_dot(ends).isfinite().all())

    @abstractmethod
    def _posterior(self, beta: Tensor, sigma: Tensor, y: Tensor) -> Posterior:
        r"""Conditional means for $\beta_t,\sigma_t$ of shape `[batch]` and states `y` of shape `[d, batch]`."""

    def clock(self) -> Clock | None:
        r"""$\tau=2\theta/\pi$ and $c$ of the module's text, where $\theta$ does not fall; none for its own field.

        A solve then takes the steps of the trigonometric schedule for every schedule: also where $\dot\sigma_t$ is
        infinite at an end, as for `cosine` and `variance_preserving`, and a law of points makes $b_t$ infinite with it.
        """
        if not self._rising or self.interpolant is _angle():
            return None
        return Clock(self._moved_to(_angle()), self._place, self._singular)

    def _moved_to(self, interpolant: Interpolant) -> Self:
        """The field of the same data under another schedule, one whose angle rises and whose rates are finite."""
        b = self._rebuild(lambda _: None)
        b.interpolant = interpolant
        return b

    def _place(self, t: Times) -> tuple[Times, Times]:
        beta, variance = self.interpolant.beta(t), noise_variance(self.interpolant, t)[0]
        sigma = variance.sqrt() if self.interpolant.has_latent else self.interpolant.alpha(t).abs()
        return torch.atan2(beta, sigma) * (2 / math.pi), torch.hypot(beta, sigma)

    def forward(self, t: Times, x: State) -> State:
        t, y = self._columns(t, x)
        return self._rows_of(self._slope(t, y)[0], x)

    def _slope(self, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""$b_t$ and $\mathbb E[x_1\mid x]$ for columns, `[d, batch]` each."""
        beta = self.interpolant.beta(t)
        sigma, sigma_dot = noise_level(self.interpolant, t)
        mean = self._posterior(beta, sigma, y)
        return sigma_dot * mean.noise + gain_rate(self.interpolant, t, beta) * mean.data, mean.data

    def score(self, t: TimeLike, x: Tensor) -> State:
        r"""$\nabla\log\rho_t(x)$. Cost: about one call of the field."""
        sigma, mean = self._known(t, x)
        return self._rows_of(-mean.noise / sigma, x).to(x.dtype)

    def denoiser(self, t: TimeLike, x: Tensor) -> State:
        r"""$\mathbb E[x_1\mid I_t=x]$. Cost: about one call of the field."""
        return self._rows_of(self._known(t, x)[1].data, x).to(x.dtype)

    def log_density(self, t: TimeLike, x: Tensor) -> PerSample:
        r"""$\log\rho_t(x)$, `[batch]`, in closed form (`log_prob` solves the augmented equation instead)."""
        return self._known(t, x)[1].log_density.to(x.dtype)

    def _known(self, t: TimeLike, x: Tensor) -> tuple[Tensor, Posterior]:
        t, y = self._columns(self._operands(t, x), x)
        sigma, _ = noise_level(self.interpolant, t)
        return sigma, self._posterior(self.interpolant.beta(t), sigma, y)

    def _columns(self, t: Times, x: State) -> tuple[Tensor, Tensor]:
        """Times `[batch]` and states `[d, batch]` in the wider of their dtypes."""
        check_event(x, self.event)
        dtype = torch.promote_types(t.dtype, x.dtype)
        return t.to(dtype), x.to(dtype).reshape(x.shape[0], self.event.numel()).mT.contiguous()

    @staticmethod
    def _rows_of(columns: Tensor, x: State) -> Tensor:
        return columns.mT.reshape(x.shape)


@cache
def _angle() -> Interpolant:
    """The schedule in whose clock the solves are done."""
    return trigonometric()


def _rises(interpolant: Interpolant) -> bool:
    """Whether the angle does not fall, so that it is a clock."""
    times = torch.linspace(0, 1, 257, dtype=torch.float64)
    exact = in_float64(interpolant)
    angle = torch.atan2(exact.beta(times), noise_variance(exact, times)[0].sqrt()).detach()
    return bool((angle.diff() >= -1e-9).all())


def check_interpolant(interpolant: object) -> Interpolant:
    """Refuse anything that is no interpolant from a Gaussian base."""
    if not isinstance(interpolant, Interpolant):
        raise TypeError(
            f"`interpolant` must be an Interpolant, got {type(interpolant).__name__}; pass for example "
            f"flowops.interpolants.linear()."
        )
    if not interpolant.gaussian_base:
        raise ValueError(
            "`interpolant` must start from a standard normal base, got one with gaussian_base=False; the closed forms "
            "hold for a Gaussian base only."
        )
    return interpolant


def noise_level(interpolant: Interpolant, t: Tensor) -> tuple[Tensor, Tensor]:
    r"""$\sigma_t$, not below the precision of the time, and $\dot\sigma_t$, finite."""
    eps = torch.finfo(t.dtype).eps
    if interpolant.has_latent:
        variance, rate = noise_variance(interpolant, t)
        sigma = variance.clamp(min=eps**2).sqrt()
        return sigma, rate / sigma
    alpha, alpha_dot = interpolant.alpha(t), interpolant.alpha_dot(t)
    sigma = alpha.abs().clamp(min=eps)
    # An alpha that rounding has carried just below zero at an end counts as positive.
    sigma_dot = torch.where(alpha < -eps, -alpha_dot, alpha_dot)
    if _known_finite(alpha_dot):
        return sigma, sigma_dot
    return sigma, torch.where(alpha_dot.isfinite(), sigma_dot, interpolant.alpha_alpha_dot(t) / sigma)


def noise_variance(interpolant: Interpolant, t: Tensor) -> tuple[Tensor, Tensor]:
    r"""$\sigma_t^2=\alpha_t^2+\gamma_t^2$ and half its derivative, $\sigma_t\dot\sigma_t$."""
    variance, rate = interpolant.alpha_squared(t), interpolant.alpha_alpha_dot(t)
    if interpolant.has_latent:
        variance, rate = variance + interpolant.gamma_squared(t), rate + interpolant.gamma_gamma_dot(t)
    return variance, rate


def gain_rate(interpolant: Interpolant, t: Tensor, beta: Tensor) -> Tensor:
    r"""$\dot\beta_t$, finite: by $\beta_t\dot\beta_t$ where it is infinite. `beta` is $\beta_t$."""
    beta_dot = interpolant.beta_dot(t)
    if _known_finite(beta_dot):
        return beta_dot
    floor = beta.clamp(min=torch.finfo(t.dtype).eps)
    return torch.where(beta_dot.isfinite(), beta_dot, interpolant.beta_beta_dot(t) / floor)


def _known_finite(rate: Tensor) -> bool:
    """Whether a look says for nothing that all are finite: then what would take their place need not be known."""
    return is_concrete(rate) and bool(rate.isfinite().all())

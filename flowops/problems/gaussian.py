"""Standard normal to Gaussian: everything in closed form, the flow map included."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowops._arguments import number
from flowops._types import PerSample, State, TimeLike, Times
from flowops.interpolants import Interpolant
from flowops.problems._affine import AffineMap
from flowops.problems._checks import as_parameter, check_event
from flowops.problems._covariance import Spectra, spectra
from flowops.problems._marginal import MarginalField, Posterior, check_interpolant, gain_rate, noise_variance
from flowops.problems.problem import Problem, standard_normal


def gaussian(mean: object, covariance: object, interpolant: Interpolant) -> Problem[GaussianField, GaussianMap]:
    r"""$x_0\sim N(0,I)$ to $x_1\sim N(m,\Sigma)$, independent.

    With $m_t=\beta_tm$ and $\Sigma_t=(\alpha_t^2+\gamma_t^2)I+\beta_t^2\Sigma$, which commute for all times,

    $$b_t(x)=\dot m_t+\tfrac12\dot\Sigma_t\Sigma_t^{-1}(x-m_t),\qquad
    X_{s,t}(x)=m_t+\Sigma_t^{1/2}\Sigma_s^{-1/2}(x-m_s).$$

    Args:
        mean: $m$, `[*event]`; its shape fixes the event (a number: states `[batch]`).
        covariance: $\Sigma$ of the flattened event, positive definite: `[d, d]`, a diagonal `[d]`, or one variance.
        interpolant: from a Gaussian base, with or without a latent.

    Raises:
        TypeError: if `interpolant` is none.
        ValueError: for shapes that do not fit, or a covariance that is not symmetric positive definite.
    """
    check_interpolant(interpolant)
    center = as_parameter(mean, "mean")
    if not center.numel():
        raise ValueError(f"`mean` must have at least one entry, got shape {list(center.shape)}.")
    given, size = as_parameter(covariance, "covariance").to(center.device), center.numel()
    if given.shape not in ((), (size,), (size, size)):
        raise ValueError(
            f"`covariance` must be a variance or have shape [{size}] or [{size}, {size}], got {list(given.shape)}."
        )
    law = GaussianLaw(center, spectra(given[None], 1, size, "covariance"))
    b = GaussianField(law, interpolant)
    return Problem(
        "gaussian",
        b,
        GaussianMap(law, interpolant),
        interpolant,
        center.shape,
        base=standard_normal(center.shape),
        data=law.draw,
    )


class Moments(NamedTuple):
    r"""$m_t$ and $\dot m_t$, `[d, batch]`, the eigenvalues of $\Sigma_t$ and half their derivatives."""

    mean: Tensor
    mean_dot: Tensor
    variance: Tensor
    half_rate: Tensor


class GaussianLaw(nn.Module):
    r"""$N(m,\Sigma)$ and the laws $N(m_t,\Sigma_t)$ on the way to it, in the eigenbasis of $\Sigma$."""

    def __init__(self, mean: Tensor, parts: Spectra) -> None:
        super().__init__()
        self.event = mean.shape
        self.register_buffer("mean", mean.reshape(-1, 1).clone())
        self.register_buffer("variances", parts.values[0].clone())
        self.register_buffer("rotation", None if parts.rotations is None else parts.rotations[0].clone())
        self.mean: Tensor
        self.variances: Tensor
        self.rotation: Tensor | None

    def moments(self, interpolant: Interpolant, t: Tensor) -> Moments:
        """What moves with time; everything is finite as long as some coefficient is not zero."""
        beta, mean, variances = interpolant.beta(t), self.mean.to(t.dtype), self.variances.to(t.dtype)
        noise, noise_rate = noise_variance(interpolant, t)
        return Moments(
            beta * mean,
            gain_rate(interpolant, t, beta) * mean,
            noise + interpolant.beta_squared(t) * variances,
            noise_rate + interpolant.beta_beta_dot(t) * variances,
        )

    def scale(self, factors: Tensor, v: Tensor) -> Tensor:
        r"""$Q\,\mathrm{diag}(f)\,Q^\top v$ for vectors `[d, batch]`."""
        if self.rotation is None:
            return factors * v
        rotation = self.rotation.to(v.dtype)
        return rotation @ (factors * (rotation.mT @ v))

    def columns(self, x: Tensor, *times: Tensor) -> tuple[Tensor, ...]:
        """The states as `[d, batch]`, then the times, in the widest of their dtypes."""
        check_event(x, self.event)
        dtype = x.dtype
        for t in times:
            dtype = torch.promote_types(dtype, t.dtype)
        return x.to(dtype).reshape(x.shape[0], self.event.numel()).mT, *(t.to(dtype) for t in times)

    def draw(self, n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        """`n` draws of the data law, `[n, *event]`."""
        z = torch.randn((n, self.event.numel()), generator=generator, dtype=dtype, device=device)
        z = z * self.variances[:, 0].to(device, dtype).sqrt()
        if self.rotation is not None:
            z = z @ self.rotation.to(device, dtype).mT
        return (self.mean[:, 0].to(device, dtype) + z).reshape(n, *self.event)


class GaussianField(MarginalField):
    r"""$b_t(x)=\dot m_t+\tfrac12\dot\Sigma_t\Sigma_t^{-1}(x-m_t)$."""

    def __init__(self, law: GaussianLaw, interpolant: Interpolant) -> None:
        super().__init__(interpolant, law.event)
        self.law = law

    def forward(self, t: Times, x: State) -> State:
        t, y = self._columns(t, x)
        m = self.law.moments(self.interpolant, t)
        return self._rows_of(m.mean_dot + self.law.scale(m.half_rate / m.variance, y - m.mean), x)

    def mean_and_covariance(self, t: TimeLike) -> tuple[Tensor, Tensor]:
        r"""$m_t$, `[*event]`, and $\Sigma_t$ of the flattened event, `[d, d]`; for times `[n]`, one per time."""
        times = t if isinstance(t, Tensor) else torch.tensor(number(t, "t"), dtype=torch.float64)
        law, batch, size = self.law, times.reshape(-1), self.event.numel()
        m = law.moments(self.interpolant, batch)
        covariance = torch.diag_embed(m.variance.mT.expand(-1, size))
        if law.rotation is not None:
            rotation = law.rotation.to(batch.dtype)
            covariance = rotation @ covariance @ rotation.mT
        mean = m.mean.mT.reshape(*times.shape, *self.event)
        return mean, covariance.reshape(*times.shape, size, size)

    def _posterior(self, beta: Tensor, sigma: Tensor, y: Tensor) -> Posterior:
        mean, variances = self.law.mean.to(y.dtype), self.law.variances.to(y.dtype)
        spread, centered = sigma.square() + beta.square() * variances, y - beta * mean
        whitened = self.law.scale(1 / spread, centered)
        data = mean + beta * self.law.scale(variances / spread, centered)
        log_det = len(y) / len(spread) * spread.log().sum(0)
        quadratic = (centered * whitened).sum(0)
        return Posterior(sigma * whitened, data, -0.5 * (quadratic + log_det + len(y) * math.log(2 * math.pi)))


class GaussianMap(AffineMap):
    r"""$X_{s,t}(x)=m_t+\Sigma_t^{1/2}\Sigma_s^{-1/2}(x-m_s)$, with its derivatives in time.

    These are written out, since differentiating $\alpha_t^2$ through an $\alpha$ that vanishes like a square root is
    $0\cdot\infty$ where $\alpha_t\dot\alpha_t$ is finite.
    """

    def __init__(self, law: GaussianLaw, interpolant: Interpolant) -> None:
        super().__init__()
        self.law = law
        self.interpolant = interpolant

    def forward(self, s: Times, t: Times, x: State) -> State:
        y, start, end = self._at(s, t, x)
        return self._rows_of(end.mean + self._move(start, end, y - start.mean), x)

    def value_and_dt(self, s: TimeLike, t: TimeLike, x: Tensor) -> tuple[State, State]:
        r"""$X_{s,t}(x)$ and $\partial_tX_{s,t}(x)=\dot m_t+\tfrac12\dot\Sigma_t(\Sigma_t\Sigma_s)^{-1/2}(x-m_s)$."""
        y, start, end = self._at(*self._operands(s, t, x), x)
        factors = end.half_rate / (end.variance.sqrt() * start.variance.sqrt())
        value = end.mean + self._move(start, end, y - start.mean)
        rate = end.mean_dot + self.law.scale(factors, y - start.mean)
        return self._rows_of(value, x).to(x.dtype), self._rows_of(rate, x).to(x.dtype)

    def ds(self, s: TimeLike, t: TimeLike, x: Tensor) -> State:
        r"""$\partial_sX_{s,t}(x)=-\Sigma_t^{1/2}\Sigma_s^{-1/2}(\dot m_s+\tfrac12\dot\Sigma_s\Sigma_s^{-1}(x-m_s))$."""
        y, start, end = self._at(*self._operands(s, t, x), x)
        slope = start.mean_dot + self.law.scale(start.half_rate / start.variance, y - start.mean)
        return self._rows_of(-self._move(start, end, slope), x).to(x.dtype)

    def material_derivative(self, s: TimeLike, t: TimeLike, x: Tensor, u: Tensor) -> State:
        r"""$\partial_sX_{s,t}(x)+\nabla X_{s,t}(x)\,u$ from the two closed forms."""
        return self.ds(s, t, x) + self.jvp(s, t, x, u)

    def log_abs_det(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        r"""$\tfrac12(\log\det\Sigma_t-\log\det\Sigma_s)$."""
        _, start, end = self._at(*self._operands(s, t, x), x)
        logs = (end.variance.log() - start.variance.log()).sum(0)
        return (0.5 * self.law.event.numel() / len(self.law.variances) * logs).to(x.dtype)

    def _linear(self, s: Times, t: Times, u: Tensor) -> Tensor:
        v, start, end = self._at(s, t, u)
        return self._rows_of(self._move(start, end, v), u)

    def _at(self, s: Times, t: Times, x: Tensor) -> tuple[Tensor, Moments, Moments]:
        y, s, t = self.law.columns(x, s, t)
        return y, self.law.moments(self.interpolant, s), self.law.moments(self.interpolant, t)

    def _move(self, start: Moments, end: Moments, v: Tensor) -> Tensor:
        return self.law.scale(end.variance.sqrt() / start.variance.sqrt(), v)

    @staticmethod
    def _rows_of(columns: Tensor, x: Tensor) -> Tensor:
        return columns.mT.reshape(x.shape)

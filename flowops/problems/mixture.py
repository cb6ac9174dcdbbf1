"""Standard normal to Gaussian mixture: field, score and density in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowops._arguments import check_like
from flowops._types import State, TimeLike, Times
from flowops.interpolants import Interpolant
from flowops.problems._checks import as_parameter, as_weights
from flowops.problems._covariance import Spectra, spectra
from flowops.problems._marginal import MarginalField, Posterior, check_interpolant, gain_rate, noise_variance
from flowops.problems.problem import Problem, standard_normal


def gaussian_mixture(
    weights: object | None, means: object, covariances: object, interpolant: Interpolant
) -> Problem[MixtureField, None]:
    r"""$x_0\sim N(0,I)$ to $x_1\sim\sum_kw_kN(m_k,\Sigma_k)$, independent; no closed-form flow map.

    Args:
        weights: $w_k$, `[K]`, summing to 1; equal weights if None.
        means: $m_k$, `[K, *event]`; their shape fixes the event.
        covariances: $\Sigma_k$ of the flattened event, positive definite: `[K, d, d]`, diagonals `[K, d]`, isotropic
            variances `[K]`, or one variance for all.
        interpolant: from a Gaussian base, with or without a latent.

    Raises:
        TypeError: if `interpolant` is none.
        ValueError: for shapes that do not fit, weights that are negative or do not sum to 1, or covariances that are
            not symmetric positive definite.
    """
    check_interpolant(interpolant)
    centers = as_parameter(means, "means")
    if centers.ndim == 0 or not centers.numel():
        raise ValueError(f"`means` must have shape [K, *event] with at least one entry, got {list(centers.shape)}.")
    count, event = centers.shape[0], centers.shape[1:]
    given = as_parameter(covariances, "covariances").to(centers.device)
    parts = spectra(given, count, event.numel(), "covariances")
    b = MixtureField(as_weights(weights, count).to(centers.device), centers, parts, interpolant)
    return Problem(
        "gaussian_mixture",
        b,
        None,
        interpolant,
        event,
        base=standard_normal(event),
        data=b.draw,
    )


class MixtureField(MarginalField):
    r"""The field of a Gaussian mixture.

    With $V_k=\sigma_t^2I+\beta_t^2\Sigma_k$, $d_k=x-\beta_tm_k$ and responsibilities $r_k$ of $N(\beta_tm_k,V_k)$ at
    $x$,

    $$b_t(x)=\sum_kr_k\big(\dot\beta_tm_k+C_kd_k\big),\qquad
    C_k=(\sigma_t\dot\sigma_tI+\beta_t\dot\beta_t\Sigma_k)V_k^{-1},$$

    everything diagonal in the eigenbasis of $\Sigma_k$ and in logarithms; differences are formed before squares, so
    that float32 loses no more than the conditioning of the problem. Nothing is rotated where all covariances are
    diagonal.

    Cost: $O(Kd)$ per sample, $O(Kd^2)$ with rotations.
    """

    def __init__(self, weights: Tensor, means: Tensor, parts: Spectra, interpolant: Interpolant) -> None:
        super().__init__(interpolant, means.shape[1:])
        self.register_buffer("log_weights", weights.log()[:, None])
        self.register_buffer("means", means.reshape(len(means), -1, 1).clone())
        self.register_buffer("variances", parts.values)
        self.register_buffer("rotations", parts.rotations)
        self.log_weights: Tensor
        self.means: Tensor
        self.variances: Tensor
        self.rotations: Tensor | None

    def forward(self, t: Times, x: State) -> State:
        t, y = self._columns(t, x)
        deviations, spread, slope, rate = self._fields(t, y)
        r = torch.softmax(self._logits(deviations, spread), 0)
        return self._rows_of(rate * self._mean(r) + self._back(r[:, None] * slope * deviations), x)

    def value_and_jvp(self, t: TimeLike, x: Tensor, u: Tensor) -> tuple[State, State]:
        r"""$b_t(x)$ and $\nabla b_t(x)\,u$ in closed form, at less than twice the cost of the value alone.

        $\dot r_k=r_k(\ell_k-\sum_jr_j\ell_j)$ with $\ell_k=-d_k^\top V_k^{-1}u$.
        """
        times = self._operands(t, x)
        check_like(u, x, "u")
        t, y = self._columns(times, x)
        deviations, spread, slope, rate = self._fields(t, y)
        push = self._into(self._columns(times, u)[1][None])
        r = torch.softmax(self._logits(deviations, spread), 0)
        dl = -(deviations * push / spread).sum(1)
        dr = r * (dl - (r * dl).sum(0))
        value = rate * self._mean(r) + self._back(r[:, None] * slope * deviations)
        tangent = rate * self._mean(dr) + self._back(slope * (dr[:, None] * deviations + r[:, None] * push))
        return self._rows_of(value, x).to(x.dtype), self._rows_of(tangent, x).to(x.dtype)

    def draw(self, n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        """`n` draws of the mixture, `[n, *event]`."""
        weights = self.log_weights[:, 0].exp().to(device)
        k = torch.multinomial(weights, n, replacement=True, generator=generator)
        means, variances = (buffer[..., 0].to(device, dtype) for buffer in (self.means, self.variances))
        z = torch.randn((n, means.shape[1]), generator=generator, dtype=dtype, device=device)
        z = z * variances.expand(len(means), -1)[k].sqrt()
        if self.rotations is not None:
            z = (self.rotations.to(device, dtype)[k] @ z[..., None])[..., 0]
        return (means[k] + z).reshape(n, *self.event)

    def _fields(self, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r"""Deviations $d_k$ and the diagonals of $V_k$ and $C_k$ in the eigenbases, and $\dot\beta_t$."""
        beta = self.interpolant.beta(t)
        variance, half_rate = noise_variance(self.interpolant, t)
        variances = self.variances.to(y.dtype)
        spread = torch.addcmul(variance, beta.square(), variances)
        slope = (half_rate + self.interpolant.beta_beta_dot(t) * variances) / spread
        return self._deviations(beta, y), spread, slope, gain_rate(self.interpolant, t, beta)

    def _posterior(self, beta: Tensor, sigma: Tensor, y: Tensor) -> Posterior:
        deviations, variances = self._deviations(beta, y), self.variances.to(y.dtype)
        spread = sigma.square() + beta.square() * variances
        logits = self._logits(deviations, spread)
        r = torch.softmax(logits, 0)
        scaled = r[:, None] * deviations / spread
        data = self._mean(r) + beta * self._back(variances * scaled)
        log_density = torch.logsumexp(logits, 0) - 0.5 * len(y) * math.log(2 * math.pi)
        if len(spread) == 1:  # the logits leave out what all components share
            log_density = log_density - 0.5 * self._log_det(spread)[0]
        return Posterior(sigma * self._back(scaled), data, log_density)

    def _deviations(self, beta: Tensor, y: Tensor) -> Tensor:
        return self._into(torch.addcmul(y, beta, self.means.to(y.dtype), value=-1))

    def _logits(self, deviations: Tensor, spread: Tensor) -> Tensor:
        """Logarithms of the unnormalized responsibilities, `[K, batch]`, up to what all components share."""
        exponents = self.log_weights.to(spread.dtype) - 0.5 * (deviations.square() / spread).sum(1)
        return exponents if len(spread) == 1 else exponents - 0.5 * self._log_det(spread)

    def _log_det(self, spread: Tensor) -> Tensor:
        return self.event.numel() / spread.shape[1] * spread.log().sum(1)

    def _mean(self, r: Tensor) -> Tensor:
        return self.means[..., 0].to(r.dtype).mT @ r

    def _into(self, v: Tensor) -> Tensor:
        """Vectors `[K or 1, d, batch]` in the eigenbases."""
        return v if self.rotations is None else self.rotations.to(v.dtype).mT @ v

    def _back(self, v: Tensor) -> Tensor:
        """The sum over the components of vectors in the eigenbases, `[d, batch]`."""
        return (v if self.rotations is None else self.rotations.to(v.dtype) @ v).sum(0)

"""Standard normal to a finite data set: the field a perfect model of that set would learn."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from flowops._types import State, Times
from flowops.interpolants import Interpolant
from flowops.interpolants.validation import in_float64
from flowops.problems._checks import as_weights, finite
from flowops.problems._marginal import MarginalField, Posterior, check_interpolant, noise_variance
from flowops.problems.problem import Problem, standard_normal

_ELEMENTS = 2**22  # of the largest temporary tensor, [d, points of a chunk, batch]


def empirical(points: Tensor, interpolant: Interpolant, weights: object | None = None) -> Problem[EmpiricalField, None]:
    r"""$x_0\sim N(0,I)$ to $x_1\sim\sum_iw_i\delta_{x_i}$, independent; no closed-form flow map.

    Args:
        points: $x_i$, `[N, *event]`, of a floating dtype, which they keep.
        interpolant: from a Gaussian base, with or without a latent.
        weights: $w_i$, `[N]`, summing to 1; equal weights if not given. Points of weight zero are dropped.

    Raises:
        TypeError: if `interpolant` is none, or `points` is no floating tensor.
        ValueError: for no points, points that are not finite, or weights that do not fit.
    """
    check_interpolant(interpolant)
    if not isinstance(points, Tensor) or not points.is_floating_point():
        kind = points.dtype if isinstance(points, Tensor) else type(points).__name__
        raise TypeError(f"`points` must be a floating tensor [N, *event], got {kind}; pass points.double().")
    if points.ndim == 0 or not points.numel():
        raise ValueError(f"`points` must have shape [N, *event] with at least one entry, got {list(points.shape)}.")
    probabilities, points = as_weights(weights, len(points)).to(points.device), finite(points.detach(), "points")
    kept = probabilities > 0
    b = EmpiricalField(points[kept], probabilities[kept], interpolant)
    return Problem(
        "empirical",
        b,
        None,
        interpolant,
        b.event,
        base=standard_normal(b.event),
        data=b.draw,
    )


class EmpiricalField(MarginalField):
    r"""The field of a finite data set.

    Its denoiser is

    $$D_t(x)=\sum_i\mathrm{softmax}_i\big(\log w_i-|x-\beta_tx_i|^2/2\sigma_t^2\big)\,x_i.$$

    Distances are sums of squared differences, never expanded squares, which float32 would lose near $t=1$. The points
    are taken in chunks whose softmaxes are merged, so memory does not grow with their number.

    **The end.** Where $\sigma_1=0$ the law at $t=1$ is one of points $\beta_1x_i$, and $b_t$ has a limit on them alone:
    if $\sigma_t$ vanishes like $(1-t)^p$, $b_t(\beta_1x_i)\to(1-p)\dot\beta_1x_i$ (0 for `linear` and
    `trigonometric`, $\dot\beta_1x_i/2$ for `cosine` and `variance_preserving`). That is `b(1, x)` for states on a
    point to half of their digits. Elsewhere $b_t(x)\approx-p\,(x-\beta_tx_i)/(1-t)$ with the nearest $x_i$ is
    infinite in the limit; the value at $t=1-\epsilon$ stands for it, with the precision $\epsilon$ of the time.

    A trajectory ends as $\beta_tx_i+\sigma_te$ with a noise $e$ of its own. Its slope
    $\dot\beta_tx_i+\dot\sigma_te$ is no function of the point, and infinite where $\dot\sigma_1$ is: it is not
    `X.dt(s, 1, x)`, which is `b(1, X)`. `X(s, 1, x)` is a point for every schedule and $\nabla X_{s,1}$ is zero:
    `X.log_abs_det(s, 1, x)` is $-\infty$ for $s<1$, and `b.log_prob(x, 1)` is refused, as points have no density.

    Cost: $O(Nd)$ per sample.
    """

    def __init__(self, points: Tensor, weights: Tensor, interpolant: Interpolant) -> None:
        super().__init__(interpolant, points.shape[1:])
        self.register_buffer("points", points.reshape(len(points), -1).clone())
        self.register_buffer("log_weights", weights.log())
        self.points: Tensor
        self.log_weights: Tensor
        self._end = _end_of(interpolant)
        self._singular = self._singular or self._end is not None

    def forward(self, t: Times, x: State) -> State:
        if self._end is None:
            return super().forward(t, x)
        gain, rate = self._end
        t, y = self._columns(t, x)
        eps = torch.finfo(t.dtype).eps
        slope, point = self._slope(t.clamp(max=1 - eps), y)
        gap, size = (y - gain * point).square().sum(0), point.square().sum(0)
        return self._rows_of(torch.where((t >= 1) & (gap <= eps * (1 + size)), rate * point, slope), x)

    def _collapsed(self, t: Times) -> Tensor | None:
        return None if self._end is None else t >= 1

    def _moved_to(self, interpolant: Interpolant) -> Self:
        b = super()._moved_to(interpolant)
        b._end = _end_of(interpolant)
        return b

    def draw(self, n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        """`n` draws from the data set, with replacement, `[n, *event]`."""
        weights = self.log_weights.exp().to(device)
        k = torch.multinomial(weights, n, replacement=True, generator=generator)
        return self.points[k.to(self.points.device)].to(device, dtype).reshape(n, *self.event)

    def _posterior(self, beta: Tensor, sigma: Tensor, y: Tensor) -> Posterior:
        chunk = max(1, _ELEMENTS // max(1, y.numel()))
        parts = zip(self.points.split(chunk), self.log_weights.split(chunk), strict=True)
        total, data = _denoise(*next(parts), beta, sigma, y)
        for points, log_weights in parts:
            chunk_total, chunk_data = _denoise(points, log_weights, beta, sigma, y)
            total = torch.logaddexp(total, chunk_total)
            data = data + (chunk_data - data) * torch.exp(chunk_total - total)
        log_density = total - len(y) * (sigma.log() + 0.5 * math.log(2 * math.pi))
        return Posterior((y - beta * data) / sigma, data, log_density)


def _end_of(interpolant: Interpolant) -> tuple[float, float] | None:
    r"""$\beta_1$ and $(1-p)\dot\beta_1$ where $\sigma_t$ vanishes like $(1-t)^p$; None where it does not vanish."""
    exact = in_float64(interpolant)
    t = 1 - torch.tensor([0.0, 1e-7, 2e-7], dtype=torch.float64)
    variance, half_rate = (z.detach() for z in noise_variance(exact, t))
    if variance[0] > 1e-24:
        return None
    one, two = ((t - 1) * half_rate / variance)[1:].tolist()
    gain, rate = (f(torch.ones((), dtype=torch.float64)).item() for f in (exact.beta, exact.beta_dot))
    return gain, (1 - (2 * one - two)) * rate


def _denoise(points: Tensor, log_weights: Tensor, beta: Tensor, sigma: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of the total weight of a chunk of points, `[batch]`, and their weighted mean, `[d, batch]`."""
    points, log_weights = points.to(y.dtype), log_weights.to(y.dtype)
    squares = torch.addcmul(y[:, None], beta, points.mT[..., None], value=-1).square().sum(0)
    logits = torch.addcdiv(log_weights[:, None], squares, sigma.square(), value=-0.5)
    top = logits.detach().amax(0)
    shares = torch.exp(logits - top)
    total = shares.sum(0)
    return total.log() + top, points.mT @ shares / total

r"""From noise to data along a grid of times with a flow map: plain steps, $\gamma$-sampling, and restarts.

A flow map jumps; between two jumps noise may be put back. By $\tfrac{\beta_u}{\beta_v}I_v+\sqrt{\alpha_u^2-(\alpha_v
\beta_u/\beta_v)^2}\,\varepsilon$ a state at time $v$ goes back to the earlier time $u$: given the data it has the law
of $I_u$, so an exact map keeps the marginal laws however often it is done, and errors made before are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from flowops._arguments import check_state, number, whole
from flowops.interpolants import Interpolant, time_of_noise_level
from flowops.maps import FlowMap
from flowops.sampling.cost import in_chunks
from flowops.sampling.grids import check_grid
from flowops.sampling.noise import noise


@torch.no_grad()
def sample(X: FlowMap, x0: Tensor, grid: Sequence[float], *, chunk: int | None = None) -> Tensor:
    r"""$X_{t_{k-1},t_k}\circ\dots\circ X_{t_0,t_1}(x_0)$, `[batch, *event]`, without gradients.

    Args:
        X: the map; condition it before with `X.given(label=...)`, one entry per sample. Put a network with dropout into
            evaluation mode before.
        x0: base samples `[batch, *event]`, such as `noise(n, event, seed=0)`.
        grid: strictly increasing times from 0 to 1, such as `uniform(4)`.
        chunk: samples that go through the map at once; None for as many as `chunk_size` says. It changes nothing but
            rounding.

    Raises:
        TypeError, ValueError: for a grid or a state that is none.

    Cost: one call of the map per step.
    """
    times = check_grid(grid)
    return torch.cat([own.compose(times, x) for own, x, _ in _chunks(X, x0, chunk)])


@torch.no_grad()
def gamma_sample(
    X: FlowMap,
    interpolant: Interpolant,
    x0: Tensor,
    grid: Sequence[float],
    gamma: float,
    *,
    seed: int,
    start: int = 0,
    chunk: int | None = None,
) -> Tensor:
    r"""Steps that go beyond each time of the grid, and back to it by noise.

    From $t_i$ the map goes to the time $u$ whose noise level is $\sqrt{1-\gamma^2}$ times that of $t_{i+1}$, then noise
    brings the state back to $t_{i+1}$. With $\gamma=0$ it is `sample`; with $\gamma=1$, $u=1$ and the noise is full:
    multistep sampling of consistency models, which uses $X_{\cdot,1}$ only.

    Args:
        X: as for `sample`.
        interpolant: schedule of the training: two terms and a Gaussian base; it gives the noise levels.
        x0: base samples.
        grid: as for `sample`.
        gamma: $\gamma\in[0,1]$.
        seed: seed of the noise, which is drawn by sample as in `noise`.
        start: number of the first sample.
        chunk: as for `sample`.

    Raises:
        TypeError, ValueError: for a $\gamma$ outside [0, 1], an interpolant of another kind, and as `sample`.

    Cost: one call of the map per step. Source: Kim et al. 2310.02279, Alg. 3, whose clock is the noise level and whose
    state is $I_t/\beta_t$; $\gamma=1$: Song et al. 2303.01469, Alg. 1.
    """
    times, gamma = check_grid(grid), number(gamma, "gamma")
    if not 0 <= gamma <= 1:
        raise ValueError(f"`gamma` must lie in [0, 1], got {gamma:g}; pass 0 for no noise and 1 for all of it.")
    _check_base(interpolant)
    beyond = [_beyond(interpolant, t, gamma, x0.device) for t in times[1:-1]]
    done = []
    for own, x, first in _chunks(X, x0, chunk):
        for i, (s, t, u) in enumerate(zip(times[:-2], times[1:-1], beyond, strict=True)):
            x = own(s, u, x)
            x = renoise(interpolant, u, t, x, seed=seed, start=start + first, stream=i + 1) if u > t else x
        done.append(own(times[-2], times[-1], x))
    return torch.cat(done)


@torch.no_grad()
def restart_sample(
    X: FlowMap,
    interpolant: Interpolant,
    x0: Tensor,
    grid: Sequence[float],
    between: tuple[float, float],
    restarts: int,
    *,
    seed: int,
    start: int = 0,
    chunk: int | None = None,
) -> Tensor:
    r"""`sample`, with `restarts` returns by noise from the later to the earlier of two times of the grid.

    Args:
        X: as for `sample`.
        interpolant: schedule of the training: two terms and a Gaussian base.
        x0: base samples.
        grid: as for `sample`.
        between: $(u,v)$, two times of the grid, $u<v$.
        restarts: $K$, how often the state at $v$ is noised back to $u$ and carried to $v$ again.
        seed: seed of the noise, which is drawn by sample as in `noise`.
        start: number of the first sample.
        chunk: as for `sample`.

    Raises:
        TypeError, ValueError: for times that are not on the grid or not increasing, and as `gamma_sample`.

    Cost: one call of the map per step, those between $u$ and $v$ being taken $K+1$ times. Source: Xu et al. 2306.14878.
    """
    times = check_grid(grid)
    u, v = between
    if u not in times or v not in times or not u < v:
        raise ValueError(f"`between` must be two increasing times of the grid, got ({u}, {v}); take both from it.")
    whole(restarts, "restarts", 0)
    _check_base(interpolant)
    low, high = times.index(u), times.index(v)
    done = []
    for own, x, first in _chunks(X, x0, chunk):
        x = own.compose(times[: high + 1], x)
        for i in range(restarts):
            x = renoise(interpolant, v, u, x, seed=seed, start=start + first, stream=i + 1)
            x = own.compose(times[low : high + 1], x)
        done.append(own.compose(times[high:], x))
    return torch.cat(done)


def renoise(
    interpolant: Interpolant, v: float, u: float, x: Tensor, *, seed: int, start: int = 0, stream: int = 0
) -> Tensor:
    r"""$\tfrac{\beta_u}{\beta_v}x+\sqrt{\alpha_u^2-(\alpha_v\beta_u/\beta_v)^2}\,\varepsilon$: from $v$ to $u\le v$.

    The noise $\varepsilon$ is that of `noise(..., seed=seed, start=start, stream=stream)`.
    """
    (alpha_v, beta_v), (alpha_u, beta_u) = (_coefficients(interpolant, time, x.device) for time in (v, u))
    ratio = beta_u / beta_v
    scale = max(alpha_u**2 - (ratio * alpha_v) ** 2, 0.0) ** 0.5  # below zero by rounding only, at u = v
    epsilon = noise(len(x), x.shape[1:], seed=seed, device=x.device, dtype=x.dtype, start=start, stream=stream)
    return ratio * x + scale * epsilon


def _beyond(interpolant: Interpolant, t: float, gamma: float, device: torch.device) -> float:
    r"""The time whose noise level is $\sqrt{1-\gamma^2}$ times that of `t`; `t` itself where $\gamma=0$."""
    if gamma == 0:
        return t
    alpha, beta = _coefficients(interpolant, t, device)
    sigma = torch.tensor((1 - gamma**2) ** 0.5 * alpha / beta, dtype=torch.float64, device=device)
    return max(float(time_of_noise_level(interpolant, sigma)), t)


def _coefficients(interpolant: Interpolant, t: float, device: torch.device) -> tuple[float, float]:
    time = torch.tensor(t, dtype=torch.float64, device=device)
    return float(interpolant.alpha(time)), float(interpolant.beta(time))


def _check_base(interpolant: Interpolant) -> None:
    if not isinstance(interpolant, Interpolant):
        raise TypeError(
            f"`interpolant` must be an Interpolant, got {type(interpolant).__name__}; pass that of the map."
        )
    if interpolant.has_latent or not interpolant.gaussian_base:
        raise ValueError(
            f"`interpolant` must have two terms and a Gaussian base for noise to be put back, got {interpolant!r}; use "
            f"`sample`."
        )


def _chunks(X: FlowMap, x0: Tensor, chunk: int | None) -> Iterator[tuple[FlowMap, Tensor, int]]:
    """The map on the conditions of a chunk of samples, these samples, and the number of the first."""
    if not isinstance(X, FlowMap):
        raise TypeError(f"`X` must be a FlowMap, got {type(X).__name__}; wrap a network as LearnedMap(network).")
    check_state(x0, "x0")
    yield from in_chunks(X, x0, chunk)

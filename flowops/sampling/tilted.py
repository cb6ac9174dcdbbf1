r"""Samples of the tilted law $\rho_1e^r/Z$ by sequential Monte Carlo with a flow map.

With $r_t(x)=t\,r(X_{t,1}(x))$ the laws $\rho_te^{r_t}/Z_t$ lead from the base to the tilted law. The flow carries
$\rho_t$, and $r(X_{t,1}(x))$ is constant along it, so that a particle that follows it from $t$ to $u$ gathers the
logarithmic weight $(u-t)\,r(X_{t,1}(x))$ exactly, whatever the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._arguments import check_like, check_per_sample, check_state, number, per_event, whole
from flowops._derivatives import value_and_vjp
from flowops._types import PerSample, State
from flowops.fields.divergence import inner
from flowops.maps import FlowMap
from flowops.sampling.grids import check_grid

Reward = Callable[[State], Tensor]


@dataclass(frozen=True)
class Langevin:
    r"""Moves that keep $\rho_te^{r_t}$: $y=x+h\nabla\log(\rho_te^{r_t})(x)+\sqrt{2h}\,\xi$.

    With `log_density` a move is accepted or refused such that the law is kept exactly (MALA); without, it is wrong by
    $O(h)$, and with $h=\epsilon_t\,(u-t)$ the sampler is a discretization of the stochastic equation of the paper.

    Attributes:
        score: $\nabla\log\rho_t(x)$ as a function of a time and states, such as `Problem.score`, or `I.convert` of a
            velocity.
        step: $h$.
        moves: number of moves at every time.
        log_density: $\log\rho_t(x)$ up to a constant, `[batch]`, such as `Problem.log_prob`.
    """

    score: Callable[[float, State], State]
    step: float
    moves: int = 1
    log_density: Callable[[float, State], PerSample] | None = None

    def __post_init__(self) -> None:
        if number(self.step, "step") <= 0:
            raise ValueError(f"`step` must be positive, got {self.step}; pass about the least variance of the law.")
        whole(self.moves, "moves", 1)

    def __call__(self, t: float, x: State, tilt: Callable[[State], Tensor], generator: torch.Generator | None) -> State:
        r"""States after all moves at time `t`, where `tilt` is $r_t$."""
        h = self.step
        level, drift = self._target(t, x, tilt)
        for _ in range(self.moves):
            xi = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            y = x + h * drift + math.sqrt(2 * h) * xi
            level_y, drift_y = self._target(t, y, tilt)
            if self.log_density is None:
                x, level, drift = y, level_y, drift_y
                continue
            back = x - y - h * drift_y
            chance = level_y - level + inner(xi, xi) / 2 - inner(back, back) / (4 * h)
            drawn = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device)
            taken = drawn.log() < chance
            x, drift = (torch.where(per_event(taken, x), new, old) for new, old in ((y, x), (drift_y, drift)))
            level = torch.where(taken, level_y, level)
        return x

    def _target(self, t: float, x: State, tilt: Callable[[State], Tensor]) -> tuple[Tensor, State]:
        r"""$\log(\rho_te^{r_t})$ as far as it is known, and its gradient."""
        level, slope = value_and_vjp(tilt, x, x.new_ones(len(x)))
        if self.log_density is not None:
            level = level + check_per_sample(self.log_density(t, x), x, "log_density")
        score = self.score(t, x)
        check_like(score, x, "score")
        return level, score + slope


@dataclass(frozen=True)
class Tilted:
    r"""Weighted particles of the tilted law, in populations that never mixed.

    Attributes:
        x: states at time 1, `[n, *event]`, population after population.
        log_weights: `[populations, n / populations]`; their means are unbiased for $Z$.
        effective: effective sizes of the populations before every time's resampling, as shares of their numbers,
            `[steps, populations]`.
        resampled: which of them were resampled there, `[steps, populations]`.
    """

    x: State
    log_weights: Tensor
    effective: Tensor
    resampled: Tensor

    @property
    def log_normalizers(self) -> Tensor:
        r"""$\log\hat Z$ of every population, `[populations]`: $\mathbb E\hat Z=\int\rho_1e^r$."""
        return log_mean(self.log_weights)

    def mean(self, values: Tensor) -> tuple[Tensor, Tensor]:
        r"""$\int f\rho_1e^r/Z$ and its standard error, from the values of $f$ at `x`, `[n, ...]`.

        Populations count by their $\hat Z$. The error is that of a ratio of means of independent populations, NaN for
        one; it knows nothing of a mode that no population has found.

        Raises:
            ValueError: unless there is one value of $f$ per particle.
        """
        count, size = self.log_weights.shape
        if not isinstance(values, Tensor) or values.shape[:1] != self.x.shape[:1]:
            given = f"shape {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"`values` must hold an entry per particle, [{len(self.x)}, ...], got {given}; pass f(x).")
        weights = (self.log_weights - self.log_weights.max()).exp()[..., None]
        sums = (weights * values.reshape(count, size, -1)).mean(1)
        normalizers = weights.mean(1)
        mean = sums.mean(0) / normalizers.mean(0)
        errors = (sums - normalizers * mean) / normalizers.mean(0)
        error = errors.std(0) / math.sqrt(count) if count > 1 else torch.full_like(mean, torch.nan)
        return mean.reshape(values.shape[1:]), error.reshape(values.shape[1:])

    def draw(self, generator: torch.Generator | None = None) -> State:
        """As many states of equal weight, `[n, *event]`, all populations together; states of large weight repeat."""
        return self.x[chosen(self.log_weights.reshape(1, -1), generator)]


@torch.no_grad()
def tilt(
    X: FlowMap,
    reward: Reward,
    x0: Tensor,
    grid: Sequence[float],
    *,
    langevin: Langevin | None = None,
    populations: int = 1,
    threshold: float = 0.5,
    generator: torch.Generator | None = None,
    chunk: int | None = None,
) -> Tilted:
    r"""Particles of $\rho_1e^r/Z$: the flow moves them, $r(X_{t,1}(x))$ weighs them, light ones die.

    With an exact map, and without Langevin moves or with moves that are accepted or refused, $\hat Z$ and sums weighted
    by it are unbiased for every grid and number of particles. Without moves resampling only repeats particles: then
    this is importance sampling by $e^r$.

    Args:
        X: the map.
        reward: $r$, `x -> [batch]`, sample by sample; `langevin` wants it differentiable.
        x0: base samples `[n, *event]`, such as `noise(n, event, seed=0)`.
        grid: strictly increasing times from 0 to 1, such as `uniform(8)`.
        langevin: moves after every time before 1; none if not given.
        populations: parts of equal size that never mix, so that they tell the error of what they agree on.
        threshold: a population whose effective size falls below this share of its number before time 1 is resampled.
        generator: source of all draws.
        chunk: particles in memory at once, in whole populations and at least one of them; all if not given.

    Raises:
        TypeError, ValueError: for a grid, a state or a share that is none, for numbers that do not divide `x0`, and
            for a reward that is not one number per sample.

    Cost: two calls of the map a step, and for each Langevin move one and its gradient. Source: Sabour et al. 2511.22688
    (FMTT); Del Moral, Doucet, Jasra 2006. Checked by `theory_checks/test_tilting.py`.
    """
    times = check_grid(grid)
    check_state(x0, "x0")
    if not len(x0):
        raise ValueError("`x0` must hold at least one particle, got none; draw some with sampling.noise.")
    if len(x0) % whole(populations, "populations", 1):
        raise ValueError(f"`populations` must divide the number of particles, {len(x0)}, got {populations}.")
    if not 0 <= number(threshold, "threshold") <= 1:
        raise ValueError(f"`threshold` must lie in [0, 1], got {threshold}; it is a share of the particles.")
    size = len(x0) // populations
    together = populations if chunk is None else max(1, whole(chunk, "chunk", 1) // size)
    moved = [
        _moved(X.subset(own), reward, x0[own].reshape(-1, size, *x0.shape[1:]), times, langevin, threshold, generator)
        for own in torch.arange(len(x0), device=x0.device).split(together * size)
    ]
    x, log_weights, effective, resampled = zip(*moved, strict=True)
    return Tilted(torch.cat(x), torch.cat(log_weights), torch.cat(effective, 1), torch.cat(resampled, 1))


def _moved(
    X: FlowMap,
    reward: Reward,
    x0: Tensor,
    times: Sequence[float],
    langevin: Langevin | None,
    threshold: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `Tilted` holds, of populations `[populations, m, *event]`."""
    x, log_weights = x0.flatten(0, 1), x0.new_zeros(x0.shape[:2])
    effective, resampled = [], []
    for s, t in zip(times[:-1], times[1:], strict=True):
        x = X(s, t, x)
        log_weights = log_weights + (t - s) * ahead(X, reward, t, x).reshape(log_weights.shape)
        effective.append(effective_size(log_weights) / log_weights.shape[1])
        resampled.append((effective[-1] < threshold) & (t < 1))
        again = resampled[-1][:, None]
        x = torch.where(per_event(again.expand_as(log_weights).reshape(-1), x), x[chosen(log_weights, generator)], x)
        log_weights = torch.where(again, log_mean(log_weights)[:, None], log_weights)
        if langevin is not None and t < 1:
            x = langevin(t, x, lambda y, t=t: t * ahead(X, reward, t, y), generator)  # type: ignore[misc]
    return x, log_weights, torch.stack(effective), torch.stack(resampled)


def ahead(X: FlowMap, reward: Reward, t: float, x: State) -> Tensor:
    r"""$r(X_{t,1}(x))$, `[batch]`."""
    return check_per_sample(reward(x if t == 1 else X(t, 1.0, x)), x, "reward")


def effective_size(log_weights: Tensor) -> Tensor:
    r"""$(\sum w)^2/\sum w^2$ over the last axis (Kong 1992)."""
    return (2 * log_weights.logsumexp(-1) - (2 * log_weights).logsumexp(-1)).exp()


def log_mean(log_weights: Tensor) -> Tensor:
    """The logarithm of the mean weight over the last axis."""
    return log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])


def chosen(log_weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """Rows of the flattened particles by systematic resampling within every population, `[populations * m]`."""
    count, m = log_weights.shape
    ends = torch.softmax(log_weights.double(), -1).cumsum(-1)
    shift = torch.rand(count, 1, generator=generator, dtype=ends.dtype, device=ends.device)
    places = (torch.arange(m, device=ends.device) + shift) / m
    own = torch.searchsorted(ends, places).clamp(max=m - 1)
    return (own + m * torch.arange(count, device=ends.device)[:, None]).reshape(-1)

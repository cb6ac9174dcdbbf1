r"""Densities of the steps of a flow map, by the determinants of its Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flowops._arguments import check_state
from flowops._types import PerSample, State, TimeLike
from flowops.fields.likelihood import Base, base_log_prob
from flowops.maps.flow_map import FlowMap, grid_of
from flowops.maps.log_det import LogDetEstimate

LogDet = Callable[[Any, TimeLike, TimeLike, Tensor], Tensor | LogDetEstimate]
r"""What takes $X,s,t,x$ and gives $\log|\det\nabla X_{s,t}(x)|$, `[batch]`, or an estimate of it."""


@dataclass(frozen=True)
class LogDensity:
    """A log-density and where it was had.

    Attributes:
        state: the states at the last time of the grid, `[batch, *event]`.
        value: the log-density, `[batch]`.
        standard_error: of it, `[batch]`; zero for exact determinants.
        truncation: how far what the determinants left out may have moved it, `[batch]`.
    """

    state: State
    value: PerSample
    standard_error: PerSample
    truncation: PerSample


def pushforward_log_prob(
    X: FlowMap,
    times: Sequence[TimeLike] | Tensor,
    x: Tensor,
    base: Base | None = None,
    *,
    log_det: LogDet | None = None,
) -> LogDensity:
    r"""Samples of the map with their density, $\log\rho(x)-\sum_i\log|\det\nabla X_{t_{i-1},t_i}(x_{i-1})|$ at $x_k$.

    This is the density of $X_{t_{k-1},t_k}\circ\dots\circ X_{t_0,t_1}(x)$ for $x\sim\rho$ where the map is one to one;
    where it folds it is the part of the density that comes from $x$, and those of all preimages add up. The density of
    a given state is that of its preimage: `pushforward_log_prob(X, times, preimage(X, times, y))`.

    Args:
        X: the map.
        times: the grid, from the time of the base on.
        x: states at the first of the times.
        base: $\rho$, a `torch.distributions.Distribution` or a callable `x -> [batch]`; standard normal if not given.
        log_det: how log-determinants are had, a callable of `(X, s, t, x)`; `LogDetSeries` or `LogDetLanczos` for large
            events, `JointMap.learned_log_det` for what a joint map claims, exact ones if not given.

    >>> import torch
    >>> X = FlowMap.from_function(lambda s, t, x: x * torch.exp(t - s)[:, None])
    >>> pushforward_log_prob(X, [0.0, 0.5, 1.0], torch.zeros(1, 2)).value  # of the normal law of deviation e
    tensor([-3.8379])

    Cost: a call and a log-determinant for each step. Source: change of variables. Checked by
    `theory_checks/test_likelihood_of_a_map.py`.
    """
    end, total, error, left = _carried(X, times, x, log_det)
    return LogDensity(end, base_log_prob(base, x) - total, error, left)


def pullback_log_prob(
    X: FlowMap,
    times: Sequence[TimeLike] | Tensor,
    x: Tensor,
    base: Base | None = None,
    *,
    log_det: LogDet | None = None,
) -> LogDensity:
    r"""Density of given states by the way back, $\log\rho(x_k)+\sum_i\log|\det\nabla X_{t_{i-1},t_i}(x_{i-1})|$.

    For data the grid goes from 1 to 0. This is the density of what the map, going back, carries to $\rho$. It is the
    density of the map's samples as far as the map is its own inverse, which `residuals.inverse` measures; `preimage`
    does without that. Its integral is one where the way back is one to one, and the mean number of preimages where it
    folds.

    Args:
        X: the map.
        times: the grid, down to the time of the base.
        x: states at the first of the times.
        base: $\rho$, as in `pushforward_log_prob`.
        log_det: likewise.

    >>> import torch
    >>> X = FlowMap.from_function(lambda s, t, x: x * torch.exp(t - s)[:, None])
    >>> pullback_log_prob(X, [1.0, 0.0], torch.zeros(1, 2)).value
    tensor([-3.8379])

    Cost: a call and a log-determinant for each step. Source: change of variables. Checked by
    `theory_checks/test_likelihood_of_a_map.py`.
    """
    end, total, error, left = _carried(X, times, x, log_det)
    return LogDensity(end, base_log_prob(base, end) + total, error, left)


def _carried(
    X: FlowMap, times: Sequence[TimeLike] | Tensor, x: Tensor, log_det: LogDet | None
) -> tuple[State, PerSample, PerSample, PerSample]:
    """The end of the grid, the sum of the log-determinants, its standard error and what was left out."""
    check_state(x)
    grid = grid_of(times)
    total = variance = left = x.new_zeros(len(x))
    for s, t in zip(grid[:-1], grid[1:], strict=True):
        found = X.log_abs_det(s, t, x) if log_det is None else log_det(X, s, t, x)
        if isinstance(found, LogDetEstimate):
            variance, left = variance + found.standard_error.square(), left + found.truncation
            found = found.value
        total, x = total + found, X(s, t, x)
    return x, total, variance.sqrt(), left

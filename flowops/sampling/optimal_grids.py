r"""Where the steps of a sampler should be: the errors of all steps are measured, and the best path through them taken.

With states $y_i$ along a fine path, the step from $t_i$ to $t_j$ is wrong at time 1 by

$$ E_{ij}=\mathbb E\,\big|X_{t_j,1}(X_{t_i,t_j}(y_i))-X_{t_j,1}(y_j)\big|^2, $$

a mean over samples and components. Errors of different steps that do not know of each other add up in squares, so that
the grid of $K$ steps with the least $\sum_kE_{i_ki_{k+1}}$ is a shortest path, found by dynamic programming.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flowops._arguments import check_state, whole
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.sampling.cost import chunk_size
from flowops.sampling.grids import check_grid, save_grids, uniform


@dataclass(frozen=True)
class StepErrors:
    """What single steps of a map are wrong by.

    Attributes:
        times: where a step may start and end, strictly increasing from 0 to 1.
        squares: `[len(times), len(times)]` in float64, mean squares at time 1 of the step from a row's time to a
            column's; infinite where it does not lead on, or the map is not finite.
    """

    times: list[float]
    squares: Tensor

    def of(self, grid: Sequence[float]) -> float:
        """The predicted error of a grid of these times, a root mean square.

        Raises:
            ValueError: for a time that is none of them.
        """
        places = [self._place(t) for t in check_grid(grid)]
        return float(self.squares[places[:-1], places[1:]].sum().sqrt())

    def grid(self, steps: int) -> list[float]:
        """The grid of so many steps whose predicted error is least.

        Raises:
            ValueError: for more steps than there are times between, and if the map is finite along no such grid.
        """
        last = len(self.times) - 1
        if whole(steps, "steps") > last:
            raise ValueError(f"`steps` must be at most {last}, got {steps}; measure at more times.")
        places = shortest_path(self.squares, steps)
        if not bool(self.squares[places[:-1], places[1:]].isfinite().all()):
            raise ValueError(
                f"`X` must be finite along some grid of {steps} step{'s' * (steps > 1)}, and is along none; look at "
                f"its samples."
            )
        return [self.times[place] for place in places]

    def save(self, path: Path | str, steps: Sequence[int]) -> None:
        """Write the best grids of these numbers of steps, for `load_grid` and `flowops sample --grid`."""
        save_grids(path, {k: self.grid(k) for k in steps})

    def _place(self, t: float) -> int:
        if t not in self.times:
            raise ValueError(f"`grid` must hold times at which errors were measured, got {t:g}; take it from `times`.")
        return self.times.index(t)


def shortest_path(costs: Tensor, steps: int) -> list[int]:
    r"""Places $0=i_0<\dots<i_K=n$ with the least $\sum_kC_{i_ki_{k+1}}$, of costs `[n + 1, n + 1]`.

    Cost: $O(Kn^2)$. Source: Bellman 1957; Watson et al. 2106.03802 choose the times of diffusion samplers so.
    """
    best, before = costs[0], []
    for _ in range(steps - 1):
        least, where = (best[:, None] + costs).min(0)
        before.append(where)
        best = least
    path = [len(costs) - 1]
    for where in reversed(before):
        path.append(int(where[path[-1]]))
    return [0, *reversed(path)]


@torch.no_grad()
def step_errors(
    X: FlowMap,
    x0: Tensor,
    times: Sequence[float] | None = None,
    *,
    b: VelocityField | None = None,
    chunk: int | None = None,
) -> StepErrors:
    r"""The errors of all steps of a map between given times.

    Args:
        X: the map; condition it before with `X.given(label=...)`, one entry per sample.
        x0: base samples `[batch, *event]`; a hundred say enough.
        times: where steps may start and end; every multiple of 1/24 if None.
        b: a field whose solutions are the fine path, such as that of a teacher; None for the map's own finest steps,
            so that errors are those beside its own composition.
        chunk: states that go through the map at once; None for as many as `chunk_size` says.

    Raises:
        TypeError, ValueError: for times or states that are none.

    Cost: two calls of the map for each pair of times, and the fine path.
    """
    if not isinstance(X, FlowMap):
        raise TypeError(f"`X` must be a FlowMap, got {type(X).__name__}; wrap a network as LearnedMap(network).")
    check_state(x0, "x0")
    if not len(x0):
        raise ValueError("`x0` must hold at least one state, got none; draw some.")
    clock = uniform(24) if times is None else check_grid(times, "`times`")
    n, size = len(clock), chunk_size(x0.shape[1:], chunk)
    path = X.compose(clock, x0, trajectory=True) if b is None else b.flow_map().path(0.0, clock, x0)
    t = torch.tensor(clock, dtype=torch.promote_types(x0.dtype, torch.float32), device=x0.device)
    ends = _carried(X, t[:-1], t[-1:].expand(n - 1), path[:-1], size)
    squares = torch.full((n, n), torch.inf, dtype=torch.float64)
    for i in range(n - 1):
        stepped = _carried(X, t[i].expand(n - 1 - i), t[i + 1 :], path[i].expand(n - 1 - i, *x0.shape), size)
        arrived = _carried(X, t[i + 1 : -1], t[-1:].expand(n - 2 - i), stepped[:-1], size)
        off = torch.cat([arrived - ends[i + 1 :], stepped[-1:] - path[-1:]])
        squares[i, i + 1 :] = off.double().square().reshape(n - 1 - i, -1).mean(1).cpu()
    return StepErrors(clock, squares.nan_to_num(nan=torch.inf, posinf=torch.inf))


def optimal_grids(
    X: FlowMap,
    x0: Tensor,
    steps: Sequence[int] = (1, 2, 4, 8),
    *,
    b: VelocityField | None = None,
    chunk: int | None = None,
) -> dict[int, list[float]]:
    r"""The best grid of a map for each number of steps, of the multiples of 1/24 and the times of the uniform grids.

    By what is measured no uniform grid of as many steps is better, since it is one of those that are compared.

    Args:
        X: the map, as for `step_errors`; further arguments as there.
        x0: base samples.
        steps: numbers of steps.
        b: a field whose solutions are the truth; None for the map's own finest steps.
        chunk: states that go through the map at once.

    Raises:
        TypeError, ValueError: for numbers below 1, and as `step_errors`.

    Cost: that of `step_errors`. Checked by `theory_checks/test_optimal_grids_are_shortest_paths.py`.
    """
    if not isinstance(steps, Sequence):
        raise TypeError(f"`steps` must be a list of numbers of steps, got {steps!r}; pass [1, 2, 4].")
    if not steps:
        raise ValueError("`steps` must hold at least one number of steps, got none; pass [1, 2, 4].")
    errors = step_errors(X, x0, sorted({t for k in (24, *steps) for t in uniform(k)}), b=b, chunk=chunk)
    return {k: errors.grid(k) for k in steps}


def _carried(X: FlowMap, s: Tensor, t: Tensor, x: Tensor, size: int) -> Tensor:
    """States `[m, batch, *event]` by the map from times `s` to `t`, `[m]` each, some at a time."""
    m, n = x.shape[:2]
    rows = torch.arange(m * n, device=x.device)
    states, s, t = x.reshape(m * n, *x.shape[2:]), s.repeat_interleave(n), t.repeat_interleave(n)
    if not m:
        return x
    parts = [X.subset(some % n)(s[some], t[some], states[some]) for some in rows.split(size)]
    return torch.cat(parts).reshape(x.shape)

r"""The answer of a solver, found on all parts of the way at once: a flow map guesses, the solver corrects.

With the guess $y_0,\dots,y_K$ at the times $t_0<\dots<t_K$ all parts $[t_i,t_{i+1}]$ are solved in one batch, and
$\delta_i=F_{t_i,t_{i+1}}(y_i)-y_{i+1}$ is what the guess jumps there. A sweep carries these jumps to the end with the
map. Parareal does so step by step,

$$ y_{i+1}\leftarrow X_{t_i,t_{i+1}}(y_i^{\mathrm{new}})+F_{t_i,t_{i+1}}(y_i)-X_{t_i,t_{i+1}}(y_i), $$

$K$ calls one after the other. A flow map reaches every later time in one call, so that all jumps can be carried at
once, to first order in them:

$$ y_j\leftarrow y_j+\sum_{i<j}\big(X_{t_{i+1},t_j}(y_{i+1}+\delta_i)-X_{t_{i+1},t_j}(y_{i+1})\big). $$

Either way the first $k$ parts are those of the solver after $k$ sweeps, whatever the map, and where the map is wrong by
$\epsilon$ the error after $k$ sweeps is $O(\epsilon^{k+1})$.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowops._arguments import check_state, whole
from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.sampling.adaptive import check_tolerance, distance
from flowops.sampling.cost import CountedField, CountedMap, chunk_size, in_chunks
from flowops.sampling.grids import check_grid


@dataclass(frozen=True)
class Corrected:
    """The states of a solver at time 1, and what they cost.

    Attributes:
        x: `[batch, *event]`.
        sweeps: that each sample took, `[batch]`.
        error: estimate of what is left beside the solver's answer; zero after as many sweeps as parts, `[batch]`.
        converged: whether that is at most the tolerance, `[batch]`.
        calls: evaluations of networks per sample, of the map and the field together.
        sequential: how many of them had to wait for each other, of the slowest sample.
    """

    x: Tensor
    sweeps: Tensor
    error: Tensor
    converged: Tensor
    calls: float
    sequential: int


@torch.no_grad()
def parareal(
    X: FlowMap,
    b: VelocityField,
    x0: Tensor,
    grid: Sequence[float],
    *,
    tolerance: float = 1e-4,
    sweeps: int | None = None,
    jumps: bool = True,
    chunk: int | None = None,
    **solver: Any,
) -> Corrected:
    r"""The solution of $\dot x_t=b_t(x_t)$ at time 1, all parts of the grid solved at once, with `X` as a first guess.

    A sweep that moves a sample by $d$, where the one before moved it by $d'$, leaves an error of about $d^2/d'$, and of
    $d$ after the first: the largest over the times of the grid, in the measure of `adaptive_sample`. A sample whose
    error is at most the tolerance leaves; that of the solver comes on top.

    Args:
        X: the map; it need not be one of `b`, and is then only a worse guess.
        b: the field that is solved, such as `X.velocity()` or a teacher.
        x0: base samples `[batch, *event]`.
        grid: ends of the parts, strictly increasing from 0 to 1.
        tolerance: of this error.
        sweeps: at most so many; as many as there are parts if None, after which the result is that of the solver.
        jumps: carry the jumps of all parts at once; False for the sweep of Parareal, step by step.
        chunk: samples that go through at once; None for as many as `chunk_size` says, over all parts.
        **solver: of the parts, as for `b.flow_map`; one step of `rk4` on each if none is given.

    Raises:
        TypeError, ValueError: for a grid, a state or a tolerance that is none.
        SolverError: if the solver fails on a part.

    Cost: one call of the map before the first sweep, for all times; in each sweep one solve of the parts that are left,
    and one call of the map on as many states as there are pairs of parts. Without `jumps` as many calls as parts,
    before and in each sweep. Source: Lions, Maday, Turinici 2001; Gander, Vandewalle 2007 (convergence). Checked by
    `theory_checks/test_parareal_converges_to_the_solver.py`.
    """
    if not isinstance(X, FlowMap) or not isinstance(b, VelocityField):
        raise TypeError(
            f"`X` and `b` must be a FlowMap and a VelocityField, got {type(X).__name__} and {type(b).__name__}; pass "
            f"X.velocity() of a map as its field."
        )
    check_state(x0, "x0")
    times = check_grid(grid)
    most = len(times) - 1
    most = most if sweeps is None else min(most, whole(sweeps, "sweeps"))
    if not len(x0):
        raise ValueError("`x0` must hold at least one state, got none; draw some.")
    tolerance = check_tolerance(tolerance)
    if not solver:
        solver = {"method": "rk4", "steps": 1}
    size = max(1, chunk_size(x0.shape[1:], chunk) // len(times))
    done = []
    for own, x, first in in_chunks(X, x0, size):
        field = b.subset(torch.arange(first, first + len(x), device=x.device)) if len(x) < len(x0) else b
        done.append(_Sweeps(own, field, x, times, jumps, solver).run(tolerance, most))
    return _joined(done, len(x0))


class _Sweeps:
    """The guesses of all samples at all times, `[K + 1, batch, *event]`, and what corrects them."""

    def __init__(
        self, X: FlowMap, b: VelocityField, x0: Tensor, times: list[float], jumps: bool, solver: dict[str, Any]
    ) -> None:
        self.X, self.b, self.solver, self.jumps = CountedMap(X), CountedField(b), solver, jumps
        self.t = torch.tensor(times, dtype=torch.promote_types(x0.dtype, torch.float32), device=x0.device)
        self.parts = len(times) - 1
        self.rows = torch.arange(len(x0), device=x0.device)
        self.y = self._first(x0)
        self.coarse = self.y[1:].clone()

    def run(self, tolerance: float, most: int) -> Corrected:
        """Sweep until every sample has converged, at most so often."""
        x, n = self.y[-1].clone(), len(self.rows)
        sweeps, error = torch.zeros_like(self.rows), self.y.new_full((n,), torch.inf)
        last = error
        for k in range(most):
            before = self.y
            self.y = self._sweep(k)
            flat = (states.flatten(0, 1) for states in (self.y, before))
            moved = distance(*flat).reshape(self.parts + 1, -1).amax(0)
            left = moved * (moved / last).clamp(max=1) if k else moved
            if k + 1 == self.parts:
                left = torch.where(moved.isfinite(), 0.0, left)
            x[self.rows], sweeps[self.rows], error[self.rows] = self.y[-1], k + 1, left
            kept = ~(left <= tolerance)
            if not bool(kept.any()):
                break
            self.rows, self.y, self.coarse = self.rows[kept], self.y[:, kept], self.coarse[:, kept]
            last = moved[kept]
        count = self.X.count.evaluations + self.b.count.evaluations
        sequential = self.X.count.sequential + self.b.count.sequential
        return Corrected(x, sweeps, error, error <= tolerance, count / n, sequential)

    def _first(self, x0: Tensor) -> Tensor:
        """The guess of the map alone: one call for all times, or one after the other."""
        if not self.jumps:
            return self.X.compose(self.t, x0, trajectory=True)
        start, end = torch.zeros(self.parts, dtype=torch.int64), torch.arange(1, self.parts + 1)
        return torch.cat([x0[None], self._carried(x0.expand(self.parts, *x0.shape), start, end)])

    def _sweep(self, k: int) -> Tensor:
        """The guesses after a sweep, the first `k` parts of which are those of the solver already."""
        start = torch.arange(k, self.parts)
        solved = self._along(
            self.b.subset(self._of(len(start))).flow_map(**self.solver), self.y[k:-1], start, start + 1
        )
        y = self.y.clone()
        if not self.jumps:
            for i in range(k, self.parts):
                coarse = self._carried(y[i : i + 1], start[i - k : i - k + 1], start[i - k : i - k + 1] + 1)[0]
                y[i + 1] = coarse + solved[i - k] - self.coarse[i]
                self.coarse[i] = coarse
            return y
        y[k + 1 :] = solved
        first, last = torch.triu_indices(self.parts - k, self.parts - k, 1) + k + 1
        if len(first):
            states = torch.cat([solved[first - k - 1], self.y[first]])
            jumped, plain = self._carried(states, first.repeat(2), last.repeat(2)).chunk(2)
            y.index_add_(0, last.to(y.device), jumped - plain)
        return y

    def _carried(self, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """States `[m, batch, *event]` by the map, from `start` to `end`, `[m]` each, in one call."""
        return self._along(self.X.subset(self._of(len(start))), x, start, end)

    def _of(self, m: int) -> Tensor:
        """The rows of the batch, `m` times."""
        return self.rows.repeat(m)

    def _along(self, X: FlowMap, x: Tensor, start: Tensor, end: Tensor) -> Tensor:
        s, t = (self.t[each.to(self.t.device)].repeat_interleave(len(self.rows)) for each in (start, end))
        return X(s, t, x.reshape(len(s), *x.shape[2:])).reshape(x.shape)


def _joined(parts: list[Corrected], n: int) -> Corrected:
    """The chunks of `n` samples together."""
    x, sweeps, error, converged = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("x", "sweeps", "error", "converged")
    )
    calls = sum(part.calls * len(part.x) for part in parts) / n
    return Corrected(x, sweeps, error, converged, calls, max(part.sequential for part in parts))

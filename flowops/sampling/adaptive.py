r"""Samples to a tolerance: the steps of a sample are halved until two results agree.

A flow map composes, so that $X_{u,t}\circ X_{s,u}-X_{s,t}$ tells what a step is wrong by. With $x^{(k)}$ the end along
$k$ steps, $x^{(2k)}-x^{(k)}$ is this defect at the end of the way, where an error made early has grown to what it
is. What $k,2k,4k$ steps have in common is extrapolated (Romberg's table)

$$ T_{i,0}=x^{(2^ik)},\qquad T_{i,j}=T_{i,j-1}+\frac{T_{i,j-1}-T_{i-1,j-1}}{2^j-1}, $$

and each sample takes the entry of the last row for which this promises least: if errors fall like $h^{j+1}$, what an
entry changed by is $2^{j+1}-1$ times what it is wrong by. So the order is raised for samples whom that helps, and not
for others.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from flowops._arguments import check_state, number, whole
from flowops.maps import FlowMap
from flowops.sampling.cost import in_chunks, leaves
from flowops.sampling.extrapolation import halved
from flowops.sampling.grids import check_grid


@dataclass(frozen=True)
class Adapted:
    """Samples to a tolerance, and what each of them took; `[batch]` but for `x`.

    Attributes:
        x: states at time 1, `[batch, *event]`.
        error: the estimate for the entry of the table that was taken, by the order that it should have.
        reached: whether an entry changed by at most the tolerance when the steps were last halved.
        steps: the most steps that a sample took from 0 to 1.
        order: 1 where the result is that of these steps, 2 and more where it is extrapolated.
        calls: evaluations of networks, coarser passes included.
    """

    x: Tensor
    error: Tensor
    reached: Tensor
    steps: Tensor
    order: Tensor
    calls: Tensor


@torch.no_grad()
def adaptive_sample(
    X: FlowMap,
    x0: Tensor,
    tolerance: float,
    *,
    grid: Sequence[float] = (0.0, 1.0),
    halvings: int = 6,
    order: int = 3,
    chunk: int | None = None,
) -> Adapted:
    r"""Samples along as many steps as each of them needs for its result to change by at most the tolerance.

    The change is a root mean square over the event, relative to $1+|x|$: absolute for small states, relative for large
    ones. Where errors fall with the steps the result is nearer than that. It measures the map against itself. A map
    that composes, continuous in its times, is the flow of its own diagonal $v_{t,t}$, and it is this flow that is
    approached; how far it is from the data, or from a teacher's, no defect can tell. $X_{s,t}(x)=x$ has none and is
    taken at once. Two coarse results that agree by chance are taken too: begin with a finer grid where that must not
    be.

    Args:
        X: the map; condition it before with `X.given(label=...)`, one entry per sample.
        x0: base samples `[batch, *event]`.
        tolerance: of the change.
        grid: steps of the first pass, strictly increasing times from 0 to 1; those that follow have their middles too.
        halvings: at most so many; a sample that has not reached the tolerance then is told in `reached`.
        order: the highest order of an entry, 1 for none that is extrapolated; 3 supposes two powers of the step.
        chunk: samples that go through the map at once; None for as many as `chunk_size` says.

    Raises:
        TypeError, ValueError: for a tolerance that is not positive, a grid or a state that is none.

    Warns:
        UserWarning: if samples have not reached the tolerance; their number is in the sentence.

    Cost: $(2^{i+1}-1)k$ calls of the map for a sample that stops at $2^ik$ steps; one that has stopped costs no more.
    Source: Hairer, Nørsett, Wanner, Solving ODEs I, §II.9 (extrapolation, step by step). Checked by
    `theory_checks/test_adaptive_sampling_reaches_its_tolerance.py`.
    """
    found = adapt(X, x0, tolerance, grid=grid, halvings=halvings, order=order, chunk=chunk)
    if missed := int((~found.reached).sum()):
        warnings.warn(
            f"{missed} of {len(x0)} samples did not reach the tolerance {tolerance:g} in {int(found.steps.max())} "
            f"steps; raise it, or `halvings`.",
            stacklevel=3,
        )
    return found


def adapt(
    X: FlowMap,
    x0: Tensor,
    tolerance: float,
    *,
    grid: Sequence[float],
    halvings: int,
    order: int = 3,
    chunk: int | None = None,
) -> Adapted:
    """As `adaptive_sample`, without a warning."""
    if not isinstance(X, FlowMap):
        raise TypeError(f"`X` must be a FlowMap, got {type(X).__name__}; wrap a network as LearnedMap(network).")
    check_state(x0, "x0")
    if not len(x0):
        raise ValueError("`x0` must hold at least one state, got none; draw some.")
    tolerance, times = check_tolerance(tolerance), check_grid(grid)
    whole(halvings, "halvings"), whole(order, "order")
    parts = [_Table(own, x, times, order).run(tolerance, halvings) for own, x, _ in in_chunks(X, x0, chunk)]
    return Adapted(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Adapted)))


class _Table:
    """The last rows of the tables of all samples that are under way, `[order, batch, *event]` with fewer at first."""

    def __init__(self, X: FlowMap, x0: Tensor, times: list[float], order: int) -> None:
        self.X, self.x0, self.times, self.order = X, x0, times, order
        self.rows = torch.arange(len(x0), device=x0.device)
        self.row = [X.compose(times, x0)]
        self.calls = len(times) - 1

    def run(self, tolerance: float, halvings: int) -> Adapted:
        """Halve the steps until every sample has reached the tolerance, at most so often."""
        x, n, cost = self.row[0].clone(), len(self.rows), leaves(self.X)
        error = torch.full((n,), torch.inf, device=x.device, dtype=x.dtype)
        steps, order, calls = (torch.zeros_like(self.rows) for _ in range(3))
        reached = torch.zeros_like(self.rows, dtype=torch.bool)
        for _ in range(halvings):
            best = self._refined()
            x[self.rows], error[self.rows], order[self.rows] = best.x, best.error, best.order
            steps[self.rows], calls[self.rows] = len(self.times) - 1, self.calls * cost
            arrived = best.change <= tolerance
            reached[self.rows] = arrived
            if bool(arrived.all()):
                break
            self.rows, self.row = self.rows[~arrived], [entry[~arrived] for entry in self.row]
        return Adapted(x, error, reached, steps, order, calls)

    def _refined(self) -> Best:
        """Go on to the next row, and take its best entries."""
        self.times = halved(self.times)
        self.calls += len(self.times) - 1
        X = self.X if len(self.rows) == len(self.x0) else self.X.subset(self.rows)
        self.row, before = next_row(X.compose(self.times, self.x0[self.rows]), self.row, self.order), self.row
        return best_of(self.row, before)


@dataclass(frozen=True)
class Best:
    """The entry that each sample takes from a row of its table; `[batch]` but for `x`.

    Attributes:
        x: the entries, `[batch, *event]`.
        error: what this entry promises to be wrong by.
        order: its place in the row, from 1.
        change: the least by which an entry differs from that of the row before.
    """

    x: Tensor
    error: Tensor
    order: Tensor
    change: Tensor


def next_row(x: Tensor, before: Sequence[Tensor], order: int) -> list[Tensor]:
    """The row of the table that begins with the states `x` and follows the row `before`, of `order` entries at most."""
    row = [x]
    for j, old in enumerate(before[: order - 1], 1):
        row.append(row[-1] + (row[-1] - old) / (2**j - 1))
    return row


def best_of(row: Sequence[Tensor], before: Sequence[Tensor]) -> Best:
    """The entries of a row that promise least, by what they differ from the row before."""
    changes = torch.stack([distance(new, old) for new, old in zip(row, before, strict=False)])
    changes = changes.nan_to_num(nan=torch.inf)
    powers = 2 ** torch.arange(1, len(changes) + 1, device=changes.device) - 1
    error, column = (changes / powers[:, None]).min(0)
    x = torch.stack([*row[: len(changes)]])[column, torch.arange(len(column), device=column.device)]
    return Best(x, error, column + 1, changes.amin(0))


def distance(x: Tensor, y: Tensor) -> Tensor:
    r"""Root mean square over the event of $(x-y)/(1+\max(|x|,|y|))$, `[batch]`."""
    return ((x - y) / (1 + torch.maximum(x.abs(), y.abs()))).reshape(len(x), -1).square().mean(1).sqrt()


def check_tolerance(tolerance: object) -> float:
    """A tolerance.

    Raises:
        TypeError, ValueError: unless it is a positive number.
    """
    value = number(tolerance, "tolerance")
    if value <= 0:
        raise ValueError(f"`tolerance` must be positive, got {tolerance}; pass 1e-2, say.")
    return value

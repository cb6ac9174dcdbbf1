r"""From data back to noise: $X_{1,0}$ along the reversed grid, or the field solved backward, and the way there again.

A map that was trained at both orders of the times is its own inverse as far as it has learned $X_{t,s}\circ
X_{s,t}=\mathrm{id}$ (`residuals.inverse`); a map that was not is none. The flow of a field is invertible whatever was
trained. What comes out is noise of *this* map: that it gives the data back does not say that it is standard normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._arguments import check_state
from flowops.interpolants import Interpolant
from flowops.maps import FlowMap, SolutionOperator, SolverStep
from flowops.sampling.baselines import times_of
from flowops.sampling.cost import CountedField, CountedMap, blocks, chunk_size, in_chunks, per_sample
from flowops.sampling.drawing import Conditioning, Draw, Way, now
from flowops.sampling.grids import check_grid

BACKWARD = ("dopri5", "heun", "euler")
"""The solvers that go back; the exponential ones divide by $\\alpha_1=0$ there."""


@dataclass(frozen=True)
class Inverted:
    r"""The noise of data, and how far it is from giving them back.

    Attributes:
        sampler: the way, in words.
        x0: the states at time 0, `[n, *event]`.
        back: the round trip, from `x0` to time 1 by the same way.
        error: root mean square of `back` less the data, for each sample, `[n]`.
        deviation: of all numbers in the data, the unit of `relative`.
        calls: evaluations of the network per sample to time 0; the way back costs about as many.
        seconds: wall time of both ways.
    """

    sampler: str
    x0: Tensor
    back: Tensor
    error: Tensor
    deviation: float
    calls: float
    seconds: float

    @property
    def relative(self) -> Tensor:
        """`error` in units of the deviation of the data: 1 is as bad as their mean for each of them."""
        return self.error / self.deviation


@torch.no_grad()
def invert(X: FlowMap, x1: Tensor, grid: Sequence[float], *, chunk: int | None = None) -> Tensor:
    r"""$X_{t_1,t_0}\circ\dots\circ X_{t_k,t_{k-1}}(x_1)$, `[batch, *event]`: `sample` backward, without gradients.

    Args:
        X: the map, defined for $s>t$ too; condition it before with `X.given(label=...)`, one entry per sample.
        x1: data `[batch, *event]`.
        grid: strictly increasing times from 0 to 1, as for `sample`.
        chunk: as for `sample`.

    Raises:
        TypeError, ValueError: for a grid, a state or a map that is none.

    Cost: one call of the map per step. Checked by `theory_checks/test_inverse.py`.
    """
    if not isinstance(X, FlowMap):
        raise TypeError(f"`X` must be a FlowMap, got {type(X).__name__}; wrap a network as LearnedMap(network).")
    check_state(x1, "x1")
    times = check_grid(grid)[::-1]
    return torch.cat([own.compose(times, x) for own, x, _ in in_chunks(X, x1, chunk)])


@torch.no_grad()
def round_trip(
    conditioning: Conditioning, x1: Tensor, way: Way, interpolant: Interpolant, *, chunk: int | None = None
) -> Inverted:
    """Data to noise and back by one way, with its error and cost.

    Args:
        conditioning: map and field with the labels and the guidance of these samples.
        x1: data `[n, *event]`.
        way: along the map or by a solver of `BACKWARD`, with its steps.
        interpolant: the schedule.
        chunk: samples computed at once.

    Raises:
        TypeError, ValueError: for a way that has no way back, and no samples.
    """
    check_state(x1, "x1")
    if not len(x1):
        raise ValueError("`x1` must hold at least one state, got none; pass some.")
    (name, forward), back = way.sampler(interpolant), _way_back(way)
    size, parts, calls = chunk_size(x1.shape[1:], chunk), [], 0.0
    begun = now(x1.device)
    for block in blocks(len(x1), size):
        rows = torch.arange(block.start, block.stop, device=x1.device)
        own = conditioning.subset(rows)
        x0, each = back(own, x1[rows], block.start)
        parts.append((x0, forward(own, x0, block.start)[0]))
        calls += each * len(block) / len(x1)
    x0, again = (torch.cat(states) for states in zip(*parts, strict=True))
    return Inverted(
        name, x0, again, rms_error(again, x1), deviation_of(x1), round(calls, 6), now(x1.device) - begun
    )  # fmt: skip


def rms_error(x: Tensor, y: Tensor) -> Tensor:
    """The root mean square of the difference, for each sample, `[n]`."""
    return (x - y).flatten(1).square().mean(1).sqrt()


def deviation_of(x: Tensor) -> float:
    """The deviation of all numbers in the data from their mean."""
    return float(x.double().std(correction=0))


def _way_back(way: Way) -> Draw:
    """The way from time 1 to time 0."""
    for name in ("gamma", "restart"):
        if getattr(way, name) is not None:
            raise ValueError(f"`{name}` must be left out, since noise on the way has no way back; drop it.")
    if way.solver is None:
        return _along_map(way)
    if way.solver not in BACKWARD:
        raise ValueError(
            f"`solver` must be one of {', '.join(BACKWARD)} to go back, got {way.solver!r}, whose step from the data "
            f"divides by zero; pass one of these names."
        )
    return _along_field(way)


def _along_map(way: Way) -> Draw:
    if way.tolerance is not None:
        raise ValueError(
            "`tolerance` must be left out without a solver, since steps are chosen forward only; pass steps."
        )
    times = way.times()

    def draw(conditioning: Conditioning, x1: Tensor, _: int) -> tuple[Tensor, float]:
        X = CountedMap(conditioning.map())
        return X.compose(times[::-1], x1), per_sample(X.count, x1)

    return draw


def _along_field(way: Way) -> Draw:
    method = str(way.solver)
    times = times_of(method, way.steps, way.grid, way.tolerance, None)
    tolerance = 1e-5 if way.tolerance is None else way.tolerance

    def draw(conditioning: Conditioning, x1: Tensor, _: int) -> tuple[Tensor, float]:
        b = CountedField(conditioning.field())
        if times:
            x0 = SolverStep(b, method).compose(times[::-1], x1)
        else:
            x0 = SolutionOperator(b, method=method, rtol=tolerance, atol=tolerance)(1.0, 0.0, x1)
        return x0, per_sample(b.count, x1)

    return draw

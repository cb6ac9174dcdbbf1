r"""Samplers that solve $\dot x_t=b_t(x_t)$ from noise to data: what a flow map is compared with, at equal cost.

`"ddim"` and `"dpm-solver"` treat the linear part of the equation exactly: with the denoiser $D_t(x)=\mathbb E[x_1\mid
I_t=x]$ held constant over a step, $x_t=\tfrac{\alpha_t}{\alpha_s}x_s+(\beta_t-\tfrac{\alpha_t}{\alpha_s}\beta_s)D$,
which in the letters of the papers is $e^{-h}$ with $h=\lambda_t-\lambda_s$, $\lambda=\log(\beta/\alpha)$, but is finite
at both ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from flowops._arguments import check_state, number
from flowops.fields import VelocityField
from flowops.interpolants import Interpolant
from flowops.maps import SolutionOperator, SolverStep
from flowops.maps.schedule_change import angle_dot
from flowops.maps.solver_step import multistep
from flowops.sampling.cost import CountedField, in_chunks, per_sample
from flowops.sampling.grids import check_grid, uniform

SOLVERS: Final = ("euler", "heun", "ddim", "dpm-solver", "dopri5")


@dataclass(frozen=True)
class Solved:
    """Samples, and the evaluations of networks spent on each.

    Attributes:
        x: the states at time 1, `[batch, *event]`.
        calls: evaluations per sample, on average where samples differ; a guided field takes two at a time.
    """

    x: Tensor
    calls: float


@torch.no_grad()
def solve(
    b: VelocityField,
    x0: Tensor,
    method: str = "dopri5",
    *,
    steps: int | None = None,
    grid: Sequence[float] | None = None,
    tolerance: float | None = None,
    interpolant: Interpolant | None = None,
    chunk: int | None = None,
) -> Solved:
    r"""The solution of $\dot x_t=b_t(x_t)$ at time 1 from `x0` at time 0.

    Args:
        b: the field, such as `X.velocity()` of a map; condition it before with `b.given(label=...)`.
        x0: base samples `[batch, *event]`.
        method: `"euler"`, `"heun"`, `"ddim"` (first order), `"dpm-solver"` (DPM-Solver++(2M), second order), each on a
            grid, or the adaptive `"dopri5"`.
        steps: number of equal steps, in place of a grid.
        grid: strictly increasing times from 0 to 1, such as `noise_levels(18, interpolant)`.
        tolerance: relative and absolute tolerance of `"dopri5"`, 1e-5 if not given.
        interpolant: schedule of the training, two terms; wanted by `"ddim"` and `"dpm-solver"`.
        chunk: samples that are solved at once; None for as many as `chunk_size` says. It changes rounding alone, which
            the steps that `"dopri5"` chooses for each sample may follow: its result changes to its tolerance.

    Raises:
        TypeError, ValueError: for an unknown method, an argument that it has no use for, or one that it lacks, and for
            no samples.

    Cost: one evaluation of `b` per step, two for `"heun"`; `"dopri5"` six per step that it tries. Source: Song et al.
    2010.02502 (DDIM); Lu et al. 2211.01095, Alg. 2; Karras et al. 2206.00364 (Heun).
    """
    if not isinstance(b, VelocityField):
        raise TypeError(f"`b` must be a VelocityField, got {type(b).__name__}; pass X.velocity() of a map X.")
    check_state(x0, "x0")
    if not len(x0):
        raise ValueError("`x0` must hold at least one state, got none; draw some.")
    times = times_of(method, steps, grid, tolerance, interpolant)
    if not times:
        tolerance = 1e-5 if tolerance is None else tolerance

        def along(own: VelocityField, x: Tensor) -> Tensor:
            return SolutionOperator(own, method="dopri5", rtol=tolerance, atol=tolerance)(0.0, 1.0, x)
    else:

        def along(own: VelocityField, x: Tensor) -> Tensor:
            if interpolant is None:
                return SolverStep(own, method).compose(times, x)
            return _exponential(own, interpolant, x, times, order=1 if method == "ddim" else 2)

    field = CountedField(b)
    x = torch.cat([along(own, part) for own, part, _ in in_chunks(field, x0, chunk)])
    return Solved(x, per_sample(field.count, x0))


def _exponential(b: VelocityField, interpolant: Interpolant, x: Tensor, times: list[float], *, order: int) -> Tensor:
    """The end of the steps of `maps.multistep`, which divide by the rate of the signal at time 0."""
    clock = torch.tensor(times, dtype=torch.float64, device=x.device)
    if not float(angle_dot(interpolant, clock[0])) > 0:
        raise ValueError(
            f"`interpolant` must have a rising beta / alpha at time 0 for the velocity to say what the data is, "
            f"got {interpolant!r}; use method='heun'."
        )
    return multistep(b, interpolant, list(clock), x, order=order)[-1]


def times_of(
    method: str,
    steps: int | None,
    grid: Sequence[float] | None,
    tolerance: float | None,
    interpolant: Interpolant | None,
) -> list[float]:
    """The times of a solver, none for the adaptive one.

    Raises:
        TypeError, ValueError: for an unknown method, arguments that it lacks or would ignore, times and tolerances that
            are none.
    """
    if method not in SOLVERS:
        raise ValueError(f"`method` must be one of {', '.join(SOLVERS)}, got {method!r}; pass one of these names.")
    adaptive, exponential = method == "dopri5", method in ("ddim", "dpm-solver")
    if adaptive and (steps is not None or grid is not None):
        raise ValueError("`steps` and `grid` must not be given for dopri5, which chooses its own; pass tolerance.")
    if not adaptive and (steps is None) == (grid is None):
        given = "neither" if steps is None else "both"
        raise ValueError(f"`steps` or `grid` must be given for {method}, one of them, got {given}; pass steps=18.")
    if not adaptive and tolerance is not None:
        raise ValueError(f"`tolerance` must not be given for {method}, which has fixed steps; pass method='dopri5'.")
    if exponential and not isinstance(interpolant, Interpolant):
        raise TypeError(f"`interpolant` must be given for {method}, got {type(interpolant).__name__}; pass that of b.")
    if not exponential and interpolant is not None:
        raise ValueError(f"`interpolant` must not be given for {method}, which does not use it; leave it out.")
    if tolerance is not None and number(tolerance, "tolerance") <= 0:
        raise ValueError(f"`tolerance` must be positive, got {tolerance}; pass 1e-5, say.")
    if adaptive:
        return []
    return uniform(steps) if steps is not None else check_grid(grid or ())

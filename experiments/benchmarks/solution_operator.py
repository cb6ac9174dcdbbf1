"""Per-sample solves of a planar mixture: accuracy and time against one bare torchdiffeq call, and the cost of a jvp.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.solution_operator

Eight modes on a ring, linear interpolant, float64. All variants run interleaved in one process; the ratios are those of
median processor seconds. The bare call is dopri5 at rtol = atol = 1e-9 on the time-rescaled system with torchdiffeq's
default norm; errors are against torchdiffeq's dopri8 at 1e-13 with the norm of the worst component.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchdiffeq import odeint

from experiments.benchmarks.page import Headline, about, parser, publish, table
from experiments.benchmarks.timing import medians
from flowops import SolutionOperator, VelocityField, interpolants, problems

BARE, OURS = "bare torchdiffeq dopri5, 1e-9", "SolutionOperator"


def ring(modes: int = 8, radius: float = 4.0, deviation: float = 0.3) -> problems.Problem:
    """An isotropic mixture on a ring."""
    angles = torch.arange(modes, dtype=torch.float64) * 2 * math.pi / modes
    means = radius * torch.stack([angles.cos(), angles.sin()], 1)
    weights = torch.full((modes,), 1 / modes, dtype=torch.float64)
    return problems.gaussian_mixture(weights, means, deviation**2, interpolants.linear())


def bare(b: VelocityField, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """The rescaled system by torchdiffeq as it comes."""
    h = (t - s)[:, None]
    grid = x.new_tensor([0.0, 1.0])
    return odeint(lambda r, y: h * b(s + r * (t - s), y), x, grid, rtol=1e-9, atol=1e-9, method="dopri5")[-1]


def main(words: Sequence[str] | None = None) -> None:
    """Print the table, or write it."""
    each = parser(__doc__)
    each.add_argument("--samples", type=int, default=10_000)
    each.add_argument("--rounds", type=int, default=7)
    args = each.parse_args(words)
    if args.quick:
        args.samples, args.rounds = 20, 1
    generator = torch.Generator().manual_seed(0)
    target = ring()
    s, t = torch.rand(2, args.samples, generator=generator, dtype=torch.float64)
    x = target.sample(s, args.samples, generator=generator, dtype=torch.float64)
    u = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    b, X = target.b, SolutionOperator(target.b)
    with torch.no_grad():
        truth = SolutionOperator(b, method="torchdiffeq:dopri8", rtol=1e-13, atol=1e-13)(s, t, x)
        variants = {
            BARE: lambda: bare(b, s, t, x),
            OURS: lambda: X(s, t, x),
            f"{OURS}.jvp": lambda: X.jvp(s, t, x, u),
        }
        errors = {name: f"{(variants[name]() - truth).abs().max().item():.1e}" for name in (BARE, OURS)}
        seconds = {name: each.processor for name, each in medians(variants, args.rounds).items()}
    rows = [
        (name, f"{value / seconds[BARE]:.2f}", f"{value / seconds[OURS]:.2f}", errors.get(name, ""))
        for name, value in seconds.items()
    ]
    lines = [about(f"{args.samples} samples, {args.rounds} rounds", peers=("torchdiffeq",))]
    lines += [table(("", "time / bare call", "time / solve", "worst error"), rows)]
    lines += ["The same beside torchdiffeq, torchode and diffrax, at seven tolerances: [solvers.md](solvers.md)."]
    ratio = seconds[f"{OURS}.jvp"] / seconds[OURS]
    headline = [Headline("jvp of a solve / the solve", f"{ratio:.2f}", "2.5")]
    publish(args, "Solving for a flow map", __doc__, lines, headline)


if __name__ == "__main__":
    main()

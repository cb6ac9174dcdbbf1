"""Per-sample solves of a planar mixture: accuracy and time against one bare torchdiffeq call, and the cost of a jvp.

    GOMP_SPINCOUNT=0 python -m experiments.benchmarks.solution_operator

All variants run interleaved in one process; the ratios are medians. The bare call is dopri5 at rtol = atol = 1e-9 on
the time-rescaled system with torchdiffeq's default norm.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor
from torchdiffeq import odeint

from experiments.benchmarks.timing import median_times
from flowops import SolutionOperator, VelocityField, interpolants, problems


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    target = ring()
    s, t = torch.rand(2, args.samples, generator=generator, dtype=torch.float64)
    x = target.sample(s, args.samples, generator=generator, dtype=torch.float64)
    u = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    b, X = target.b, SolutionOperator(target.b)
    with torch.no_grad():
        truth = SolutionOperator(b, method="torchdiffeq:dopri8", rtol=1e-13, atol=1e-13)(s, t, x)
        variants = {
            "bare dopri5, 1e-9": lambda: bare(b, s, t, x),
            "SolutionOperator": lambda: X(s, t, x),
            "SolutionOperator.jvp": lambda: X.jvp(s, t, x, u),
        }
        seconds = median_times(variants, args.rounds)
        errors = {name: (run() - truth).abs().max().item() for name, run in list(variants.items())[:2]}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.samples} samples, {args.rounds} rounds")
    print(f"{'':<22} {'time / bare':>12} {'time / solve':>13} {'max error':>10}")
    for name, value in seconds.items():
        error = f"{errors[name]:.1e}" if name in errors else ""
        base, solve = seconds["bare dopri5, 1e-9"], seconds["SolutionOperator"]
        print(f"{name:<22} {value / base:>12.2f} {value / solve:>13.2f} {error:>10}")


if __name__ == "__main__":
    main()

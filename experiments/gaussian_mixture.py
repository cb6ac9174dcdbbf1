"""Exact field and flow map of a Gaussian mixture under any interpolant: every identity verified, a table and a figure.

    python -m experiments.gaussian_mixture --alpha "cos(pi*t/2)" --beta "sin(pi*t/2)" --means "2,0; -1,1.5; -1,-1.5"

writes `residuals.md` (statement, worst and median residual, tolerance, verdict) and `figure.png` (trajectories from
base to data, residuals against the end time) into `--out`, and exits with 1 if an identity fails.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from experiments._mixture_figure import save_mixture
from flowops import FlowMap, Interpolant, VelocityField, interpolants, problems, residuals
from flowops._files import write_text

TOLERANCE = 1e-7


@dataclass(frozen=True)
class Config:
    """What the command line says."""

    interpolant: Interpolant
    means: Tensor
    deviation: float
    weights: Tensor
    samples: int
    seed: int
    out: Path


def parse(arguments: list[str] | None = None) -> Config:
    """Read the command line; every mistake ends in one sentence."""
    parser = argparse.ArgumentParser(prog="experiments.gaussian_mixture", description=__doc__.splitlines()[0])
    parser.add_argument("--interpolant", default="trigonometric", help=f"one of {', '.join(interpolants.NAMED)}")
    parser.add_argument("--alpha", help='base coefficient, e.g. "cos(pi*t/2)"; needs --beta')
    parser.add_argument("--beta", help='data coefficient, e.g. "sin(pi*t/2)"; needs --alpha')
    parser.add_argument("--gamma", help='latent coefficient, e.g. "sqrt(2*t*(1-t))"')
    parser.add_argument("--means", default="2,0; -1,1.8; -1,-1.8", help='modes in the plane, e.g. "2,0; -2,0"')
    parser.add_argument("--deviation", type=float, default=0.35, help="standard deviation of every mode")
    parser.add_argument("--weights", help='weights of the modes, e.g. "0.5, 0.25, 0.25"; equal if not given')
    parser.add_argument("--samples", type=int, default=64, help="trajectories drawn and states checked")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/mixture"), help="folder for the table and the figure")
    args = parser.parse_args(arguments)
    try:
        means = numbers(args.means, "--means", 2)
        weights = numbers(args.weights, "--weights", len(means))[0] if args.weights else torch.ones(len(means))
        if args.samples < 1:
            raise ValueError(f"--samples must be positive, got {args.samples}; pass 64, say.")
        weights = weights.double() / weights.sum()
        config = Config(interpolant(args), means, args.deviation, weights, args.samples, args.seed, args.out)
        problem(config)
        config.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except OSError as error:
        parser.exit(2, f"{parser.prog}: --out must be a folder, {args.out} cannot be made: {error.strerror}.\n")
    return config


def interpolant(args: argparse.Namespace) -> Interpolant:
    """The named interpolant, or the one of the user's expressions."""
    if args.alpha is None and args.beta is None and args.gamma is None:
        return interpolants.named(args.interpolant)
    if args.alpha is None or args.beta is None:
        raise ValueError("An interpolant needs --alpha and --beta; pass both.")
    custom = Interpolant.from_expressions(alpha=args.alpha, beta=args.beta, gamma=args.gamma)
    report = custom.validate()
    report.raise_if_unusable()
    if not report.ok:
        print(report, file=sys.stderr)
    return custom


def numbers(text: str, option: str, width: int) -> Tensor:
    """Rows of `width` numbers, rows separated by semicolons."""
    try:
        rows = [[float(entry) for entry in row.split(",")] for row in text.split(";") if row.strip()]
    except ValueError:
        rows = []
    if not rows or any(len(row) != width for row in rows):
        raise ValueError(f'{option} must be rows of {width} numbers like "2,0; -2,0", got "{text}"; mend the list.')
    return torch.tensor(rows, dtype=torch.float64)


def problem(config: Config) -> problems.Problem:
    """The mixture with its exact field."""
    return problems.gaussian_mixture(config.weights, config.means, config.deviation**2, config.interpolant)


def identities(X: FlowMap, b: VelocityField, x: Tensor, s: Tensor, u: Tensor, t: Tensor) -> dict[str, Tensor]:
    """Every residual for per-sample times, relative to the size of what is compared; derivatives by forward mode."""
    forward_mode = fixed_step(X, b, x, s, t)
    size = 1 + x.abs().amax(1, keepdim=True) + X.dt(s, t, x).abs().amax(1, keepdim=True)
    rows = {
        "identity": residuals.identity(X, t, x) / size,
        "tangent": residuals.tangent(forward_mode, b, t, x) / size,
        "lagrangian": residuals.lagrangian(forward_mode, b, s, t, x) / size,
        "eulerian": residuals.eulerian(forward_mode, b, s, t, x) / size,
        "semigroup": residuals.semigroup(X, s, u, t, x) / size,
        "inverse": residuals.inverse(X, s, t, x) / size,
        "liouville": residuals.liouville(X, b, s, t, x, nodes=128)[:, None] / size,
    }
    return {name: row.detach().abs().amax(1) for name, row in rows.items()}


def fixed_step(X: FlowMap, b: VelocityField, x: Tensor, s: Tensor, t: Tensor) -> FlowMap:
    """The map by enough fixed steps to agree with `X`, stripped of its own rules: `torch.func` passes through it."""
    steps, end = 100, X(s, t, x)
    solved = b.flow_map(method="rk4", steps=steps)
    while steps < 3200 and (solved(s, t, x) - end).abs().max() > TOLERANCE / 100:
        steps *= 2
        solved = b.flow_map(method="rk4", steps=steps)
    return FlowMap.from_function(lambda s, t, x: solved(s, t, x))


def table(rows: dict[str, Tensor]) -> str:
    """The residuals as a Markdown table."""
    lines = ["| identity | worst | median | tolerance | verdict |", "|---|---|---|---|---|"]
    for name, values in rows.items():
        verdict = "holds" if values.max() <= TOLERANCE else "FAILS"
        lines.append(f"| {name} | {values.max():.1e} | {values.median():.1e} | {TOLERANCE:.0e} | {verdict} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Compute, verify, write; returns the exit status."""
    config = parse(arguments)
    # torch warns of its own scripting at the first forward-mode derivative
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
    generator = torch.Generator().manual_seed(config.seed)
    target = problem(config)
    X = target.b.flow_map()
    s, u, t = torch.rand(3, config.samples, generator=generator, dtype=torch.float64)
    x = target.sample(s, config.samples, generator=generator, dtype=torch.float64)
    rows = identities(X, target.b, x, s, u, t)
    report = f"# {config.interpolant!r}, {len(config.means)} modes\n\n{table(rows)}"
    write_text(config.out / "residuals.md", report)
    print(report)
    start = target.sample(0.0, config.samples, generator=generator, dtype=torch.float64)
    grid = torch.linspace(0, 1, 65, dtype=torch.float64)
    paths = X.compose(grid, start, trajectory=True).detach()
    data = target.sample(1.0, 4000, generator=generator)
    save_mixture(config.out / "figure.png", paths, data, t, rows)
    print(f"wrote {config.out / 'residuals.md'} and {config.out / 'figure.png'}")
    return int(any(values.max() > TOLERANCE for values in rows.values()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; no half-written file is left behind")

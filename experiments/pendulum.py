r"""A learned flow map of a pendulum, from its field and states alone: error, energy, areas, inverse.

    python -m experiments.pendulum --out experiments/results/pendulum.md

trains perceptrons by `lmd` and `emd` with `states=`, in place of an interpolant, on swings over $T=4$ in both
directions of time, and holds them to the flow in closed form. About two minutes on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowops import FlowMap, LearnedMap, VelocityField, problems, residuals
from flowops._files import write_text
from flowops.methods import get_method
from flowops.networks import MLP
from flowops.times import FullSquare

HORIZON = 4.0  # the time that the clock of the map calls 1; small swings take 2 pi
ENERGY = 1.6  # of the highest swings; the separatrix is at 2
PENDULUM = problems.pendulum()
RUNS: Mapping[str, Mapping[str, Any]] = {
    "lmd": {"name": "lmd"},
    "emd": {"name": "emd"},
    "lmd, inverse=0.1": {"name": "lmd", "inverse": 0.1},
}


@dataclass(frozen=True)
class Config:
    """What the command line says."""

    steps: int
    batch: int
    width: int
    out: Path


def swings(n: int, generator: torch.Generator) -> Tensor:
    """States below an energy, uniform in the plane: a set that the flow keeps, and its measure too."""
    kept = torch.empty(0, 2)
    while len(kept) < n:
        x = (2 * torch.rand(2 * n, 2, generator=generator) - 1) * torch.tensor([torch.pi, 2.0])
        kept = torch.cat([kept, x[PENDULUM.b.hamiltonian(x) < ENERGY]])
    return kept[:n]


def trained(options: Mapping[str, Any], config: Config) -> LearnedMap:
    """A perceptron that distils the field on the clock of the map."""
    X = LearnedMap(MLP(2, width=config.width, depth=3, generator=torch.Generator().manual_seed(0)))
    b: VelocityField = HORIZON * PENDULUM.b
    method = get_method(**{"law": FullSquare(), **options})
    optimizer = torch.optim.Adam(X.parameters())
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, config.steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(1)
    for _ in range(config.steps):
        x = swings(config.batch, generator)
        optimizer.zero_grad()
        method(X, None, states=x, teacher=b, generator=generator).loss.backward()
        optimizer.step()
        rates.step()
    return X.eval().requires_grad_(False)


def measures(X: FlowMap, n: int = 2_000) -> dict[str, float]:
    """Root mean squares over states, in double precision."""
    X, x = X.double(), swings(n, torch.Generator().manual_seed(2)).double()

    def rms(value: Tensor) -> float:
        return float(value.square().mean().sqrt())

    def exact(t: float) -> Tensor:
        return PENDULUM.X(0.0, HORIZON * t, x)

    H: Callable[[Tensor], Tensor] = PENDULUM.b.hamiltonian
    forward, long = X(0.0, 1.0, x), x
    for _ in range(10):
        long = X(0.0, 1.0, long)
    return {
        "error at T/4": rms(X(0.0, 0.25, x) - exact(0.25)),
        "error at T": rms(forward - exact(1.0)),
        "error at 10 T": rms(long - exact(10.0)),
        "energy drift at T": rms(residuals.energy(X, H, 0.0, 1.0, x)),
        "at 10 T": rms(H(long) - H(x)),
        "symplecticity at T": rms(residuals.symplecticity(X, 0.0, 1.0, x)),
        "inverse at T": rms(residuals.inverse(X, 0.0, 1.0, x)),
    }


def main(arguments: list[str] | None = None) -> None:
    """Train, measure, write the page."""
    parser = argparse.ArgumentParser(prog="experiments.pendulum", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--out", type=Path, default=Path("runs/pendulum.md"))
    config = Config(**vars(parser.parse_args(arguments)))
    torch.set_num_threads(1)
    found = {}
    for label, options in RUNS.items():
        start = time.process_time()
        X = trained(options, config)
        found[label] = {**measures(X), "seconds": time.process_time() - start}
    write_text(config.out, page(found, config))


def page(found: Mapping[str, Mapping[str, float]], config: Config) -> str:
    """What was found, as Markdown."""
    columns = list(next(iter(found.values())))
    lines = [
        "# A learned pendulum",
        "",
        f"`python -m experiments.pendulum`: {config.steps:,} steps of {config.batch} states, a perceptron of three "
        f"layers of {config.width}, float32. Swings of energy below {ENERGY} (separatrix 2), uniform in the plane; "
        f"$T={HORIZON:g}$, small swings take $2\\pi$. Root mean squares over 2,000 states against the flow in closed "
        "form, in which both coordinates are of size one; 10 T is ten steps of the map. Seconds are those of one core.",
        "",
        f"| row | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for label, values in found.items():
        cells = (f"{value:.0f}" if key == "seconds" else f"{value:.2g}" for key, value in values.items())
        lines.append(f"| `{label}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

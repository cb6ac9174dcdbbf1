r"""Is the log-density of a joint map calibrated? `f2d2` on a planar mixture, whose density is known.

    OMP_NUM_THREADS=1 python -m experiments.joint_density --write experiments/results/joint_density.md

Each name in the first column is a run of 4,000 steps, a minute of one core: a perceptron learns the flow of three modes
and the rate of its log-determinant, from the exact field or from samples alone. The density of 4,000 samples of data is
then had in 1, 2, 4 and 8 calls: *claimed*, by the rate; by the *determinant*, the exact one of the same map; and by the
two rules of public code, *Euler*, along the diagonal with its rate (JAX-F2D2), and *forward*, backward in time with the
velocity and the rate of the step that lies ahead (F2D2). The error is the log-density less the exact one: its mean and
its deviation; *mass* is the integral of the density, which should be one. For one step of the claimed density *bound*
is the root of the integral of the squared residual along the interpolant: the root mean square error is at most that,
but for the noise of samples.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from experiments.benchmarks.page import about, table
from flowops import TrainConfig, interpolants, problems, residuals, train
from flowops._files import write_text
from flowops.data.toys import Toy
from flowops.fields.likelihood import base_log_prob
from flowops.maps import JointMap
from flowops.methods import Method, TermPoint, replaced, row
from flowops.methods.point import Differences
from flowops.methods.rows import joint
from flowops.runs import HardwareConfig, LogConfig, NetworkConfig, OptimizerConfig

STEPS = (1, 2, 4, 8)
SAMPLES = 4000
MEANS = [[2.0, 0.0], [-1.0, 1.5], [-1.0, -1.5]]
WEIGHTS, DEVIATION = [0.3, 0.3, 0.4], 0.4
Density = Callable[[JointMap, Tensor, int], Tensor]


def mixture(interpolant: Any) -> problems.Problem[Any, Any]:
    """The law of the data with its exact field."""
    return problems.gaussian_mixture(WEIGHTS, MEANS, DEVIATION**2, interpolant)


PROBLEM = mixture(interpolants.linear())


def data(n: int, source: torch.Generator) -> tuple[Tensor, None]:
    """Samples of the mixture."""
    return PROBLEM.sample_data(n, generator=source, dtype=torch.float32), None


def state_alone(k: TermPoint) -> Differences:
    """The semigroup of the state alone."""
    return {name: d for name, d in joint.joint_semigroup(k).items() if name != "log-det"}


without_rate: Method = row(
    "psd-term",
    joint.JOINT_DIAGONAL,
    replaced(joint.f2d2, form="semigroup", residual=state_alone),
    teacher="optional field",
    options=tuple(option for option in joint.f2d2.row.options if option.name != "form"),
    source="Keely-Ai/JAX-F2D2, psd_term",
    summary="The public progressive term, in which the loss of the rate is commented out.",
)


def claimed(X: JointMap, x: Tensor, k: int) -> Tensor:
    """By the rate that was learned."""
    return X.log_prob(x, steps=k)


def by_determinant(X: JointMap, x: Tensor, k: int) -> Tensor:
    """By the exact determinant of the same steps."""
    total = x.new_zeros(len(x))
    for i in range(k):
        s, t = 1 - i / k, 1 - (i + 1) / k
        total, x = total + X.log_abs_det(s, t, x), X(s, t, x)
    return base_log_prob(None, x) + total


def by_rule(X: JointMap, x: Tensor, k: int, ahead: float) -> Tensor:
    """Backward steps with velocity and rate of the step from each time to `ahead` of a step later."""
    total, h = x.new_zeros(len(x)), 1 / k
    for i in range(k):
        s = 1 - i * h
        total = total - h * X.log_det_rate(s, s + ahead * h, x)
        x = x - h * X.average_velocity(s, s + ahead * h, x)
    return base_log_prob(None, x) + total


DENSITIES: Mapping[str, Density] = {"claimed": claimed, "determinant": by_determinant}
PUBLIC: Mapping[str, Density] = {"Euler": partial(by_rule, ahead=0.0), "forward": partial(by_rule, ahead=1.0)}
RUNS: Mapping[str, tuple[dict[str, Any], bool, Mapping[str, Density]]] = {
    "lagrangian": ({"options": {"form": "lagrangian"}}, True, {**DENSITIES, **PUBLIC}),
    "eulerian": ({"options": {"form": "eulerian"}}, True, DENSITIES),
    "semigroup": ({"options": {"form": "semigroup"}}, True, DENSITIES),
    "semigroup, rate not trained off the diagonal": (
        {"method": "experiments.joint_density:without_rate"},
        True,
        DENSITIES,
    ),
    "lagrangian, from samples": ({"options": {"form": "lagrangian"}}, False, DENSITIES),
}


def trained(out: Path, steps: int, changed: Mapping[str, Any], distilled: bool) -> JointMap:
    """The averaged map of a run in float64."""
    config = TrainConfig(
        "given",
        method="f2d2",
        steps=steps,
        batch=256,
        averages=(0.995,),
        checkpoint_every=0,
        out=str(out),
        network=NetworkConfig("mlp", width=96, depth=3, activation="tanh"),
        optimizer=OptimizerConfig(rate=2e-3, schedule="cosine"),
        hardware=HardwareConfig(threads=1),
        log=LogConfig(telemetry_every=0, tensorboard=False),
    )
    teacher = PROBLEM.b if distilled else None
    run = train(replace(config, **changed), dataset=Toy("mixture", data, problem=mixture), teacher=teacher)
    assert isinstance(run.X, JointMap)
    return run.X.double()


@torch.no_grad()
def judged(name: str, X: JointMap, densities: Mapping[str, Density]) -> list[tuple[str, ...]]:
    """The lines of a run."""
    generator = torch.Generator().manual_seed(1)
    x = PROBLEM.sample_data(SAMPLES, generator=generator, dtype=torch.float64)
    exact, lines = PROBLEM.log_prob(1.0, x), []
    t = torch.rand(SAMPLES, generator=generator, dtype=torch.float64)
    states = PROBLEM.sample(t, SAMPLES, generator=generator, dtype=torch.float64)
    squares = residuals.log_density(X, PROBLEM.b, t, states).square()
    for rule, density in densities.items():
        for k in STEPS:
            error = density(X, x, k) - exact
            same = torch.corrcoef(torch.stack([exact + error, exact]))[0, 1]
            bound = f"{squares.mean().sqrt():.3f}" if (rule, k) == ("claimed", 1) else ""
            numbers = (error.mean(), error.std(), same, error.exp().mean())
            lines.append((name, rule, str(k), *(f"{float(value):.3f}" for value in numbers), bound))
    return lines


def main(words: Sequence[str] | None = None) -> None:
    """Print the table, or write it."""
    each = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    each.add_argument("--write", type=Path, help="file to write instead of printing")
    each.add_argument("--steps", type=int, default=4000, help="training steps of a run")
    args = each.parse_args(words)
    lines = []
    with TemporaryDirectory() as folder:
        for i, (name, (changed, distilled, densities)) in enumerate(RUNS.items()):
            lines += judged(name, trained(Path(folder) / str(i), args.steps, changed, distilled), densities)
            print(f"{name} done", file=sys.stderr, flush=True)
    head = ("terms", "density", "steps", "bias", "deviation", "correlation", "mass", "bound")
    intent = __doc__.split("\n\n")[2].strip()
    page = "\n\n".join(["# Calibration of joint maps", intent, about("1 round"), table(head, lines)]) + "\n"
    if args.write is None:
        print(page)
    else:
        write_text(args.write, page)


if __name__ == "__main__":
    main()

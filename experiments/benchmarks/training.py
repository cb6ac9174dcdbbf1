"""Throughput of a whole training step beside JAX, torchcfm and flow_matching: five rows, eager and compiled.

    python -m experiments.benchmarks.training --write experiments/results/training.md

A step is the draw of everything (rows of a data set of the checkerboard, base samples, times), loss, backward pass and
Adam, on one perceptron with SiLU in float32. JAX does the same work under `jit`: the same network, one forward-mode
pass a loss, optax. Before anything is timed its losses and gradients are held to ours on the same weights and draws, in
float64. torchcfm and flow_matching train the same network with the same optimizer, in eager mode; neither has another
row than flow matching. `lmd` distils the field of a frozen network of the same size; the rows of self-distillation and
`meanflow` see the whole batch off the diagonal. Each number of cores has a process of its own, kept on so many of them,
in which all variants take turns; a time is a median of processor seconds on one core and of the wall clock on more.
Memory is the peak of what loss and backward pass allocate, for JAX what the compiled step holds beside its arguments.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.benchmarks.methods import I, Trainer
from experiments.benchmarks.page import Headline, about, installed, left_out, parser, publish, table
from experiments.benchmarks.timing import environment, medians, pin
from flowops import problems
from flowops.methods import METHODS, get_method
from flowops.networks import MLP
from flowops.pictures import new_figure, save_figure

ROWS = ("fm", "lmd", "lsd", "meanflow", "psd-m")
OURS = ("compiled", "eager")
PEERS = ("torchcfm", "flow_matching")
DATA = 65_536
GOAL = 1.3
GAP = 1e-9  # of losses and gradients in JAX from ours, relative, in float64

Found = dict[str, dict[str, dict[str, float]]]
"""Of each row and variant: seconds of a step, bytes."""


class Ours(Trainer):
    """A row on fresh samples at every step."""

    def __init__(self, name: str, args: argparse.Namespace, compiled: bool) -> None:
        options = {"eta": 0.0} if any(option.name == "eta" for option in METHODS[name].row.options) else {}
        super().__init__(get_method(name, **options), args.batch, args.width, args.depth, compiled, "silu")
        self.data = board()

    def loss(self) -> Tensor:
        """Draw and evaluate."""
        self.x1 = self.data[torch.randint(len(self.data), (len(self.x0),), generator=self.generator)]
        self.x0 = torch.randn(self.x1.shape, generator=self.generator)
        return super().loss()


class Theirs(Ours):
    """Flow matching by the losses of another library; network, data and optimizer are ours."""

    def __init__(self, library: str, args: argparse.Namespace) -> None:
        super().__init__("fm", args, compiled=False)
        if library == "torchcfm":
            from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

            self.sample = ConditionalFlowMatcher(sigma=0.0).sample_location_and_conditional_flow
        else:
            from flow_matching.path import CondOTProbPath

            self.path = CondOTProbPath()
            self.sample = self._on_path

    def _on_path(self, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.path.sample(t=torch.rand(len(x0), generator=self.generator), x_0=x0, x_1=x1)
        return found.t, found.x_t, found.dx_t

    def loss(self) -> Tensor:
        """Their draw along the path, and the mean square."""
        x1 = self.data[torch.randint(len(self.data), (len(self.x0),), generator=self.generator)]
        t, x, velocity = self.sample(torch.randn(x1.shape, generator=self.generator), x1)
        return (self.X.network(t, t, x) - velocity).square().sum(1).mean()


def board() -> Tensor:
    """The samples that all train on."""
    return problems.checkerboard(I).sample_data(DATA, generator=torch.Generator().manual_seed(1))


def gap(name: str, batch: int = 64, width: int = 32, depth: int = 2) -> float:
    """The largest relative distance of loss and gradients in JAX from ours, on the same weights and draw in float64."""
    import jax

    from experiments.benchmarks.in_jax import LOSSES, Point, weights_of

    ours = Ours(name, argparse.Namespace(batch=batch, width=width, depth=depth), compiled=False)
    ours.X.double()
    teacher = ours.teacher if ours.teacher is None else ours.teacher.double()
    x0, x1 = torch.randn(2, batch, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    draw = ours.method.draw(ours.X, I, x0, x1, teacher=teacher, seed=3)
    loss = ours.method.evaluate(ours.X, I, draw, teacher=teacher).loss
    loss.backward()
    term = next(each for each in draw.terms if each is not None)
    network = _network(ours.X)
    frozen = network if teacher is None else _network(teacher)
    gradients = [p.grad for layer in [*network.hidden, network.last] for p in (layer.weight, layer.bias)]
    with jax.enable_x64(True):
        point = Point(term.s.numpy(), term.t.numpy(), x0.numpy(), x1.numpy(), weights_of(frozen))
        value, found = jax.value_and_grad(LOSSES[name])(weights_of(network), point)
        theirs = [torch.tensor(np.asarray(each)) for each in jax.tree.leaves(found)]
    apart = [abs(float(value) / loss.item() - 1)]
    for own, other in zip(gradients, theirs, strict=True):
        other = other.T if other.ndim == 2 else other
        apart.append(float((own - other).norm() / own.norm()))
    return max(apart)


def _network(teacher: torch.nn.Module) -> MLP:
    return next(each for each in teacher.modules() if isinstance(each, MLP))


def variants(name: str, args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], object], Callable[[], float]]]:
    """Of a row the steps that can be made here, each with its memory."""
    for variant in OURS:
        trainer = Ours(name, args, compiled=variant == "compiled")
        yield variant, trainer.step, trainer.peak
    for library in PEERS:
        if name == "fm" and installed(library):
            other = Theirs(library, args)
            yield library, other.step, other.peak
    if installed("jax") and installed("optax"):
        from experiments.benchmarks.in_jax import Step

        networks = [_network(ours) for ours in (Ours(name, args, compiled=False).X, Ours("fm", args, False).X)]
        step = Step(name, networks[0], networks[1], board().numpy(), args.batch)
        yield "JAX", step, lambda: step.memory


def measured(args: argparse.Namespace, cores: int) -> dict[str, Any]:
    """Times and memory of every variant of every row on so many cores, and how far JAX is from ours."""
    pin(cores)
    gaps = {name: gap(name) for name in args.rows} if installed("jax") and installed("optax") else {}
    for name, apart in gaps.items():
        if not apart < GAP:
            raise ValueError(f"`{name}` in JAX must be the loss that ours is, got a distance of {apart:.1e}; mend it.")
    steps, found = {}, {name: {} for name in args.rows}  # type: ignore[var-annotated]
    for name in args.rows:
        for variant, step, memory in variants(name, args):
            print(f"preparing {name}, {variant}, cores: {cores}", file=sys.stderr, flush=True)
            step(), step()
            steps[name, variant], found[name][variant] = step, {"memory": memory()}
    times = medians(steps, args.rounds)
    for (name, variant), seconds in times.items():
        found[name][variant]["seconds"] = seconds.processor if cores == 1 else seconds.wall
    return {"found": found, "gap": max(gaps.values(), default=math.nan)}


def in_processes(args: argparse.Namespace) -> dict[int, dict[str, Any]]:
    """What a process of each number of cores measures."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for cores in args.cores:
            file = Path(folder) / f"{cores}.json"
            words = [sys.executable, "-m", "experiments.benchmarks.training", "--numbers", str(file), "--rows"]
            words += [*args.rows, "--cores", str(cores)]
            words += [
                word for key in ("batch", "width", "depth", "rounds") for word in (f"--{key}", str(args.__dict__[key]))
            ]
            subprocess.run(words, env=environment(cores), check=True)
            found[cores] = json.loads(file.read_text(encoding="utf-8"))
    return found


def throughput(found: Found, unit: str) -> dict[str, dict[str, float]]:
    """Steps a second of each row and variant over those of the unit."""
    return {
        name: {
            variant: each[unit]["seconds"] / numbers["seconds"] for variant, numbers in each.items() if variant != unit
        }
        for name, each in found.items()
    }


def tables(found: dict[int, Found], unit: str) -> Iterator[str]:
    """Throughput, milliseconds and memory."""
    rows = list(next(iter(found.values())))
    for title, digits, number in (
        (f"Throughput over that of {unit}", 2, lambda each, v: each[unit]["seconds"] / each[v]["seconds"]),
        ("Milliseconds a step", 1, lambda each, v: 1e3 * each[v]["seconds"]),
        ("Memory, MB", 1, lambda each, v: each[v]["memory"] / 1e6),
    ):
        lines = []
        for cores, numbers in found.items():
            for variant in (*OURS, *PEERS, "JAX"):
                if not any(variant in each for each in numbers.values()) or (variant == unit and digits == 2):
                    continue
                cells = [f"{number(numbers[r], variant):.{digits}f}" if variant in numbers[r] else "" for r in rows]
                lines.append([f"{variant}, {cores} core{'s' * (cores > 1)}", *cells])
        yield f"## {title}\n\n{table(['', *[f'`{row}`' for row in rows]], lines)}"


def picture(path: Path, found: dict[int, Found], unit: str) -> None:
    """Bars of the throughput, a panel for each number of cores."""
    figure = new_figure(5.0 * len(found), 3.4)
    for axes, (cores, numbers) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        ratios = throughput(numbers, unit)
        for variant, colour in zip((*OURS, *PEERS), ("C0", "C1", "C2", "C3"), strict=True):
            for i, each in enumerate(ratios.values()):
                if variant in each:  # side by side around the place of the row
                    place = i + 0.2 * (list(each).index(variant) - (len(each) - 1) / 2)
                    axes.bar(place, each[variant], 0.2, color=colour, label=None if i else variant)
        axes.axhline(1, color="black", linewidth=0.8)
        axes.axhline(GOAL, color="grey", linewidth=0.8, linestyle="--", label=f"goal {GOAL}")
        axes.set(title=f"{cores} core{'s' * (cores > 1)}", ylabel=f"throughput over {unit}")
        axes.set_xticks(range(len(ratios)), list(ratios))
        axes.set_ylim(0, 1.25 * max(GOAL, *(value for each in ratios.values() for value in each.values())))
        axes.legend(fontsize=7, ncols=3, loc="upper left")
    save_figure(path, figure)


def headlines(found: dict[int, Found], unit: str) -> list[Headline]:
    """Throughput of every row over the unit, by number of cores."""
    return [
        Headline(
            f"training step, {variant}, {cores} core{'s' * (cores > 1)}: throughput over {unit}",
            ", ".join(
                f"`{name}` {each[variant]:.2f}" for name, each in throughput(numbers, unit).items() if variant in each
            ),
            f"{GOAL} on all" if variant == "compiled" and unit == "JAX" else "",
        )
        for cores, numbers in found.items()
        for variant in (*OURS, *PEERS)
        if variant != unit and any(variant in each for each in numbers.values())
    ]


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables, or write them."""
    each = parser(__doc__)
    each.add_argument("--rows", nargs="+", choices=ROWS, metavar="NAME", default=list(ROWS))
    each.add_argument("--batch", type=int, default=4096)
    each.add_argument("--width", type=int, default=512)
    each.add_argument("--depth", type=int, default=4)
    each.add_argument("--rounds", type=int, default=9)
    each.add_argument("--cores", type=int, nargs="+", default=[n for n in (1, 2) if n <= (os.cpu_count() or 1)])
    each.add_argument("--numbers", type=Path, help="measure here, on one number of cores, and write JSON to this file")
    args = each.parse_args(words)
    if args.quick:
        args.batch, args.width, args.depth, args.rounds = 256, 32, 2, 2
    if args.numbers:
        args.numbers.write_text(json.dumps(measured(args, args.cores[0])), encoding="utf-8")
        return
    raw = in_processes(args)
    found: dict[int, Found] = {cores: each["found"] for cores, each in raw.items()}
    last = list(raw.values())[-1]
    unit = "JAX" if "JAX" in found[args.cores[0]][args.rows[0]] else "eager"
    size = f"Batch {args.batch}, perceptron 2-{args.width}x{args.depth}-2, {args.rounds} rounds"
    where = about(size, peers=("jax", "optax", *PEERS), threads=" and ".join(map(str, args.cores)))
    check = (
        []
        if math.isnan(last["gap"])
        else [f"Losses and gradients in JAX and here differ by {last['gap']:.0e} at most."]
    )
    lines = [where, *left_out(("jax", "optax", *PEERS)), *check]
    if args.write:
        picture(args.write.with_suffix(".png"), found, unit)
        lines.append(f"![throughput of a training step]({args.write.stem}.png)")
    publish(args, "Throughput of a training step", __doc__, [*lines, *tables(found, unit)], headlines(found, unit))


if __name__ == "__main__":
    main()

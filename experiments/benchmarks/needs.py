"""What a run on 8 and on 64 devices needs beside time: data, memory, sums of gradients, and where each stops scaling.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.needs

Three kinds of figures, told apart in the tables. *Measured*: processor seconds of one core, medians. *Counted*:
operations and bytes of a step of the network in bfloat16, uncompiled, on tensors without values. *Arithmetic*:
from these two and assumptions about a device that are arguments of this script, nominal ones of an H200 by default.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from experiments.benchmarks.timing import medians
from flowops import LearnedMap, interpolants
from flowops._keys import normal_like
from flowops.couplings import OptimalTransport
from flowops.data.rows import permutation
from flowops.methods import get_method
from flowops.networks import MLP, UNet
from flowops.runs import HardwareConfig
from flowops.training.loss_module import LossModule

IMAGES = 1_281_167
SHARED: dict[str, Any] = {"blocks": 3, "attention": (16, 8), "dropout": 0.1, "magnitude_preserving": True}
COPIES = 4 + 4 + 4 + 8 + 8  # bytes for a parameter: itself, gradient, bucket of DDP, Adam, two averages


@dataclass(frozen=True)
class Run:
    """A recipe: its events, how many bytes a stored sample has, samples of a device and step, network and loss."""

    event: tuple[int, ...]
    stored: int
    batch: int
    network: dict[str, Any]
    loss: dict[str, Any] = field(default_factory=dict)


RUNS = {
    "ImageNet-32": Run(
        (3, 32, 32), 3 * 32 * 32, 128, {"channels": 192, "multipliers": (1, 2, 2), "guidance": True, **SHARED},
        {"guidance": (1.0, 4.0)},
    ),
    "latents 4 x 64 x 64": Run(
        (4, 64, 64), 2 * 4 * 64 * 64, 32, {"channels": 192, "multipliers": (1, 2, 3, 4), **SHARED}
    ),
}  # fmt: skip


class Counter(TorchDispatchMode):
    """Adds up operations of matrix products and convolutions, and the bytes that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.alive, self.peak, self.seen = 0, 0, 0, WeakIdKeyDictionary()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        out = function(*args, **(kwargs or {}))
        if (packet := function._overloadpacket) in flop_registry:
            self.operations += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        for value in tree_leaves(out):
            if isinstance(value, Tensor) and (storage := value.untyped_storage()) not in self.seen:
                self.seen[storage] = True
                self.alive += storage.nbytes()
                self.peak = max(self.peak, self.alive)
                weakref.finalize(storage, self._gone, storage.nbytes())
        return out

    def _gone(self, size: int) -> None:
        self.alive -= size


@dataclass(frozen=True)
class Counts:
    """Of a network: parameters, operations a sample and step, bytes alive at most a sample, and whatever the batch."""

    parameters: int
    operations: float
    activations: float
    rest: float


def counted(run: Run) -> Counts:
    """A step of two batch sizes on tensors without values, and the line through them."""
    peaks, (few, many) = {}, (4, 8)
    for n in (few, many):
        with FakeTensorMode():
            network = UNet(run.event, labels=1000, **run.network)
            X, I, method = LearnedMap(network), interpolants.linear(), get_method("lsd", label_dropout=0.1, **run.loss)
            module = LossModule(X, method, I, hardware=HardwareConfig(precision="bf16")).train()
            x = torch.randn(n, *run.event)
            draw = method.draw(X, I, x, x, labels=torch.zeros(n, dtype=torch.long), seed=0)
            with Counter() as counter:
                module(draw).loss.backward()
            peaks[n], operations = counter.peak, counter.operations
            parameters = sum(p.numel() for p in network.parameters())
    slope = (peaks[many] - peaks[few]) / (many - few)
    return Counts(parameters, operations / many, slope, peaks[few] - few * slope - 4 * parameters)


def measured(rounds: int) -> dict[str, float]:
    """Seconds on one core of what the host does for a step."""
    X, I, method = LearnedMap(MLP(2)), interpolants.linear(), get_method("lsd")
    numbers = {n: torch.zeros(n, 1) for n in (1024, 8192, 65536)}
    noise = torch.empty(128, 3, 32, 32)
    points = {n: torch.randn(2, n, 3072, generator=torch.Generator().manual_seed(n)) for n in (256, 512, 1024)}
    with tempfile.TemporaryDirectory() as folder:
        maps = {size: _mapped(Path(folder) / f"{size}.npy", size) for size in (3072, 32768)}
        index = torch.randperm(8192, generator=torch.Generator().manual_seed(0))

        def read(size: int) -> Tensor:
            return maps[size][index[:1024]]

        def permute() -> Tensor:
            permutation.cache_clear()
            return permutation(IMAGES, "epoch", 0, 0)

        def couple(n: int) -> object:
            return OptimalTransport()(*points[n])

        def draw(n: int) -> object:
            return method.draw(X, I, numbers[n], numbers[n], seed=0)

        variants: dict[str, Callable[[], object]] = {
            **{f"1,024 rows of {size:,} bytes from a mapped file": partial(read, size) for size in maps},
            "order of an epoch of ImageNet": permute,
            "noise of 128 images of 3 x 32 x 32": lambda: normal_like(noise, "noise", 0),
            **{f"one number a sample of a joint batch of {n:,}, whole": partial(draw, n) for n in numbers},
            **{f"optimal transport of {n:,} images of 3 x 32 x 32": partial(couple, n) for n in points},
        }
        for work in variants.values():
            work(), work()  # the first ones are others
        return {name: seconds.processor for name, seconds in medians(variants, rounds).items()}


def _mapped(file: Path, size: int) -> Tensor:
    rows = np.lib.format.open_memmap(file, "w+", np.uint8, (8192, size))
    rows[:] = np.random.default_rng(0).integers(0, 256, rows.shape, np.uint8)
    return torch.from_numpy(rows)


def needs(run: Run, counts: Counts, host: dict[str, float], devices: int, args: argparse.Namespace) -> list[str]:
    """A column of the table of needs."""
    step = run.batch * counts.operations / (args.tflops * 1e12)
    size = min((3072, 32768), key=lambda size: abs(size - run.stored))
    reading = run.batch * host[f"1,024 rows of {size:,} bytes from a mapped file"] / 1024 * run.stored / size
    gradient = 4 * counts.parameters
    bandwidth = (args.inside if devices <= 8 else args.between) * 1e9
    reducing = 2 * (devices - 1) / devices * gradient / bandwidth
    states = COPIES * counts.parameters + counts.rest
    return [
        f"{devices * run.batch:,}",
        f"{1e3 * step:.0f} ms",
        f"{devices * run.batch / step:,.0f}",
        f"{run.batch / step * run.stored / 1e6:.1f} MB/s",
        f"{reading / step:.2%}",
        f"{devices / math.gcd(devices, 16):.0f}",
        f"{states / 1e9:.1f} GB",
        f"{run.batch * counts.activations / 1e9:.1f} GB",
        f"{gradient / 1e6:.0f} MB",
        f"{1e3 * reducing:.1f} ms",
        f"{reducing / step:.1%}",
    ]


ROWS = (
    "joint batch",
    "step, at the assumed rate",
    "samples a second",
    "read by each device",
    "of one core for that",
    "noise drawn, in units of the own rows",
    "weights, gradients, optimizer, averages",
    "activations of the share",
    "gradient",
    "sum of gradients",
    "in units of a step",
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tflops", type=float, default=300, help="10^12 operations a second that a device is assumed to do"
    )
    parser.add_argument("--inside", type=float, default=450, help="GB/s of a device to others of its machine")
    parser.add_argument("--between", type=float, default=50, help="GB/s of a device to those of other machines")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    host = measured(args.rounds)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} thread, {os.cpu_count()} cores, {platform.machine()}\n"
    )
    print("| measured, one core | ms |\n|---|---|")
    print("\n".join(f"| {name} | {1e3 * seconds:.2f} |" for name, seconds in host.items()))
    counts = {name: counted(run) for name, run in RUNS.items()}
    print(
        "\n| counted | parameters | operations a sample and step | bytes alive a sample | whatever the batch |\n"
        + "|---" * 5
        + "|"
    )
    for name, c in counts.items():
        print(
            f"| {name} | {c.parameters / 1e6:.1f} M | {c.operations / 1e9:.0f} G | {c.activations / 1e6:.0f} MB | "
            f"{c.rest / 1e9:.1f} GB |"
        )
    columns = [(name, devices) for name in RUNS for devices in (8, 64)]
    cells = [needs(RUNS[name], counts[name], host, devices, args) for name, devices in columns]
    print(f"\n| arithmetic | {' | '.join(f'{name}, {devices}' for name, devices in columns)} |\n" + "|---" * 5 + "|")
    for row, values in zip(ROWS, zip(*cells, strict=True), strict=True):
        print(f"| {row} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()

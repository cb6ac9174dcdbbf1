"""What a training step costs each of several processes beside the network: weak scaling, simulated on one machine.

    python -m experiments.benchmarks.scaling

Every process has the same number of samples of every step, so the joint batch grows with their number. Each makes its
draws in two ways in turn: all of the joint batch, of which it then takes its rows, as until now, and its rows alone.
Told are processor seconds, which do not count what a process waits for a core, bytes of images read, and the wall clock
of a whole step of a tiny network with the sum of the gradients over gloo, which does. The images are random bytes in a
file that is mapped into memory, as those of ImageNet-32 are.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn

from flowops import LearnedMap, interpolants
from flowops.couplings import COUPLINGS
from flowops.data import Images, Split
from flowops.methods import Draw, get_method
from flowops.networks import MLP
from flowops.runs.assembly import Assembly
from flowops.training.joint_batch import JointBatches
from flowops.training.loss_module import LossModule

EVENT = (3, 32, 32)


@dataclass(frozen=True)
class Costs:
    """Of one process for a step: processor seconds and bytes of its draws, seconds of the step by the wall clock."""

    drawing: float
    read: int
    step: float


class Counted(Split):
    """A split that adds up the bytes that are read of it."""

    read = 0

    def take(self, index: Tensor) -> Split:
        """These rows."""
        Counted.read += len(index) * self.pixels[0].nbytes
        return super().take(index)


def write_images(file: Path, count: int) -> None:
    """Random bytes in place of images, with labels beside them."""
    pixels = np.lib.format.open_memmap(file, "w+", np.uint8, (count, *EVENT))
    random = np.random.default_rng(0)
    for start in range(0, count, 10_000):
        pixels[start : start + 10_000] = random.integers(0, 256, pixels[start : start + 10_000].shape, np.uint8)


def assembled(file: Path, coupling: str) -> tuple[Assembly, LossModule]:
    """A tiny network on the images of a file."""
    pixels = torch.from_numpy(np.load(file, mmap_mode="c"))
    split = Counted(pixels, torch.arange(len(pixels)) % 10)
    data = Images("random", {"train": split}, provenance="random bytes", flips=True, classes=tuple("0123456789"))
    network = MLP(EVENT, width=16, depth=1, labels=10, generator=torch.Generator().manual_seed(0))
    I, method = interpolants.linear(), get_method("lsd", label_dropout=0.1)
    pairs = None if coupling == "independent" else COUPLINGS.make(coupling, options={"condition_weight": 1e6})
    return Assembly(I, data, network, method, pairs, True), LossModule(LearnedMap(network), method, I)


def drawer(file: Path, n: int, part: tuple[int, int], coupling: str, whole: bool) -> tuple[LossModule, Callable]:
    """A loss, and the draws of a step for one process: made whole and cut, or its rows alone."""
    assembly, module = assembled(file, coupling)
    batches = JointBatches(n, 0, assembly, module, torch.device("cpu"), 0, (0, 1) if whole else part)
    batches.close()  # nothing ahead of time here: the work of its thread is done, and measured, below

    def draw(step: int) -> Draw:
        joint = batches.draw(batches.prepare(step)(), step)
        return joint.part(*part) if whole else joint

    return module, draw


def measured(file: Path, n: int, part: tuple[int, int], coupling: str, steps: int) -> dict[bool, Costs]:
    """The medians over the steps, of both ways in turn."""
    ways = {whole: drawer(file, n, part, coupling, whole) for whole in (True, False)}
    seconds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    read = dict.fromkeys(ways, 0)
    for step in range(steps + 2):
        for whole, (module, draw) in ways.items():
            distributed.barrier()
            before, start, begun = Counted.read, time.process_time(), time.perf_counter()
            drawn = draw(step)
            seen, used = Counted.read - before, time.process_time() - start
            module.zero_grad()
            module(drawn).loss.backward()
            gradient = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
            distributed.all_reduce(gradient)
            if step >= 2:  # the first ones warm up
                seconds[whole].append((used, time.perf_counter() - begun))
                read[whole] = seen
    result = {}
    for whole, pairs in seconds.items():
        drawing, whole_step = (statistics.median(values) for values in zip(*pairs, strict=True))
        result[whole] = Costs(drawing, read[whole], whole_step)
    return result


def work(rank: int, count: int, folder: Path, args: argparse.Namespace) -> None:
    """One process of several, which leaves its costs in a file."""
    torch.set_num_threads(1)
    meeting = folder / f"meeting-{count}"
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    found = measured(folder / "images.npy", args.batch * count, (rank, count), args.coupling, args.steps)
    (folder / f"{count}-{rank}").write_bytes(pickle.dumps(found))
    distributed.destroy_process_group()


def run(count: int, folder: Path, args: argparse.Namespace) -> list[dict[bool, Costs]]:
    """The costs of each of `count` processes."""
    spawn(work, (count, folder, args), nprocs=count)
    return [pickle.loads((folder / f"{count}-{rank}").read_bytes()) for rank in range(count)]


def table(found: dict[int, list[dict[bool, Costs]]], batch: int) -> str:
    """Means over the processes, and their ratios to one process."""

    def mean(costs: list[dict[bool, Costs]], whole: bool, name: str) -> float:
        return statistics.mean(getattr(each[whole], name) for each in costs)

    one = next(iter(found.values()))
    head = (
        "processes",
        "joint batch",
        *("whole: ms", "ratio", "MB read"),
        *("own: ms", "ratio", "MB read"),
        "step: ms",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for count, costs in found.items():
        cells = [str(count), str(batch * count)]
        for whole in (True, False):
            drawing = mean(costs, whole, "drawing")
            ratio = drawing / mean(one, whole, "drawing")
            cells += [f"{1e3 * drawing:.2f}", f"{ratio:.2f}", f"{mean(costs, whole, 'read') / 1e6:.3f}"]
        lines.append(f"| {' | '.join(cells)} | {1e3 * mean(costs, False, 'step'):.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--batch", type=int, default=128, help="samples of each process")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--coupling", choices=list(COUPLINGS), default="independent")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "images.npy", args.images)
        found = {count: run(count, Path(folder), args) for count in args.processes}
    print(
        f"torch {torch.__version__}, one thread for each process, {os.cpu_count()} cores, {args.batch} images of "
        f"{EVENT} for each process, {args.coupling} pairs, medians of {args.steps} steps, means over the processes\n"
    )
    print(table(found, args.batch))


if __name__ == "__main__":
    main()

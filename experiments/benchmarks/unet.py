"""Cost of a training step on images relative to flow matching, eager and compiled, on the default U-Net.

    GOMP_SPINCOUNT=0 python -m experiments.benchmarks.unet

Steps, ratios and memory are those of `experiments.benchmarks.methods`, with a U-Net and random 32x32 images in place of
the perceptron and the checkerboard. `eta=0` is the whole batch off the diagonal.
"""

from __future__ import annotations

import argparse
import gc
import os

import torch

from experiments.benchmarks.methods import Trainer, variants
from experiments.benchmarks.timing import median_times
from flowops import LearnedMap
from flowops.methods import METHODS, Method
from flowops.networks import UNet


class ImageTrainer(Trainer):
    """A U-Net and its optimizer, the same for every variant."""

    def __init__(self, method: Method, batch: int, size: int, compiled: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.X = LearnedMap(UNet((3, size, size), generator=generator))
        self.method, self.teacher, self.generator = method, None, generator
        self.optimizer = torch.optim.Adam(self.X.parameters(), 1e-4, fused=True)
        self.x0, self.x1 = torch.randn(2, batch, 3, size, size, generator=generator)
        self.evaluate = method.compiled() if compiled else method.evaluate


def measure(args: argparse.Namespace) -> list[str]:
    """The rows of the table."""
    chosen = {name: method for name, method in variants(args.methods).items() if method.row.teacher == ""}
    compiled = set(args.compiled)
    keys = [(name, False) for name in chosen] + [(name, True) for name in chosen if name in compiled]
    trainers = {(name, now): ImageTrainer(chosen[name], args.batch, args.size, now) for name, now in keys}
    peaks = {}
    for key, trainer in trainers.items():
        print(f"preparing {key[0]}{', compiled' if key[1] else ''}", flush=True)
        trainer.step()
        trainer.step()
        peaks[key] = trainer.peak()
    gc.collect()
    times = median_times({key: trainer.step for key, trainer in trainers.items()}, args.rounds)

    def cells(name: str) -> list[str]:
        pairs = [(values, (name, now)) for values in (times, peaks) for now in (False, True)]
        return [f"{values[key] / values['fm', False]:.2f}" if key in values else "" for values, key in pairs]

    return [f"| `{name}` | {' | '.join(cells(name))} |" for name in chosen]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), metavar="NAME", default=["meanflow", "lsd", "psd-m"]
    )
    parser.add_argument("--compiled", nargs="*", metavar="NAME", default=["fm", "meanflow", "lsd", "psd-m"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with torch._dynamo.config.patch(recompile_limit=256):  # every row compiles the same code object
        rows = measure(args)
    print(
        f"\ntorch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()}, batch {args.batch}, "
        f"UNet((3, {args.size}, {args.size})), {args.rounds} rounds, seed 0\n"
    )
    print("| method | time eager | time compiled | memory eager | memory compiled |\n|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()

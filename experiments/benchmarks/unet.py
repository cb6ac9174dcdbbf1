"""Cost of a training step on images relative to flow matching, eager and compiled, on the default U-Net.

    GOMP_SPINCOUNT=0 OMP_NUM_THREADS=1 python -m experiments.benchmarks.unet --write experiments/results/unet.md

Steps, ratios and memory are those of `experiments.benchmarks.methods`, with a U-Net and random 32x32 images in place of
the perceptron and the checkerboard. `eta=0` is the whole batch off the diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from experiments.benchmarks.methods import Trainer, headlines, measured, rows, variants
from experiments.benchmarks.page import about, parser, publish
from flowops import LearnedMap
from flowops.methods import METHODS, Method
from flowops.networks import UNet

OWN = [name for name, method in METHODS.items() if method.row.teacher == ""]
"""The rows that need no teacher."""
GOALS = {("lsd", True): "1.40", ("meanflow, eta=0", False): "2.4", ("psd-m, eta=0", False): "2.1"}


class ImageTrainer(Trainer):
    """A U-Net and its optimizer, the same for every variant."""

    def __init__(self, method: Method, batch: int, size: int, compiled: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.X = LearnedMap(UNet((3, size, size), generator=generator))
        self.method, self.teacher, self.generator = method, None, generator
        self.optimizer = torch.optim.Adam(self.X.parameters(), 1e-4, fused=True)
        self.x0, self.x1 = torch.randn(2, batch, 3, size, size, generator=generator)
        self.evaluate = method.compiled() if compiled else method.evaluate


def main(words: Sequence[str] | None = None) -> None:
    """Print the table, or write it."""
    each = parser(__doc__)
    each.add_argument("--methods", nargs="+", choices=OWN, metavar="NAME", default=["meanflow", "lsd", "psd-m"])
    each.add_argument("--compiled", nargs="*", metavar="NAME", default=["fm", "meanflow", "lsd", "psd-m"])
    each.add_argument("--batch", type=int, default=8)
    each.add_argument("--size", type=int, default=32)
    each.add_argument("--rounds", type=int, default=7)
    args = each.parse_args(words)
    if args.quick:
        args.methods, args.compiled, args.batch, args.size, args.rounds = ["lsd"], [], 2, 8, 1
    chosen = variants(args.methods)
    keys = [(name, False) for name in chosen] + [(name, True) for name in chosen if name in args.compiled]
    found = measured({key: ImageTrainer(chosen[key[0]], args.batch, args.size, key[1]) for key in keys}, args.rounds)
    size = f"Batch {args.batch}, UNet((3, {args.size}, {args.size})), {args.rounds} rounds, seed 0"
    lines = headlines(found, GOALS, "U-Net")
    publish(args, "Cost of a training step on images", __doc__, [about(size), rows(found)], lines)


if __name__ == "__main__":
    main()

"""A small classifier of CIFAR-10, whose features take the place of Inception's where those weights cannot be had.

    python -m experiments.cifar10_features --data folder:cifar10 --minutes 8 --out runs/cifar10_features

writes `classifier.safetensors` and `features.md` (accuracy, and the Fréchet distance between real images: what a
perfect model scores at that number of samples) into `--out`. Afterwards

    flowops evaluate RUN --features experiments.cifar10_features:extractor

measures a run by these features.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments._classifier import Classifier, classifier_extractor, save_classifier
from flowops._files import write_text
from flowops._keys import generator, key
from flowops.data import Dataset, open_dataset, to_uint8
from flowops.metrics import Extractor, frechet_distance, statistics

OUT = Path("runs/cifar10_features")
FILE = "classifier.safetensors"
RATE = 0.01  # of AdamW, at its largest


@dataclass(frozen=True)
class Config:
    """What the command line says."""

    data: Dataset
    size: int
    epochs: int
    minutes: float
    batch: int
    width: int
    test: int
    sizes: tuple[tuple[int, int], ...]
    seed: int
    device: str
    out: Path


def extractor(weights: Path | str = OUT / FILE, *, device: torch.device | str = "cpu") -> Extractor:
    """The features of the classifier that an earlier call wrote, by name `experiments.cifar10_features:extractor`."""
    return classifier_extractor(weights, device=device)


def parse(arguments: list[str] | None = None) -> Config:
    """Read the command line; every mistake ends in one sentence."""
    parser = argparse.ArgumentParser(prog="experiments.cifar10_features", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a labelled set of images with a test split, e.g. folder:PATH")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="the rate falls to zero at this time")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--width", type=int, default=32, help="channels of the first layer, a quarter of the features")
    parser.add_argument("--test", type=int, default=10_000, help="test images")
    parser.add_argument("--sizes", type=int, nargs="*", default=[50_000, 10_000, 5000, 5000], help="pairs train, test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(arguments)
    try:
        if min(args.epochs, args.minutes, args.batch) <= 0 or len(args.sizes) % 2:
            raise ValueError("--epochs, --minutes and --batch must be positive and --sizes come in pairs; mend them.")
        data = open_dataset(args.data)
        if not data.classes or data.size is None or len(data.event) != 3:
            raise ValueError(f"--data must be labelled images, got {data}; choose another set.")
        data.reference(args.test, split="test")
        sizes = tuple(zip(args.sizes[::2], args.sizes[1::2], strict=True))
        args.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError, OSError, ImportError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    shared = {name: getattr(args, name) for name in ("epochs", "minutes", "batch", "width", "test", "seed")}
    return Config(data.to(args.device), data.size, sizes=sizes, device=args.device, out=args.out, **shared)


def augmented(x: Tensor, step: int, seed: int) -> Tensor:
    """Random shifts by up to an eighth of the side, with the edge mirrored; the data set mirrors the image itself."""
    n, _, height, width = x.shape
    draws, margin = generator("shifts", seed, step), height // 8
    down, right = torch.randint(2 * margin + 1, (2, n), generator=draws).to(x.device)
    rows = (down[:, None] + torch.arange(height, device=x.device))[:, :, None]
    columns = (right[:, None] + torch.arange(width, device=x.device))[:, None, :]
    padded = F.pad(x, (margin,) * 4, mode="reflect").permute(0, 2, 3, 1)
    return padded[torch.arange(n, device=x.device)[:, None, None], rows, columns].permute(0, 3, 1, 2)


def train(config: Config) -> tuple[Classifier, int]:
    """The classifier and the steps taken: AdamW, the rate rising over a fifth of the budget and falling to zero."""
    data = config.data
    source = torch.Generator().manual_seed(config.seed)
    network = Classifier(data.event, len(data.classes), width=config.width, generator=source)
    network.to(config.device).to(memory_format=torch.channels_last)  # half again as fast on a CPU
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    steps, begun, step, spent = config.epochs * max(1, config.size // config.batch), time.monotonic(), 0, 0.0
    while step < steps and spent < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(spent / 0.2, (1 - spent) / 0.8)
        _, x, labels = data.batch(step, config.batch, seed=key("classifier", config.seed))
        x = augmented(x, step, config.seed).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(network(x), cast(Tensor, labels), label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        spent = max(step / steps, (time.monotonic() - begun) / (60 * config.minutes))
        if step % 200 == 0:
            print(f"step {step}, {100 * spent:.0f} % of the budget, loss {loss.item():.3f}", flush=True)
    return network.eval(), step


@torch.no_grad()
def accuracy(network: Classifier, config: Config) -> float:
    """The share of the test images whose largest logit is that of their label."""
    _, held, labels = config.data.reference(config.test, split="test")
    found = torch.cat([network(x).argmax(1) for x in held.split(500)])
    return found.eq(cast(Tensor, labels)).double().mean().item()


def self_check(features: Extractor, config: Config) -> list[str]:
    """Rows of a table: the distance between training and test images, for each pair of numbers of images."""
    rows = ["| extractor | train images | test images | Fréchet distance |", "|---|---|---|---|"]
    for train, test in config.sizes:
        pair = config.data.reference(train), config.data.reference(test, split="test")
        a, b = (statistics(to_uint8(held.x1), features, provenance=config.data.provenance) for held in pair)
        rows.append(f"| {features.name} | {train} | {test} | {frechet_distance(a, b).item():.4f} |")
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Train, write, and measure real images against real images."""
    config = parse(arguments)
    network, steps = train(config)
    share = accuracy(network.half().float(), config)  # of the weights as they are stored
    about = {"data": config.data.provenance, "accuracy": f"{share:.4f}", "test": str(config.test)}
    about |= {"seed": str(config.seed), "steps": str(steps), "batch": str(config.batch), "torch": torch.__version__}
    file = config.out / FILE
    save_classifier(network, file, about=about)
    features = extractor(file, device=config.device)
    found = f"accuracy on {config.test} test images: {100 * share:.2f} % after {steps} steps"
    text = "\n".join([found, "", *self_check(features, config), ""])
    write_text(config.out / "features.md", text)
    print(f"{text}wrote {file}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; no half-written file is left behind")

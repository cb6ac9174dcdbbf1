"""A certificate of 1,000 samples of a distilled planar map: what it costs, and how near its numbers are to the truth.

    python -m experiments.benchmarks.certificates --write experiments/results/certificates.md

A small perceptron is distilled (`lmd`) from the field of a mixture whose means are off by a twentieth. It is certified
against that field, in one step and in two, in float32, and split against the exact mixture. Times are processor
seconds. `Rank` is Spearman's correlation of the sizes of estimate and error, `bound` the median of bound over error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from experiments.benchmarks.page import Headline, about, parser, publish, table
from flowops import FlowMap, LearnedMap, interpolants, problems
from flowops.certificates import Certificate, certify, decompose, linearized_error, self_distillation_bounds
from flowops.certificates import wasserstein_bounds as bounds_of_laws
from flowops.methods import get_method
from flowops.networks import MLP

WEIGHTS, MEANS, VARIANCE = (0.2, 0.5, 0.3), ((1.5, 0.0), (-1.0, 1.0), (0.0, -1.5)), 0.3
OFF = 0.05  # of the teacher's means
BATCH, RATE = 256, 2e-3


def mixture(off: float = 0.0) -> problems.Problem[Any, Any]:
    """Standard normal to three modes."""
    means = torch.tensor(MEANS, dtype=torch.float64) + off
    return problems.gaussian_mixture(list(WEIGHTS), means, VARIANCE, interpolants.linear())


def distilled(teacher: problems.Problem[Any, Any], steps: int) -> LearnedMap:
    """A map learned from the field of the teacher."""
    source = torch.Generator().manual_seed(1)
    network = MLP(2, width=96, depth=3, activation="silu", octaves=2, generator=torch.Generator().manual_seed(0))
    X, method = LearnedMap(network), get_method("lmd")
    optimizer = torch.optim.Adam(X.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    assert teacher.interpolant is not None
    for step in range(steps):
        x0, x1 = teacher.sample_base(BATCH, generator=source), teacher.sample_data(BATCH, generator=source)
        loss = method(X, teacher.interpolant, x0, x1, teacher=teacher.b, step=step, seed=0).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return X.requires_grad_(False)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its processor seconds."""
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's."""
    ranks = torch.stack([v.argsort().argsort().double() for v in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def line(name: str, estimate: Tensor, error: Tensor, seconds: float, bound: Tensor | None = None) -> list[str]:
    """A row: seconds, effectivities, rank correlation, the bound."""
    sizes, truth = (v.double().norm(dim=1) for v in (estimate, error))
    low, middle, high = torch.quantile(sizes / truth, torch.tensor([0.05, 0.5, 0.95]).double()).tolist()
    whole = float(sizes.square().mean().sqrt() / truth.square().mean().sqrt())
    near = float(((sizes / truth - 1).abs() <= 0.1).double().mean())
    by = ("", "") if bound is None else (f"{float((bound / truth).median()):.2f}", str(int((truth > bound).sum())))
    numbers = [f"{float(truth.square().mean().sqrt()):.2e}", f"{whole:.3f}", f"{low:.3f}, {middle:.3f}, {high:.3f}"]
    return [name, f"{seconds:.1f}", *numbers, f"{near:.0%}", f"{rank_correlation(sizes, truth):.3f}", *by]


def rows(X: FlowMap, teacher: problems.Problem[Any, Any], x: Tensor) -> tuple[list[list[str]], Certificate, float]:
    """Certificates of one step and of two, and the estimate that solves nothing."""
    whole, seconds = timed(lambda: certify(X, teacher.b, x))
    two, longer = timed(lambda: certify(X, teacher.b, x, times=[0.0, 0.5, 1.0], grid=0))
    blind, shorter = timed(lambda: certify(X, teacher.b, x, truth=False, grid=0))
    cheap, least = timed(lambda: linearized_error(X, teacher.b, 0.0, 1.0, x))
    found = [
        line("certify", whole.estimate, whole.error, seconds, whole.bound),
        line("certify, two steps", two.estimate, two.error, longer, two.bound),
        line("certify, truth=False", blind.estimate, whole.error, shorter, blind.bound),
        line("linearized_error", cheap.value, whole.error, least),
    ]
    return found, whole, seconds


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables, or write them."""
    each = parser(__doc__)
    each.add_argument("--steps", type=int, default=6000)
    args = each.parse_args(words)
    steps, n = (20, 16) if args.quick else (args.steps, 1000)
    torch.set_num_threads(1)
    truth, teacher = mixture(), mixture(OFF)
    X = distilled(teacher, steps)
    x = truth.sample_base(n, generator=torch.Generator().manual_seed(5))
    found, whole, seconds = rows(X, teacher, x)
    head = ["call", "s", "error", "estimate / error", "5 %, median, 95 %", "within 10 %", "rank", "bound", "exceeded"]
    few = x[:200]
    laws = [*bounds_of_laws(X, teacher.b, few), *self_distillation_bounds(X, truth.b, few)]
    of_laws = [[bound.name, str(bound.value), "teacher" if k < 3 else "mixture"] for k, bound in enumerate(laws)]
    parts = decompose(X, teacher.b, truth.b, x, [0.0, 0.5, 1.0])
    text = [
        table(head, found),
        "## The certificate of one step",
        f"```\n{whole}\n```",
        "## Bounds of W2, from 200 draws",
        table(["statement", "W2 at most", "against"], of_laws),
        "## Two steps against the exact mixture",
        f"```\n{parts}\n```",
        about(f"{n} samples", f"{steps} training steps", "float32"),
    ]
    headline = Headline(f"certificate of {n} planar samples", f"{seconds:.1f} s", "about 20 s on two cores")
    publish(args, "Certificates", __doc__, text, [headline])


if __name__ == "__main__":
    main()

r"""How many steps does consistency training need? An empirical study on the line, and what follows in many dimensions.

    python -m experiments.consistency_steps --out experiments/results/consistency_steps.md

First without any error of training: the map that the row `ct` has as its minimizer on $N$ steps against the flow, for
modes that are more and more apart and for three spacings. Then trained: `ct` and `cd` at every $N$ with the same number
of training steps. A page and a figure; ten minutes on one core. Nothing here is a theorem; what is one stands in
`theory_checks/test_consistency_training_shrinks_what_it_learns.py`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from experiments._consistency import Array, Modes, learned, shrinkage
from flowops import LearnedMap, problems
from flowops._files import write_text
from flowops.interpolants import linear
from flowops.methods import get_method
from flowops.networks import MLP
from flowops.pictures import new_figure, save_figure
from flowops.problems.mixture import MixtureField
from flowops.problems.problem import Problem
from flowops.times import Karras, Ladder
from flowops.times.law import Request

I = linear()
DEVIATIONS = (0.7, 0.5, 0.3, 0.1)
OURS = 0.5  # of the modes that are trained
NORMAL = Modes(np.array([1.0]), np.array([0.0]), 1.0, I)  # the other coordinates in many dimensions
X0: Array = ndtri((np.arange(4_000) + 0.5) / 4_000)
"""Midpoints of as many equal parts of the base: sums over them are integrals, and samples in order."""
STEPS = tuple(2**k for k in range(1, 11))
TRAINED = tuple(2**k for k in range(1, 9))
DIMENSIONS, ACCURACIES = (1, 10, 100, 1_000), (0.3, 0.1, 0.03)


@dataclass(frozen=True)
class Config:
    """What the command line says."""

    steps: int
    batch: int
    seeds: int
    out: Path


def modes(deviation: float) -> Modes:
    """At -1 and 1, with weights 0.4 and 0.6."""
    return Modes(np.array([0.4, 0.6]), np.array([-1.0, 1.0]), deviation, I)


def problem(data: Modes) -> Problem[MixtureField, None]:
    """The same with its exact field."""
    return problems.gaussian_mixture(data.weights, data.means[:, None], data.deviation**2, I)


def uniform(count: int) -> Tensor:
    """Rungs even in time."""
    return torch.linspace(0.0, 1.0, count + 1, dtype=torch.float64)


def karras(count: int) -> Tensor:
    r"""Rungs even in the seventh root of the noise level, as in the papers."""
    request = Request(1, I, None, None, torch.float64, torch.device("cpu"))
    return Ladder(count + 1, Karras()).times(count + 1, request)


def angles(count: int) -> Tensor:
    r"""Rungs even in the angle of $(\alpha_t,\beta_t\sigma)$ for the deviation of the data: best for normal data."""
    data = modes(OURS)
    sigma = math.sqrt(float(data.weights @ (data.means - data.weights @ data.means) ** 2) + data.deviation**2)
    height = (uniform(count)[:-1] * math.pi / 2).tan() / sigma
    return torch.cat([height / (1 + height), torch.ones(1, dtype=torch.float64)])


SPACINGS: Mapping[str, Callable[[int], Tensor]] = {
    "even in time": uniform,
    "Karras": karras,
    "even in angle": angles,
}


def flow(data: Modes) -> Array:
    """The exact map at these points of the base, which are the quantiles of the data."""
    return problem(data).b.flow_map()(0.0, 1.0, torch.from_numpy(X0)[:, None])[:, 0].numpy()


def distance(samples: Array, exact: Array) -> float:
    """$W_2$ of one-step samples from the data: on the line, of what is sorted."""
    return float(np.sqrt(np.mean((np.sort(samples) - exact) ** 2)))


def biases(data: Modes, exact: Array, rungs: Callable[[int], Tensor] = uniform) -> list[float]:
    """The distance that no training removes, for every number of steps."""
    return [distance(learned(data, rungs(count), X0), exact) for count in STEPS]


def trained(name: str, count: int, seed: int, config: Config) -> Array:
    """One-step samples of a perceptron that a row has trained on so many steps, even in time."""
    source = problem(modes(OURS))
    X = LearnedMap(MLP(1, width=64, depth=3, octaves=2, generator=torch.Generator().manual_seed(seed)))
    options = {"solver": "heun"} if name == "cd" else {}
    method = get_method(name, law=Ladder(count + 1), **options)
    teacher = source.b if name == "cd" else None
    optimizer = torch.optim.Adam(X.parameters())
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, config.steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(config.steps):
        x0, x1 = (
            torch.randn(config.batch, 1, generator=generator),
            source.sample_data(config.batch, generator=generator),
        )
        optimizer.zero_grad()
        method(X, I, x0, x1, teacher=teacher, generator=generator).loss.backward()
        optimizer.step()
        rates.step()
    with torch.no_grad():
        return X(0.0, 1.0, torch.from_numpy(X0).float()[:, None])[:, 0].double().numpy()


def needed(bias: Sequence[float], dimension: int, wanted: float) -> str:
    """The steps after which a product of these modes and of normal coordinates is so near; between powers of two."""
    normal = [1 - shrinkage(NORMAL, uniform(count)) for count in STEPS]
    total = np.sqrt(np.square(bias) + (dimension - 1) * np.square(normal))
    if total[-1] > wanted:
        return f"> {STEPS[-1]:,}"
    return f"{2 ** np.interp(-math.log(wanted), -np.log(total), np.log2(STEPS)):,.0f}"


def order(bias: Sequence[float]) -> float:
    """The slope over the last three doublings."""
    return math.log2(bias[-4] / bias[-1]) / 3


def reached(bias: Sequence[float], runs: Array) -> int:
    """Up to how many steps the mean over seeds is within a fifth of what no training removes."""
    missed = [count for count, b, mean in zip(TRAINED, bias, runs.mean(1), strict=False) if mean > 1.2 * b]
    return max((count for count in TRAINED if count < min(missed, default=math.inf)), default=0)


def table(first: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines of Markdown and an empty one."""
    head = [f"| {first} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return [*head, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()), ""]


@dataclass(frozen=True)
class Found:
    """Distances by number of steps: by deviation, by spacing, and of trained maps `[number of steps, seeds]`."""

    apart: Mapping[float, Sequence[float]]
    spaced: Mapping[str, Sequence[float]]
    runs: Mapping[str, Array]


def page(found: Found, config: Config) -> str:
    """What was found, as Markdown."""
    counts, bias = [f"{count:,}" for count in STEPS], found.apart[OURS]

    def rows(values: Mapping[str, Sequence[float]]) -> dict[str, list[str]]:
        return {name: [*(f"{v:.2g}" for v in row), f"{order(row):.2f}"] for name, row in values.items()}

    def spread(values: Array) -> list[str]:
        return [f"{m:.2g} ± {s:.1g}" for m, s in zip(values.mean(1), values.std(1, ddof=1), strict=True)]

    trained_rows = {
        "`ct`, without error of training": [f"{v:.2g}" for v in bias[: len(TRAINED)]],
        **{f"`{name}`": spread(values) for name, values in found.runs.items()},
    }
    return "\n".join(
        [
            "# How many steps does consistency training need?",
            "",
            "An empirical study, `python -m experiments.consistency_steps`. Data: modes at -1 and 1, weights 0.4 and "
            "0.6, under the linear interpolant. Distances are $W_2$ of one-step samples from the data.",
            "",
            "## Without any error of training",
            "",
            "On $N$ steps consistency training learns $f_n(x)=\\mathbb E[f_{n+1}(I_{s_{n+1}})\\mid I_{s_n}=x]$, an "
            "average over pairs, not the flow. By deviation of the modes, steps even in time; the order is that of the "
            "last three doublings:",
            "",
            *table("deviation", [*counts, "order"], rows({f"{d:g}": v for d, v in found.apart.items()})),
            r"The averages reach $N^{-1/2}$ far. A smooth flow map is off at first order. One that separates modes is "
            r"steep between them, so that over this width samples end between the modes: the square of the distance "
            r"falls as $N^{-1/2}$, the distance as $N^{-1/4}$, until the steps resolve the valley. A flow map of the "
            r"same data by distillation has no such term.",
            "",
            f"By spacing, at deviation {OURS:g}:",
            "",
            *table("spacing", [*counts, "order"], rows(found.spaced)),
            f"In $d$ dimensions, with $d-1$ standard normal coordinates beside these modes (deviation {OURS:g}), the "
            r"number of steps, even in time, after which the distance is $\varepsilon$:",
            "",
            *table(
                "$d$",
                [rf"$\varepsilon={e}$" for e in ACCURACIES],
                {f"{d:,}": [needed(bias, d, e) for e in ACCURACIES] for d in DIMENSIONS},
            ),
            r"Normal coordinates alone take $\pi^2\sqrt d/(8\varepsilon)$ at best, where the bound of 2402.07802 for "
            r"general data has $d^{5/2}/\varepsilon$.",
            "",
            "## Trained",
            "",
            f"Deviation {OURS:g}; {config.steps:,} training steps of {config.batch} samples whatever $N$, a perceptron "
            f"of three layers of 64, {config.seeds} seeds (mean and standard deviation). `cd` takes a step of Heun "
            "along the exact field.",
            "",
            *table("row", counts[: len(TRAINED)], trained_rows),
            f"`ct` comes to within a fifth of its minimizer up to {reached(bias, found.runs['ct'])} steps; beyond, "
            "what is known at the data has more rungs to go up than this training has time for, with a teacher too.",
            "",
            "![distance by number of steps](consistency_steps.png)",
            "",
        ]
    )


def draw(path: Path, found: Found) -> None:
    """Biases on the left, trained maps on the right."""
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    for deviation, values in found.apart.items():
        left.loglog(STEPS, values, "o-", markersize=3, label=f"deviation {deviation:g}")
    for power, start in ((1.0, found.apart[0.7][0]), (0.25, found.apart[0.1][0])):
        line = [start * (count / STEPS[0]) ** -power for count in STEPS]
        left.loglog(STEPS, line, ":", color="0.5", label=f"$N^{{-{power:g}}}$")
    right.loglog(TRAINED, found.apart[OURS][: len(TRAINED)], ":", color="0.3", label="ct, without error of training")
    for name, run in found.runs.items():
        right.errorbar(TRAINED, run.mean(1), run.std(1, ddof=1), fmt="o-", markersize=3, capsize=2, label=name)
    left.set(title="what the minimizer of ct is off", xlabel="steps N", ylabel="$W_2$ of one-step samples")
    right.set(title=f"one training budget, deviation {OURS:g}", xlabel="steps N")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    save_figure(path, figure)


def main(arguments: list[str] | None = None) -> None:
    """Compute, train, write the page and the figure beside it."""
    parser = argparse.ArgumentParser(prog="experiments.consistency_steps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/consistency_steps.md"))
    config = Config(**vars(parser.parse_args(arguments)))
    torch.set_num_threads(1)
    exact = {deviation: flow(modes(deviation)) for deviation in DEVIATIONS}

    def runs(name: str) -> Array:
        return np.array(
            [[distance(trained(name, n, k, config), exact[OURS]) for k in range(config.seeds)] for n in TRAINED]
        )

    found = Found(
        apart={deviation: biases(modes(deviation), exact[deviation]) for deviation in DEVIATIONS},
        spaced={name: biases(modes(OURS), exact[OURS], rungs) for name, rungs in SPACINGS.items()},
        runs={name: runs(name) for name in ("ct", "cd")},
    )
    write_text(config.out, page(found, config))
    draw(config.out.with_suffix(".png"), found)


if __name__ == "__main__":
    main()

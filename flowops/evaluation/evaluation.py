"""How good the samples of a run are, how much they cost, and how far its map is from a flow, as one table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any, cast

import torch

from flowops._arguments import whole
from flowops._files import write_text
from flowops.evaluation.measures import Factory
from flowops.evaluation.plain import finite
from flowops.evaluation.residual_sizes import ResidualSizes, residual_sizes
from flowops.evaluation.scores import LEAST, ImageScores, PointScores, Scores
from flowops.evaluation.seen import Seen
from flowops.metrics import Extractor, open_extractor
from flowops.pictures import is_image
from flowops.runs import Run
from flowops.runs.processes import collected, on_first, rank, ranks, share, told
from flowops.sampling import Way, blocks, chunk_size, grids

RESIDUALS = 256  # base samples on which the residuals are taken


@dataclass(frozen=True)
class SamplerScores:
    """One sampler.

    Attributes:
        sampler: which.
        values: one for each column of metrics; NaN where there are too few finite samples.
        calls: calls of the network per sample; NaN for data.
        seconds: wall time for all samples; NaN for data.
    """

    sampler: str
    values: tuple[float, ...]
    calls: float
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """The table of a run.

    Attributes:
        run: folder of the run.
        step: the step whose weights these are.
        n: samples of each sampler.
        seed: seed of the base samples and of the choice of data.
        guidance: scale of classifier-free guidance, or None.
        interval: the times at which it guides, or None for all.
        reference: what the samples are compared with.
        device: where they were made.
        precision: in which the network computed, 32 or bf16.
        compiled: whether it was compiled.
        processes: how many shared the work.
        columns: names of the metrics.
        rows: the samplers, and the data in the end.
        residuals: the residuals of the map.
    """

    run: str
    step: int
    n: int
    seed: int
    guidance: float | None
    interval: tuple[float, float] | None
    reference: str
    device: str
    precision: str
    compiled: bool
    processes: int
    columns: tuple[str, ...]
    rows: tuple[SamplerScores, ...]
    residuals: ResidualSizes

    def markdown(self) -> str:
        """The table and what belongs to it, as Markdown."""
        header = ["sampler", *self.columns, "calls per sample", "seconds"]
        cells = [
            [row.sampler, *map(_digits, row.values), _digits(row.calls), _digits(row.seconds)] for row in self.rows
        ]
        widths = [max(len(line[k]) for line in [header, *cells]) for k in range(len(header))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        how = [f"on {self.device}", *["in bfloat16"] * (self.precision == "bf16"), *["compiled"] * self.compiled]
        how += [f"by {self.processes} processes"] * (self.processes > 1) + [f"seed {self.seed}"]
        times = "" if self.interval is None else " at {:g} to {:g}".format(*self.interval)
        how += [] if self.guidance is None else [f"guidance {self.guidance:g}{times}"]
        return "\n".join(
            [
                f"{self.run}, step {self.step}: {self.n} samples of each sampler {', '.join(how)}.",
                f"Compared with {self.reference}.",
                "",
                _line(header, widths),
                _line(rule, widths),
                *(_line(line, widths) for line in cells),
                "",
                str(self.residuals),
            ]
        )

    def save(self, path: Path | str) -> None:
        """Write `path`, Markdown, and beside it the same as JSON."""
        write_text(path, self.markdown() + "\n")
        write_text(Path(path).with_suffix(".json"), json.dumps(finite(asdict(self)), indent=2) + "\n")


def evaluate(
    run: Run,
    *,
    steps: Sequence[int] = (1, 2, 4, 8),
    n: int = 5000,
    features: str | None = None,
    split: str = "train",
    solvers: Sequence[str] = ("dopri5", "heun"),
    solver_steps: int = 18,
    guidance: float | None = None,
    interval: tuple[float, float] | None = None,
    seed: int = 0,
    chunk: int | None = None,
    metrics: Sequence[str | Factory] = (),
    samplers: Sequence[Way] = (),
    cache: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Evaluation:
    """Samples of the map and of solvers of its own field, measured against the data, and data against data.

    Points are compared with as many fresh draws. For images the moments of all of a split are compared, which are
    kept in the folder of the run, and for other metrics as many images as are made. All classes are made in turn.
    Data stand beside samples at equal numbers only: see `ImageScores` for fewer images held out than are made.
    Samples and features are computed where the run is, some at a time.

    Where there are several processes, each of them must call this: it draws its share of the samples, the first one
    measures, and all return the same table, which is that of one process up to rounding.

    Args:
        run: the run; `Run.on` says where and how it computes.
        steps: numbers of equal steps along the map.
        n: samples of each sampler.
        features: features of images, pixels if left out; see `open_extractor`.
        split: split of the data.
        solvers: dopri5, or any other of `flowops.sampling.SOLVERS`.
        solver_steps: equal steps of the solvers other than dopri5.
        guidance: scale of classifier-free guidance.
        interval: times at which it guides; all times if left out.
        seed: seed of the base samples and of the choice of data.
        chunk: samples computed together; None for as many as `chunk_size` says.
        metrics: further columns, by name, as `package.module:factory` or as the factory itself: a function of the data
            that gives a function of samples.
        samplers: further samplers between the map and its solvers, such as `Way(steps=4, gamma=1.0)`, which puts noise
            back after each step.
        cache: folder in which the statistics of images are kept, for several runs on the same data; that of the run if
            left out.
        report: is told each row when it is there.

    Raises:
        ValueError: for fewer than ten samples, for names and numbers that do not exist, and for features of samples
            that are no images.
        OSError: for data or weights that are not there.
    """
    if n < LEAST:
        raise ValueError(f"`n` must be at least {LEAST} samples to be compared with data, got {n}; pass 5000.")
    ways: list[dict[str, Any]] = [{"grid": grids.uniform(k)} for k in steps]
    fixed = whole(solver_steps, "solver_steps")
    ways += [{name: value for name, value in vars(way).items() if name != "seed"} for way in samplers]
    ways += [{"solver": name, "steps": None if name == "dopri5" else fixed} for name in solvers]
    for way in ways:
        Way(**way).sampler(run.interpolant)  # what does not exist is refused before anything is drawn
    shared: dict[str, Any] = {"seed": seed, "guidance": guidance, "interval": interval}
    images = is_image(run.event)
    if features is not None and not images:
        raise ValueError(
            f"`features` must be left out for samples of shape {list(run.event)}, which are no images, got "
            f"{features!r}; drop it."
        )
    extractor = open_extractor("pixels" if features is None else features, device=run.device) if images else None
    judge = cast(Scores, on_first(lambda: _scores(run, n, extractor, split, seed, metrics, cache)))  # on the first
    mine = share(n)
    size = max(1, min(chunk_size(run.event, chunk), len(mine)))
    for few in (size, 2) if run.compiled else (2,):
        run.draw(few, chunk=size, **shared)  # what is done once is not part of the times
    rows = []
    for way in ways:
        part = partial(_part, run, mine, size, Seen(extractor, whole=bool(metrics)), **way, **shared)
        row = told(partial(_row, collected(part), judge))
        rows.append(row)
        if report is not None and rank() == 0:
            report(f"{row.sampler}: {judge.columns[0]} {_digits(row.values[0])}")
    sizes = residual_sizes(run, min(n, RESIDUALS), chunk=min(size, 64), **shared)

    def table() -> Evaluation:
        floor = judge.floor()
        last = SamplerScores(floor.name, floor.values, math.nan, math.nan)
        return Evaluation(
            str(run.folder.path), run.step, n, seed, guidance, interval, judge.reference, _device(run.device),
            run.precision, run.compiled, ranks(), judge.columns, (*rows, last), sizes,
        )  # fmt: skip

    return told(table)


def _scores(
    run: Run,
    n: int,
    extractor: Extractor | None,
    split: str,
    seed: int,
    metrics: Sequence[str | Factory],
    cache: Path | None,
) -> Scores:
    if extractor is None:
        return PointScores(run.dataset, n, split=split, seed=seed, metrics=metrics, device=run.device)
    cache = run.folder.path if cache is None else cache
    return ImageScores(run.dataset, n, extractor, split=split, seed=seed, cache=cache, metrics=metrics)


@dataclass(frozen=True)
class _Part:
    """What one process has seen of a sampler: samples, evaluations of the network for all of them, and seconds."""

    sampler: str
    seen: Seen
    calls: float
    seconds: float


def _part(run: Run, numbers: range, size: int, seen: Seen, **way: Any) -> _Part:
    """The samples of these numbers, drawn and seen some at a time."""
    sampler, calls, seconds = "", 0.0, 0.0
    for block in blocks(len(numbers), size, numbers.start):
        drawn = run.draw(len(block), start=block.start, chunk=size, **way)
        seen.add(drawn.x)
        sampler, calls, seconds = drawn.sampler, calls + drawn.calls * len(block), seconds + drawn.seconds
    return _Part(sampler, seen if ranks() == 1 else seen.sent(), calls, seconds)


def _row(parts: Sequence[_Part], scores: Scores) -> SamplerScores:
    """The metrics of the samples that are finite; how many are not stands beside the sampler."""
    seen = reduce(Seen.joined, (part.seen for part in parts))
    name = next(part.sampler for part in parts if part.sampler)  # some have no samples if there are very few
    name += f" ({seen.lost} not finite)" if seen.lost else ""
    calls = sum(part.calls for part in parts) / (seen.count + seen.lost)
    return SamplerScores(name, scores.values(seen), round(calls, 6), max(part.seconds for part in parts))


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return f"| {' | '.join([cells[0].ljust(widths[0]), *numbers])} |"

"""How good the samples of a run are, how much they cost, and how far its map is from a flow, as one table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from flowops._files import write_text
from flowops.evaluation.residual_sizes import ResidualSizes, residual_sizes
from flowops.evaluation.scores import LEAST, ImageScores, PointScores, Scores
from flowops.metrics import open_extractor
from flowops.runs import Drawn, Run
from flowops.sampling import grids

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
        reference: what the samples are compared with.
        device: where they were made.
        columns: names of the metrics.
        rows: the samplers, and the data in the end.
        residuals: the residuals of the map.
    """

    run: str
    step: int
    n: int
    seed: int
    guidance: float | None
    reference: str
    device: str
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
        guided = "" if self.guidance is None else f", guidance {self.guidance:g}"
        return "\n".join(
            [
                f"{self.run}, step {self.step}: {self.n} samples of each sampler on {self.device}, seed "
                f"{self.seed}{guided}.",
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
        write_text(Path(path).with_suffix(".json"), json.dumps(_finite(asdict(self)), indent=2) + "\n")


def evaluate(
    run: Run,
    *,
    steps: Sequence[int] = (1, 2, 4, 8),
    n: int = 5000,
    features: str = "pixels",
    split: str = "train",
    solvers: Sequence[str] = ("dopri5", "heun"),
    solver_steps: int = 18,
    guidance: float | None = None,
    seed: int = 0,
    chunk: int = 1024,
    metrics: Sequence[str] = (),
    report: Callable[[str], None] | None = None,
) -> Evaluation:
    """Samples of the map and of solvers of its own field, measured against the data, and data against data.

    Points are compared with as many fresh draws. For images the moments of all of a split are compared, which are
    kept in the folder of the run, and for other metrics as many images as are made. All classes are made in turn.

    Args:
        run: the run.
        steps: numbers of equal steps along the map.
        n: samples of each sampler.
        features: features of images; see `open_extractor`.
        split: split of the data.
        solvers: dopri5, or any other of `flowops.sampling.SOLVERS`.
        solver_steps: equal steps of the solvers other than dopri5.
        guidance: scale of classifier-free guidance.
        seed: seed of the base samples and of the choice of data.
        chunk: samples computed together.
        metrics: further columns, by name or as `package.module:factory`, a function of the data that gives a function
            of samples.
        report: is told each row when it is there.

    Raises:
        ValueError: for fewer than ten samples, and for names and numbers that do not exist.
        OSError: for data or weights that are not there.
    """
    if n < LEAST:
        raise ValueError(f"`n` must be at least {LEAST} samples to be compared with data, got {n}; pass 5000.")
    ways: list[dict[str, Any]] = [{"grid": grids.uniform(k)} for k in steps]
    ways += [{"solver": name, "steps": None if name == "dopri5" else solver_steps} for name in solvers]
    shared: dict[str, Any] = {"seed": seed, "guidance": guidance}
    scores = _scores(run, n, features, split, seed, metrics)
    run.draw(2, **shared)  # what is done once is not part of the times
    rows = []
    for way in ways:
        rows.append(_row(run.draw(n, **way, **shared, chunk=chunk), scores))
        if report is not None:
            report(f"{rows[-1].sampler}: {scores.columns[0]} {_digits(rows[-1].values[0])}")
    floor = scores.floor()
    rows.append(SamplerScores(floor.name, floor.values, math.nan, math.nan))
    return Evaluation(
        str(run.folder.path), run.step, n, seed, guidance, scores.reference, _device(run.device), scores.columns,
        tuple(rows), residual_sizes(run, min(n, RESIDUALS), seed=seed, guidance=guidance, chunk=min(chunk, 64)),
    )  # fmt: skip


def _scores(run: Run, n: int, features: str, split: str, seed: int, metrics: Sequence[str]) -> Scores:
    if len(run.event) != 3 or run.event[0] not in (1, 3):
        return PointScores(run.dataset, n, split=split, seed=seed, metrics=metrics)
    extractor, cache = open_extractor(features, device=run.device), run.folder.path
    return ImageScores(run.dataset, n, extractor, split=split, seed=seed, cache=cache, metrics=metrics)


def _row(drawn: Drawn, scores: Scores) -> SamplerScores:
    """The metrics of the samples that are finite; how many are not stands beside the sampler."""
    x = drawn.x.cpu()
    finite = x[x.isfinite().flatten(1).all(1)]
    lost = len(x) - len(finite)
    name = drawn.sampler + (f" ({lost} not finite)" if lost else "")
    values = scores.of(finite) if len(finite) >= LEAST else (math.nan,) * len(scores.columns)
    return SamplerScores(name, values, drawn.calls, drawn.seconds)


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return f"| {' | '.join([cells[0].ljust(widths[0]), *numbers])} |"


def _finite(value: Any) -> Any:
    """The same with null in place of NaN, which is no JSON."""
    if isinstance(value, dict):
        return {name: _finite(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""What a run writes while it goes: rows of metrics, telemetry by cell of the two times, pictures, progress."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from flowops._named import require
from flowops._operator import condition_of
from flowops.pictures import drawable, save_comparison
from flowops.runs import Run, RunFolder, TrainConfig
from flowops.runs.processes import Interrupted, gathered, on_first
from flowops.runs.progress import Lines, Progress, tell
from flowops.runs.views import save_view
from flowops.training.loggers import End, Logger, RunStart
from flowops.training.loggers.logger import Picture
from flowops.training.loss_module import LossModule
from flowops.training.report import StepReport
from flowops.training.telemetry import Clock, Telemetry, flop_per_sample, peak, tangent_ratio

if TYPE_CHECKING:
    from lightning.fabric import Fabric

COLUMNS = ("loss", "gradient_norm", "rate", "samples_per_second", "waiting_share", "skipped")
COUNTED = ("flop_per_second", "utilization")  # where they are known
STEPS = (1, 2, 4)  # of the samplers in the pictures
SHOWN = 16  # images of each sampler
POINTS = 4096  # points of each sampler
PROBE = 64  # samples on which the tangent is measured


class Record:
    """The files and the terminal of a run, as a callback of the engine; the first process writes. A context manager.

    Args:
        config: settings of the run.
        folder: where the run is written.
        fabric: what adds up the numbers of several processes.
        module: the loss, on whose map the tangent is measured.
        step: number of steps that were done before.
        report: is told lines and progress; None for the standard error.
        loggers: are told every row, and the pictures.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        fabric: Fabric,
        module: LossModule,
        step: int,
        report: Callable[[str], None] | None,
        loggers: Sequence[Logger] = (),
    ) -> None:
        self.config, self.log, self.folder, self.fabric, self.module = config, config.log, folder, fabric, module
        self.start, self.stream, self.writes = step, None if report is None else Lines(report), fabric.is_global_zero
        self.report, self.loggers = report or tell, list(loggers)
        steps = config.steps or 10_000  # of a run that ends by the clock nobody knows
        self.every = config.log.every or (1 if steps <= 1000 else steps // 1000)
        self.telemetry, self.clock, self.waited = Telemetry(), Clock(config.batch or 0), 0.0
        self.last: StepReport | None = None
        self.progress: Progress | None = None
        self.flop: dict[tuple[bool, ...], float | None] = {}  # of a sample, by the terms that have rows
        self.missed: set[str] = set()  # kinds of what could not be written

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            on_first(lambda: self._open(stack))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.writes:
            stopped = kind is not None and issubclass(kind, Interrupted | KeyboardInterrupt)
            self._end("finished" if kind is None else "interrupted" if stopped else "failed")
        self.stack.close()

    def _open(self, stack: ExitStack) -> None:
        """Open what the first process writes to."""
        config, folder = self.config, self.folder
        if self.log.progress:
            bar = Progress(config.steps, config.method, start=self.start, stream=self.stream)
            self.progress = stack.enter_context(bar)
        facts = json.loads(folder.facts.read_text(encoding="utf-8"))
        start = RunStart(folder, config, facts, (*COLUMNS, *COUNTED), self.start)
        begun = list[Logger]()
        try:
            for logger in self.loggers:
                with self._at_best(logger.what, self.start, refused=(ImportError, TypeError, ValueError)):
                    logger.begin(start)
                    begun.append(logger)
        except Exception:
            self.loggers = begun
            self._end("failed")
            raise
        self.loggers = begun

    def _end(self, why: End) -> None:
        for logger in self.loggers:
            with self._at_best(logger.what, self.start if self.last is None else self.last.step):
                logger.finish(why)

    def __call__(self, report: StepReport) -> None:
        """Note a step that is done."""
        self.last = report
        self.clock.tick(report.waited - self.waited)
        self.waited = report.waited
        for result in report.results:
            self.telemetry.add(result.s, result.t, result.per_sample)
        if report.step % self.every == 0:
            self._row(report)
        if self.log.telemetry_every and report.step % self.log.telemetry_every == 0:
            self._telemetry(report)
        if self.log.sample_every and report.step % self.log.sample_every == 0:
            self._picture(report)

    def finish(self) -> None:
        """Write what belongs to the last step of a training that came to its end, when its checkpoint is there."""
        if self.last is None:
            return
        if self.last.step % self.every:
            self._row(self.last)
        if self.log.telemetry_every and self.last.step % self.log.telemetry_every:
            self._telemetry(self.last)
        if not self.log.sample_every or self.last.step % self.log.sample_every:
            self._picture(self.last)

    def _row(self, report: StepReport) -> None:
        loss = torch.stack([result.loss for result in report.results]).mean()
        mean: Any = self.fabric.all_reduce(loss, reduce_op="mean")
        terms = _together(gathered(_terms(report)))
        if not self.writes:
            return
        speed, waiting = self.clock.rates()
        values = (float(mean), float(report.norm), report.rate, speed, waiting, int(report.skipped))
        row = {**dict(zip(COLUMNS, values, strict=True)), **self._used(report, speed)}
        for logger in self.loggers:
            with self._at_best(logger.what, report.step):
                logger.scalars(report.step, {**row, **terms})
        if self.progress is None:
            return
        text = f"loss {row['loss']:.4g}  {speed:,.0f} samples/s  waiting {waiting:.1%}"
        self.progress.update(report.step, text, done=report.done)

    def _used(self, report: StepReport, speed: float) -> dict[str, float]:
        """Operations a second, and which part of those that the devices could do, where these are known."""
        shape = tuple(term is None for term in report.draw.terms)
        if shape not in self.flop:
            self.flop[shape] = None
            with self._at_best("count of operations", report.step):
                self.flop[shape] = flop_per_sample(self.module, report.draw)
            self.clock.pause()
        if (flop := self.flop[shape]) is None:
            return {}
        most = peak(self.fabric.device, self.config.hardware)
        rates = {"flop_per_second": flop * speed}
        return rates if most is None else {**rates, "utilization": flop * speed / (most * self.fabric.world_size)}

    def _telemetry(self, report: StepReport) -> None:
        """A table of the cells, with the tangent measured on some samples of the batch."""
        term = next(term for term in reversed(report.draw.terms) if term is not None)
        s, t, x0, x1 = (values[:PROBE] for values in (term.s, term.t, term.x0, term.x1))
        given = {"augment": term.augment, **term.told}
        if term.labels is not None:
            given[condition_of(self.module.X, term.labels)] = term.labels
        X = self.module.X.given(**{name: value[:PROBE] for name, value in given.items() if value is not None})
        with self._at_best("tangent", report.step), torch.no_grad():
            x = self.module.interpolant(s, x0, x1, None if term.z is None else term.z[:PROBE])
            self.telemetry.add_tangent(s, t, tangent_ratio(X, s, t, x))
        totals: Any = self.fabric.all_reduce(self.telemetry.totals, reduce_op="sum")
        self.telemetry.totals = totals
        if self.writes:
            with self._at_best("table of telemetry", report.step):
                self.telemetry.write(self.folder.telemetry, report.step)
        self.telemetry.reset()

    def _picture(self, report: StepReport) -> None:
        """What the settings want to see of the averaged map, where it can be drawn."""
        if not self.writes:
            return
        drawn = dict[str, Path]()
        for view in self.log.pictures:
            with self._at_best("picture" if view == "steps" else f"picture of {view}", report.step):
                drawn.update(self._drawn(report.run(), view, report.step))
        for logger in self.loggers if drawn else ():
            with self._at_best(logger.what, report.step):
                logger.pictures(report.step, {name: _read(path) for name, path in drawn.items() if path.is_file()})

    def _drawn(self, run: Run, view: str, step: int) -> dict[str, Path]:
        """The files of the pictures by name."""
        if not drawable(run.event):
            return {}
        if view != "steps":
            path = self.folder.samples / f"{step}-{view}.png"
            save_view(path, run, view, seed=self.config.seed)
            return {view: path}
        n = SHOWN if len(run.event) == 3 else POINTS
        if run.paired and run.dataset.size is not None:  # there are no more states to start from
            n = min(n, run.dataset.size)
        seed = self.config.seed
        rows = {f"{k} step{'s' * (k > 1)}": run.sample(n, steps=k, seed=seed).cpu() for k in STEPS}
        path = self.folder.samples / f"{step}.png"
        save_comparison(path, rows)
        return {"samples": path}

    @contextmanager
    def _at_best(self, what: str, step: int, refused: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """What is written beside the checkpoints is no reason to lose a run; the first fault of each kind is told."""
        try:
            yield
        except refused:
            raise
        except Exception as error:  # whatever a sampler, a library or a disk raises
            if self.writes and what not in self.missed:
                self.missed.add(what)
                say = self.report if self.progress is None else self.progress.line
                say(f"There is no {what} of step {step}: {error}")


def _terms(report: StepReport) -> dict[str, float]:
    """What each term of this process adds to the loss: the mean over the parts of its batch, one without it adds 0."""
    found: dict[str, float] = {}
    for result in report.results:
        for name, value in result.terms.items():
            found[name] = found.get(name, 0.0) + float(value) / len(report.results)
    return found


def _together(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean over the processes, under the names of the columns."""
    names = dict.fromkeys(name for terms in found for name in terms)
    return {f"loss/{name}": sum(terms.get(name, 0.0) for terms in found) / len(found) for name in names}


def _read(path: Path) -> Picture:
    """A picture that was written, as bytes `[height, width, 3]`."""
    with require("PIL.Image", "images").open(path) as image:
        return np.asarray(image.convert("RGB"))

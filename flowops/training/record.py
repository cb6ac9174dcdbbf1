"""What a run writes while it goes: rows of metrics, telemetry by cell of the two times, pictures, progress."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from flowops.methods.point import Draw
from flowops.report import save_comparison
from flowops.sampling import grids, noise, sample
from flowops.training.loss_module import Outcome
from flowops.training.metrics_log import MetricsLog, TensorBoardLog
from flowops.training.progress import Progress
from flowops.training.telemetry import Clock, Telemetry, tangent_ratio

if TYPE_CHECKING:
    from flowops.training.engine import Engine

COLUMNS = ("loss", "gradient_norm", "rate", "samples_per_second", "waiting_share", "skipped")
STEPS = (1, 2, 4)  # of the samplers in the pictures
PICTURES = 16
PROBE = 64  # samples on which the tangent is measured


class Record:
    """The files and the terminal of a run; the first process writes. A context manager.

    Args:
        engine: whose run it is.
    """

    def __init__(self, engine: Engine) -> None:
        log, config = engine.config.log, engine.config
        self.engine, self.log = engine, log
        self.every = log.every or (1 if config.steps <= 1000 else config.steps // 1000)
        self.telemetry, self.clock, self.waited = Telemetry(), Clock(config.batch), 0.0

    def __enter__(self) -> Self:
        engine, folder, self.stack = self.engine, self.engine.folder, ExitStack()
        self.writes = engine.fabric.is_global_zero
        if self.writes:
            self.progress = self.stack.enter_context(
                Progress(engine.config.steps, engine.config.method, start=engine.step, enabled=self.log.progress)
            )
            self.metrics = self.stack.enter_context(MetricsLog(folder.metrics, COLUMNS, resume_step=engine.step))
            self.board = TensorBoardLog(folder.logs if self.log.tensorboard else None, purge_step=engine.step)
            self.stack.callback(self.board.close)
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def step(self, draw: Draw, outcomes: list[Outcome], norm: Tensor, rate: float, waited: float) -> None:
        """Note a step that is done; `waited` are the seconds of waiting for data so far."""
        engine = self.engine
        done, last = engine.step, engine.step == engine.config.steps
        self.clock.tick(waited - self.waited)
        self.waited = waited
        for outcome in outcomes:
            self.telemetry.add(outcome.s, outcome.t, outcome.per_sample)
        if done % self.every == 0 or last:
            self._row(outcomes, norm, rate)
        if self.log.telemetry_every and (done % self.log.telemetry_every == 0 or last):
            self._telemetry(draw)
        if last or (self.log.sample_every and done % self.log.sample_every == 0):
            self._pictures()

    def _row(self, outcomes: list[Outcome], norm: Tensor, rate: float) -> None:
        engine = self.engine
        loss = torch.stack([outcome.loss for outcome in outcomes]).mean()
        mean: Any = engine.fabric.all_reduce(loss, reduce_op="mean")
        if not self.writes:
            return
        speed, waiting = self.clock.rates()
        values = (float(mean), float(norm), rate, speed, waiting, engine.finite.total)
        row = dict(zip(COLUMNS, values, strict=True))
        self.metrics.write(engine.step, row)
        terms = {f"loss/{name}": float(value) for name, value in outcomes[-1].terms.items()}
        self.board.write(engine.step, {**row, **terms})
        self.progress.update(engine.step, f"loss {row['loss']:.4g}  {speed:,.0f} samples/s  waiting {waiting:.1%}")

    def _telemetry(self, draw: Draw) -> None:
        """A table of the cells, with the tangent measured on some rows of the batch."""
        term = next(term for term in reversed(draw.terms) if term is not None)
        s, t, x0, x1 = (values[:PROBE] for values in (term.s, term.t, term.x0, term.x1))
        X, z = self.engine.module.X, None if term.z is None else term.z[:PROBE]
        if term.labels is not None:
            X = X.given(label=term.labels[:PROBE])
        with torch.no_grad():
            x = self.engine.module.interpolant(s, x0, x1, z)
        self.telemetry.add_tangent(s, t, tangent_ratio(X, s, t, x))
        totals: Any = self.engine.fabric.all_reduce(self.telemetry.totals, reduce_op="sum")
        self.telemetry.totals = totals
        if self.writes:
            self.telemetry.write(self.engine.folder.telemetry, self.engine.step)
        self.telemetry.reset()

    def _pictures(self) -> None:
        """Samples of the averaged map in one, two and four steps from the same noise."""
        engine, dataset = self.engine, self.engine.assembly.dataset
        if not self.writes:
            return
        X, device = engine.average(), engine.fabric.device
        n = PICTURES if len(dataset.event) == 3 else 4096
        if engine.assembly.conditional:
            X = X.given(label=torch.arange(n, device=device) % len(dataset.classes))
        first = dataset.batch(0, n, seed=engine.config.seed).x0
        x0 = noise(n, dataset.event, seed=engine.config.seed) if first is None else first
        rows = {f"{k} step{'s' * (k > 1)}": sample(X, x0.to(device), grids.uniform(k)).cpu() for k in STEPS}
        save_comparison(engine.folder.samples / f"{engine.step}.png", rows)

r"""The training loop: one engine for every method, data set and network, on one process or many.

A step is: the joint batch, this process's rows of it in one or several parts, the loss with its derivative inside the
wrapped module, the gradient, and an update if the gradient is finite. Whatever is random follows from the seed and the
step, so the state of a run is its weights, its averages, its optimizer and the number of steps done.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from flowops._keys import key
from flowops.maps import LearnedMap
from flowops.methods import Draw, MethodResult, decay_of
from flowops.runs import RunFolder, TrainConfig
from flowops.runs.assembly import Assembly
from flowops.runs.checkpoint import Checkpoint, CheckpointError
from flowops.runs.fitting import fill, misfit, own_names
from flowops.runs.folder import power_names
from flowops.runs.processes import Interruption, gathered, kernels, on_first
from flowops.runs.run import Run
from flowops.runs.saving import remove_later, save_averages, save_checkpoint
from flowops.training.averages import TARGET, Averages
from flowops.training.compilation import NotCompiledError, check_compiled
from flowops.training.joint_batch import JointBatches
from flowops.training.loss_module import LossModule
from flowops.training.optimization import (
    Clip,
    FiniteSteps,
    NotFinite,
    optimizer_of,
    rate_factor,
    restore,
    set_rates,
    update,
)
from flowops.training.report import Callback, StepReport

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class Engine:
    """One run, from its assembled parts to its last checkpoint.

    Args:
        config: the settings, complete and checked.
        assembly: what they name.
        module: the loss, on the device, in its memory format.
        fabric: launched.
        folder: where the run is written.
        report: is told a line now and then.
        callbacks: are handed a report of every step.
    """

    def __init__(
        self,
        config: TrainConfig,
        assembly: Assembly,
        module: LossModule,
        fabric: Fabric,
        folder: RunFolder,
        report: Callable[[str], None],
        callbacks: Sequence[Callback],
    ) -> None:
        self.config, self.assembly, self.module, self.fabric, self.folder = config, assembly, module, fabric, folder
        self.report, self.callbacks, self.step, self.saved = report, callbacks, 0, 0
        self.elapsed = 0.0  # seconds of training, those before a resumption included
        self.averages = Averages(module.X.network, config.averages or (), config.power, decay_of(assembly.method))
        self.since: dict[str, int] = {}  # the step from which an average is taken that was added later
        self._averaged: LearnedMap | None = None
        self.wrapped, self.optimizer = fabric.setup(module), optimizer_of(config.optimizer, module.parameters())
        self.settled: list[Callable[[], object]] = [
            settle for part in module.modules() if callable(settle := getattr(part, "after_update", None))
        ]
        self.clip = Clip(config.optimizer.clip, config.optimizer.clip_unit)
        self.finite = FiniteSteps(config.patience, fabric.device)
        wanted = config.hardware.compile
        self.compiling = wanted == "yes" or (wanted == "auto" and fabric.device.type == "cuda")
        self.checked: set[tuple[bool, ...]] = set()  # the shapes of draws that the compiled loss was checked with
        self.refused = False  # whether compilation was tried and failed
        self.look_every = config.hardware.look_every or (1 if fabric.device.type == "cpu" else 10)

    def run(self) -> str | None:
        """Train to the end; returns the name of the signal that ended it before, if one did.

        Raises:
            NotFinite: after too many steps in a row without a finite gradient.
            NotCompiledError: if the loss must be compiled and cannot.
        """
        config, device, batches = self.config, self.fabric.device, self._batches()
        seeded = torch.random.fork_rng([device] if device.type == "cuda" else [])
        self._begun = time.monotonic() - self.elapsed
        try:
            with Interruption() as interruption, seeded, kernels(config.hardware, device):
                self.module.train()
                while not self._ended_early(interruption.noted is not None) and self._done() < 1:
                    report = self._advance(next(batches), batches)
                    if self._done() >= 1 or (config.checkpoint_every and self.step % config.checkpoint_every == 0):
                        self.save()  # before anything that is not training
                    for callback in self.callbacks:
                        callback(report)
                if self.saved != self.step:
                    self.save()
        finally:
            batches.close()
        ended = self._longest(interruption.noted or "")
        return ended if ended and self._done() < 1 else None

    def _batches(self) -> JointBatches:
        """The draws of this process from the next step on."""
        part = self.fabric.global_rank, self.fabric.world_size
        batch, seed, device = self.config.batch or 0, self.config.seed, self.fabric.device
        return JointBatches(batch, seed, self.assembly, self.module, device, self.step, part=part)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint under the settings of this run; an average that it lacks starts from its weights.

        Raises:
            CheckpointError: if it is of another network.
        """
        network, step = self.module.X.network, checkpoint.step
        if found := misfit(network, checkpoint.weights):
            raise CheckpointError(
                f"Checkpoint {step} must be of the network of this run, and {found}; restore the network, or choose "
                f"another folder as `out`."
            )
        fill(network, checkpoint.weights)
        self.module.method.load_state_dict(checkpoint.state["method"])
        restore(self.optimizer, checkpoint.state["optimizer"])
        self.clip.load_state_dict(checkpoint.state.get("clip", {}))  # runs of before have none
        for name in self.averages.names:
            held = checkpoint.averages.get(name)
            self.averages.load(name, own_names(network, checkpoint.weights if held is None else held))
            if since := step if held is None else checkpoint.since.get(name, 0):
                self.since[name] = since
        self.step = self.saved = step
        self.elapsed = checkpoint.state["seconds"]
        self.finite.restore(*checkpoint.state["skipped"])
        self.refused = checkpoint.state["refused"] and self.config.hardware.compile != "yes"
        self.compiling = self.compiling and not self.refused
        self._update_average()

    def save(self) -> None:
        """Write a checkpoint of the steps that are done; the first process does."""
        on_first(self._save)
        self.saved = self.step

    def _save(self) -> None:
        state = {
            "method": self.module.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "clip": self.clip.state_dict(),
            "skipped": self.finite.read(),
            "refused": self.refused,
            "seconds": self.elapsed,
        }
        averages = {name: self.averages.state(name) for name in self.averages.names}
        save_checkpoint(
            self.folder.checkpoints, self.step, weights=self.module.X.network.state_dict(), averages=averages,
            state=state, keep=self.config.log.keep or None, since=self.since,
        )  # fmt: skip
        remove_later(self.folder.checkpoints, self.step)  # those of a branch that was given up
        if apart := {name: averages[name] for name in power_names(self.config)}:
            save_averages(self.folder.averages, self.step, apart, self.since)

    def current(self) -> Run:
        """The run with the first average of the weights as they are now."""
        if self._averaged is None:
            self._averaged = copy.deepcopy(self.module.X).eval().requires_grad_(False)
        self.averages.copy_to(self.averages.names[0], self._averaged.network)
        data = self.assembly.dataset
        classes = data.classes if self.assembly.conditional else ()
        return Run(
            self.folder, self.config, self.step, data.event, classes, not data.normal_base, self._averaged,
            self.module.interpolant, self.fabric.device, data, units=data.units,
            condition=data.condition if self.assembly.conditional else None,
        )  # fmt: skip

    def _advance(self, draw: Draw, batches: JointBatches) -> StepReport:
        """One step."""
        if self.compiling:
            self._compile(draw)
        results = self._gradient(draw)
        norm, most = self.clip(self.module.parameters())
        finite, factor = norm.isfinite(), self._rate_factor()
        self.step += 1
        if self.fabric.world_size == 1:
            self.elapsed = time.monotonic() - self._begun
        set_rates(self.optimizer, self.config.optimizer, factor)
        known = bool(finite) if finite.device.type == "cpu" else finite  # the host does not wait for a GPU
        update(self.optimizer, known)
        for settle in self.settled if known is not False else ():
            settle()
        self.averages.update(self.module.X.network, self.step, known)
        self._update_average()
        self.optimizer.zero_grad(set_to_none=True)
        self.finite.note(finite)
        if (self.step % self.look_every == 0 or self._done() >= 1) and self.finite.exhausted:
            raise NotFinite(self._longest(self.finite.explain(self.step, results)))
        return StepReport(
            step=self.step, done=min(self._done(), 1.0), draw=draw, results=results, norm=norm,
            most=most, rate=factor * self.config.optimizer.rate, skipped=self.finite.total, waited=batches.waited,
            run=self.current,
        )  # fmt: skip

    def _gradient(self, draw: Draw) -> list[MethodResult]:
        """The gradient of this process's rows, part by part; the results of the parts, without graphs."""
        parts, rank, results = self.config.hardware.accumulate, self.fabric.global_rank, []
        # that of the module seeds every kind of device there is, and writes the stack down for each that is not in use
        source = torch.default_generator if self.fabric.device.type == "cpu" else torch
        for k in range(parts):
            source.manual_seed(key("dropout", self.config.seed, self.step, rank * parts + k))
            with self.fabric.no_backward_sync(self.wrapped, enabled=k < parts - 1):
                result: MethodResult = self.wrapped(self._share(draw, k))
                self.fabric.backward(result.loss / parts)
            results.append(_detached(result))
        return results

    def _share(self, draw: Draw, k: int) -> Draw:
        """Part `k` of what this process drew."""
        parts = self.config.hardware.accumulate
        return draw if parts == 1 else draw.part(k, parts)

    def _compile(self, draw: Draw) -> None:
        """Check the compiled loss on a draw of a shape it has not seen: without warm-up it is another graph."""
        shape = tuple(part is None for part in (draw.warmup, draw.alpha, *draw.terms))
        if shape in self.checked:
            return
        self.checked.add(shape)
        with self.fabric.no_backward_sync(self.wrapped):
            complaint = check_compiled(
                self.wrapped, self.fabric.backward, self.module, self._share(draw, 0), self.report
            )
        if complaint := self._longest(complaint):
            if self.config.hardware.compile == "yes":
                raise NotCompiledError(f"{complaint}; pass compile=auto to train without, or compile=no.")
            self.module.use_eager()
            self.refused, self.compiling = True, False
            self.report(f"{complaint}; it is evaluated uncompiled.")

    def _rate_factor(self) -> float:
        o, steps = self.config.optimizer, self.config.steps or 0
        return rate_factor(
            self.step, kind=o.schedule or "constant", warmup=o.warmup, decay_start=o.decay_start, steps=steps,
            done=self._time_done(),
        )  # fmt: skip

    def _ended_early(self, flag: bool) -> bool:
        """Whether a signal ends the run, noted by any process; several agree on that, and on the time, now and then."""
        if self.fabric.world_size == 1:
            return flag
        if self.step % self.look_every:
            return False
        mine = torch.tensor([flag, time.monotonic() - self._begun], dtype=torch.float32, device=self.fabric.device)
        most: Any = self.fabric.all_reduce(mine, reduce_op="max")
        self.elapsed = float(most[1])
        return bool(most[0])

    def _time_done(self) -> float:
        """The part of its minutes that has passed; 0 for a run that has no such end."""
        return self.elapsed / (60 * self.config.minutes) if self.config.minutes else 0.0

    def _done(self) -> float:
        """The part of the training that is done."""
        return max(self.step / self.config.most_steps, self._time_done())

    def _update_average(self) -> None:
        """Bring the average that the method looks at up to date."""
        if self.module.average is not None:
            name = TARGET if TARGET in self.averages.names else self.averages.names[0]
            self.averages.copy_to(name, self.module.average.network)

    def _longest(self, text: str) -> str:
        """The longest text of all processes: the one that says most."""
        found: list[Any] = gathered(text)
        return max(found, key=len)


def _detached(result: MethodResult) -> MethodResult:
    """Without graphs."""
    terms, per_term = ({name: v.detach() for name, v in held.items()} for held in (result.terms, result.per_term))
    loss, per_sample = result.loss.detach(), result.per_sample.detach()
    return result._replace(loss=loss, per_sample=per_sample, terms=terms, per_term=per_term)

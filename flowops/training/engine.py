r"""The training loop: one engine for every method, data set and network, on one process or many.

A step is: the joint batch, this process's rows of it in one or several parts, the loss with its derivative inside the
wrapped module, the gradient, and an update if the gradient is finite. Whatever is random follows from the seed and the
step, so the state of a run is its weights, its averages, its optimizer and the number of steps done.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flowops._keys import key
from flowops.maps import LearnedMap
from flowops.methods.point import Draw
from flowops.training.averages import Averages
from flowops.training.checkpoint import Checkpoint, save_checkpoint
from flowops.training.compilation import check_compiled
from flowops.training.joint_batch import JointBatches
from flowops.training.loss_module import LossModule, Outcome
from flowops.training.optimizers import optimizer_of
from flowops.training.processes import gathered, on_first
from flowops.training.record import Record
from flowops.training.schedules import learning_rate
from flowops.training.stopping import FiniteSteps, Interruption, NotFinite

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from flowops.training.assembly import Assembly
    from flowops.training.config import TrainConfig
    from flowops.training.folder import RunFolder


class Engine:
    """One run, from its assembled parts to its last checkpoint.

    Args:
        config: the settings, checked.
        assembly: what they name.
        module: the loss, on the device, in its memory format.
        fabric: launched.
        folder: where the run is written.
        report: what is told a line now and then.
    """

    def __init__(
        self,
        config: TrainConfig,
        assembly: Assembly,
        module: LossModule,
        fabric: Fabric,
        folder: RunFolder,
        report: Callable[[str], None],
    ) -> None:
        self.config, self.assembly, self.module, self.fabric, self.folder = config, assembly, module, fabric, folder
        self.report, self.step, self.saved = report, 0, 0
        self.averages = Averages(module.X.network, config.averages, config.power)
        self._averaged: LearnedMap | None = None
        self.wrapped, self.optimizer = fabric.setup(module, optimizer_of(config.optimizer, module.parameters()))
        self.finite = FiniteSteps(config.patience)
        wanted = config.hardware.compile
        self.uncompiled = wanted == "yes" or (wanted == "auto" and fabric.device.type == "cuda")
        self.refused = False  # whether compilation was tried and failed

    def run(self) -> str | None:
        """Train to the last step; returns the name of the signal that ended it before, if one did.

        Raises:
            NotFinite: after too many steps in a row without a finite gradient.
        """
        config = self.config
        device = self.fabric.device
        batches = JointBatches(config, self.assembly, self.module, device, self.step)
        seeded = torch.random.fork_rng([device] if device.type == "cuda" else [])
        try:
            with Interruption() as interruption, seeded, Record(self) as record:
                self.module.train()
                while self.step < config.steps and not self._agreed(interruption.noted is not None):
                    self._advance(next(batches), record, batches)
                    if config.checkpoint_every and self.step % config.checkpoint_every == 0:
                        self.save()
                if self.saved != self.step:
                    self.save()
        finally:
            batches.close()
        return self._longest(interruption.noted or "") if self.step < config.steps else None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.module.X.network.load_state_dict(checkpoint.weights)
        self.module.method.load_state_dict(checkpoint.state["method"])
        self.optimizer.load_state_dict(checkpoint.state["optimizer"])
        for name in self.averages.names:
            self.averages.load(name, checkpoint.averages[name])
        self.step = self.saved = checkpoint.step
        self.finite.total, self.finite.row = checkpoint.state["skipped"]
        self.uncompiled = self.uncompiled and not checkpoint.state["refused"]
        self.refused = checkpoint.state["refused"]
        self._update_teacher()

    def save(self) -> None:
        """Write a checkpoint of the steps that are done; the first process does."""
        on_first(self.fabric, self._save)
        self.saved = self.step

    def _save(self) -> None:
        state = {
            "method": self.module.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "skipped": (self.finite.total, self.finite.row),
            "refused": self.refused,
        }
        averages = {name: self.averages.state(name) for name in self.averages.names}
        save_checkpoint(
            self.folder.checkpoints, self.step, weights=self.module.X.network.state_dict(), averages=averages,
            state=state, keep=self.config.log.keep or None,
        )  # fmt: skip

    def average(self) -> LearnedMap:
        """The map with the first average of the weights."""
        if self._averaged is None:
            self._averaged = copy.deepcopy(self.module.X).eval().requires_grad_(False)
        self.averages.copy_to(self.averages.names[0], self._averaged.network)
        return self._averaged

    def _advance(self, draw: Draw, record: Record, batches: JointBatches) -> None:
        """One step."""
        if self.uncompiled:
            self._compile(draw)
        outcomes = self._gradient(draw)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.config.optimizer.clip or math.inf)
        finite, rate = bool(norm.isfinite()), self._rate()
        self.step += 1
        if finite:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            self.averages.update(self.module.X.network, self.step)
            self._update_teacher()
        self.optimizer.zero_grad(set_to_none=True)
        self.finite.note(finite)
        record.step(draw, outcomes, norm, rate, batches.waited)
        if self.finite.exhausted:
            raise NotFinite(self._longest(self.finite.explain(self.step, outcomes)))

    def _gradient(self, draw: Draw) -> list[Outcome]:
        """The gradient of this process's rows, part by part; the outcomes of the parts, without graphs."""
        parts, rank, outcomes = self.config.hardware.accumulate, self.fabric.global_rank, []
        for k in range(parts):
            torch.manual_seed(key("dropout", self.config.seed, self.step, rank * parts + k))
            with self.fabric.no_backward_sync(self.wrapped, enabled=k < parts - 1):
                outcome: Outcome = self.wrapped(self._share(draw, k))
                self.fabric.backward(outcome.loss / parts)
            outcomes.append(outcome.detached())
        return outcomes

    def _share(self, draw: Draw, k: int) -> Draw:
        """The rows of part `k` of this process."""
        parts, ranks = self.config.hardware.accumulate, self.fabric.world_size
        return draw if ranks * parts == 1 else draw.part(self.fabric.global_rank * parts + k, ranks * parts)

    def _compile(self, draw: Draw) -> None:
        self.uncompiled = False
        with self.fabric.no_backward_sync(self.wrapped):
            complaint = check_compiled(self.wrapped, self.fabric.backward, self.module, self._share(draw, 0))
        if complaint := self._longest(complaint):
            self.module.use_eager()
            self.refused = True
            self.report(complaint)

    def _rate(self) -> float:
        o = self.config.optimizer
        return learning_rate(
            self.step, base=o.rate, kind=o.schedule, warmup=o.warmup, decay_start=o.decay_start, steps=self.config.steps
        )

    def _update_teacher(self) -> None:
        """Bring an averaged teacher up to date."""
        if self.module.method.options.ema_teacher:
            teacher: Any = self.module.teacher
            self.averages.copy_to(self.averages.names[0], teacher.network)

    def _agreed(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.fabric.world_size == 1:
            return flag
        noted: Tensor = torch.tensor(float(flag), device=self.fabric.device)
        return bool(self.fabric.all_reduce(noted, reduce_op="max"))

    def _longest(self, text: str) -> str:
        """The longest text of all processes: the one that says most."""
        return max(gathered(self.fabric, text), key=len)

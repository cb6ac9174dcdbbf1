r"""The batch of a training step, of which each process makes its rows: a function of the seed and the step.

Process $r$ of $W$ has the rows $r,r+W,r+2W,\dots$ of the joint batch. Which samples these are, their noise, times and
pairs depend neither on the number of processes nor on what was interrupted and resumed. What is large (samples, noise,
latents) a process draws for its rows alone; one number per sample is drawn for all, and a coupling is solved for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TypeAlias

import torch
from torch import Tensor

from flowops._keys import generator, key, normal_like
from flowops.couplings import Coupling
from flowops.data import Batch, Dataset
from flowops.data.prefetched import Ahead
from flowops.data.rows import moved
from flowops.methods import Draw
from flowops.runs.assembly import Assembly
from flowops.training.loss_module import LossModule

Prepare: TypeAlias = Callable[[int], Callable[[], Batch]]
"""The work of the thread for a step, which returns what is left to the training: to launch on the device."""


class JointBatches(Iterator[Draw]):
    r"""The draws of one process for the steps from `start` on; the next data are prepared while a step computes.

    Args:
        n: samples of a step, over all processes.
        seed: seed of the run.
        assembly: data set and coupling.
        module: the loss, whose method draws.
        device: where the batches live.
        start: number of steps that are done.
        part: $(r,W)$, the number of this process and how many there are.
    """

    def __init__(
        self,
        n: int,
        seed: int,
        assembly: Assembly,
        module: LossModule,
        device: torch.device,
        start: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.seed, self.module, self.step, self.part = seed, module, start, part
        self.augmentation = assembly.augmentation
        dataset, coupling, labelled = assembly.dataset, assembly.coupling, assembly.conditional
        if coupling is None:
            self.prepare = loaded(dataset, n, seed, device, labelled, part)
        else:
            self.prepare = Coupled(loaded(dataset, n, seed, device, labelled, (0, 1)), coupling, seed, device, part)
        self.data = Ahead(self.prepare, start)

    @property
    def waited(self) -> float:
        """Seconds that were spent waiting for data and their pairs so far."""
        return self.data.waited

    def __next__(self) -> Draw:
        drawn = self.draw(next(self.data), self.step)
        self.step += 1
        return drawn

    def draw(self, batch: Batch, step: int) -> Draw:
        """Everything random in step `step` beside the data: base samples, movements, times, latents, dropped labels."""
        module, x0, x1, augment = self.module, base(batch, self.seed, step, self.part), batch.x1, None
        if self.augmentation is not None:
            x1, augment = self.augmentation(x1, self.seed, step, self.part)
        return module.method.draw(
            module.X, module.interpolant, x0, x1, teacher=module.teacher, average=module.average, labels=batch.labels,
            augment=augment, step=step, seed=key("method", self.seed, step), part=self.part,
        )  # fmt: skip

    def close(self) -> None:
        """Stop loading."""
        self.data.close()


def loaded(dataset: Dataset, n: int, seed: int, device: torch.device, labelled: bool, part: tuple[int, int]) -> Prepare:
    """The rows of a data set on the device, without labels that nobody looks at."""

    def placed(batch: Batch) -> Batch:
        values = (batch.x0, batch.x1, batch.labels if labelled else None)
        return Batch(*(None if value is None else moved(value, device) for value in values))  # type: ignore[arg-type]

    def prepare(step: int) -> Callable[[], Batch]:
        ready = dataset.prepared(step, n, seed=seed, part=part)
        return lambda: placed(ready())

    return prepare


class Coupled:
    """A process's rows of the pairs of a coupling, which every process makes of the whole joint batch.

    All of it is work of the thread that prepares. On CUDA that has a stream of its own: the coupling waits for the
    device there, and the training for neither.

    Args:
        load: makes the joint batch.
        coupling: pairs its samples.
        seed: seed of the run.
        device: where the batch is.
        part: as in `JointBatches`.
    """

    def __init__(
        self, load: Prepare, coupling: Coupling, seed: int, device: torch.device, part: tuple[int, int]
    ) -> None:
        self.load, self.coupling, self.seed, self.device, self.part = load, coupling, seed, device, part
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)
            self.stream.wait_stream(torch.cuda.current_stream(device))  # the data set may be on its way there

    def __call__(self, step: int) -> Callable[[], Batch]:
        """The pairs of a step, and what is left to the training: to wait for them on the device."""
        with nullcontext() if self.stream is None else torch.cuda.stream(self.stream):
            joint, source = self.load(step)(), generator("coupling", self.seed, step)
            x0 = base(joint, self.seed, step)
            x0, x1, labels = self.coupling(x0, joint.x1, joint.labels, labels0=joint.labels, generator=source)
            own = Batch(x0, x1, labels).part(*self.part)
            made = None if self.stream is None else self.stream.record_event()
        return lambda: self._taken(own, made)

    def _taken(self, own: Batch, made: torch.cuda.Event | None) -> Batch:
        if made is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_event(made)
            for value in own:
                if value is not None:
                    value.record_stream(now)  # so that its memory is not given to the next step too early
        return own


def base(batch: Batch, seed: int, step: int, part: tuple[int, int] = (0, 1)) -> Tensor:
    """The base samples of a batch, its own or standard normal ones; those of part `part` of the joint batch."""
    return normal_like(batch.x1, "base", seed, step, part=part) if batch.x0 is None else batch.x0

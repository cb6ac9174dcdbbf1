r"""The batch of a training step, drawn whole on every process: a function of the seed and the step.

Process $r$ of $W$ takes its rows of it. So the pairs, the times and the noise of a step depend neither on the number of
processes nor on what was interrupted and resumed, and a coupling sees the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowops._keys import generator, key
from flowops.data import Batch, Prefetched
from flowops.methods import Draw
from flowops.runs.assembly import Assembly
from flowops.training.loss_module import LossModule


class JointBatches(Iterator[Draw]):
    """The drawn batches of the steps from `start` on; the next data are loaded while a step computes.

    Args:
        n: samples of a step.
        seed: seed of the run.
        assembly: data set and coupling.
        module: the loss, whose method draws.
        device: where the batches live.
        start: number of steps that are done.
    """

    def __init__(
        self, n: int, seed: int, assembly: Assembly, module: LossModule, device: torch.device, start: int
    ) -> None:
        self.seed, self.assembly, self.module, self.device, self.step = seed, assembly, module, device, start
        self.data = Prefetched(assembly.dataset, n, seed, start)

    @property
    def waited(self) -> float:
        """Seconds that were spent waiting for data so far."""
        return self.data.waited

    def __next__(self) -> Draw:
        drawn = draw_batch(self.seed, self.assembly, self.module, next(self.data), self.step, self.device)
        self.step += 1
        return drawn

    def close(self) -> None:
        """Stop loading."""
        self.data.close()


def draw_batch(
    seed: int, assembly: Assembly, module: LossModule, batch: Batch, step: int, device: torch.device
) -> Draw:
    """Everything random in step `step` beside the data: base samples, pairs, times, latents, dropped labels."""
    x1 = batch.x1.to(device, non_blocking=True)
    labels = batch.labels.to(device, non_blocking=True) if assembly.conditional and batch.labels is not None else None
    x0 = base_samples(x1, seed, step) if batch.x0 is None else batch.x0.to(device, non_blocking=True)
    if assembly.coupling is not None:
        source = generator("coupling", seed, step)
        x0, x1, labels = assembly.coupling(x0, x1, labels, labels0=labels, generator=source)
    return module.method.draw(
        module.X, module.interpolant, x0, x1, teacher=module.teacher, average=module.average, labels=labels, step=step,
        seed=key("method", seed, step),
    )  # fmt: skip


def base_samples(like: Tensor, seed: int, step: int) -> Tensor:
    """Standard normal samples of a step."""
    there = torch.Generator(like.device).manual_seed(key("base", seed, step))
    return torch.randn(like.shape, generator=there, dtype=like.dtype, device=like.device)

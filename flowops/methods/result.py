"""What a training method returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class NonFinite:
    """Where a loss first stopped being finite; printing it gives the sentence."""

    term: str
    sample: int
    s: float
    t: float
    seed: int

    def __str__(self) -> str:
        """The sentence for a log."""
        return (
            f"The loss is not finite in the term {self.term!r} at sample {self.sample}, (s, t) = "
            f"({self.s:.6g}, {self.t:.6g}); call the method on the same batch with seed={self.seed} to replay it."
        )


class MethodResult(NamedTuple):
    r"""The loss of one batch and where it came from; a tuple, which passes through every wrapper of a module.

    Attributes:
        loss: the batch mean of `per_sample`, 0-d.
        terms: what each term adds to the loss, 0-d each; they sum to it.
        per_sample: the loss of each sample, `[batch]`.
        s: the start time of each sample, `[batch]`; with `t` it sorts `per_sample` into cells for telemetry. Where
            several terms use a sample these are the times of the last of them.
        t: the end time of each sample, `[batch]`.
        per_term: what each term adds to each sample, `[batch]` each; zero on the samples that a term does not use.
        seed: a 0-d integer on the CPU from which every draw of this call came; `method(..., seed=...)` repeats them.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    per_sample: Tensor
    s: Tensor
    t: Tensor
    per_term: dict[str, Tensor]
    seed: Tensor

    def nonfinite(self) -> NonFinite | None:
        """The first sample whose loss is NaN or infinite, or None. Cost: one synchronization with the device."""
        bad = torch.stack([~values.isfinite() for values in self.per_term.values()])
        if not bool(bad.any()):
            return None
        term, sample = divmod(int(bad.flatten().int().argmax()), bad.shape[1])
        times = self.s[sample].item(), self.t[sample].item()
        return NonFinite(list(self.per_term)[term], sample, *times, seed=int(self.seed))

"""What can go wrong in an adaptive solve, for each sample, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

REACHED, SINGULAR, VANISHED, EXHAUSTED, STIFF = range(5)
_CAUSES = {
    SINGULAR: "the field is not finite there",
    VANISHED: "the step fell to rounding, as before a singularity or at a jump of the field",
    EXHAUSTED: "max_steps exceeded ({steps})",
    STIFF: "the equation is stiff there: stability, not accuracy, holds the step down, and max_steps ({steps}) would "
    "not do",
}
_ADVICE = (
    "; end the interval before the singularity, loosen rtol and atol, or use a fixed-step method such as method='rk4'."
)
_NAMED = 8  # samples that an error names


class SolverError(RuntimeError):
    """An ODE solve that could not reach its tolerance, or met a non-finite right-hand side.

    Attributes:
        samples: which samples of the batch failed, where that is known.
    """

    def __init__(self, message: str, samples: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.samples = samples


@dataclass(frozen=True)
class Ends:
    """Where every sample of a solve stopped, `[batch]` each: why, when, and at a state of which norm."""

    status: Tensor
    tau: Tensor
    norm: Tensor

    def failure(self, method: str, max_steps: int) -> SolverError | None:
        """The error that names the samples which did not arrive, if there are any."""
        failed = self.status.nonzero()[:, 0].tolist()
        if not failed:
            return None
        first, batch = failed[0], len(self.status)
        place = f"near time {self.tau[first].item():.6g} at a state of norm {self.norm[first].item():.4g}"
        cause = _CAUSES[int(self.status[first])].format(steps=max_steps)
        if len(failed) == 1:
            head = f"The {method} solve failed {place} (sample {first} of {batch}): {cause}"
        else:
            names = ", ".join(map(str, failed[:_NAMED])) + (", ..." if len(failed) > _NAMED else "")
            many = f"{len(failed)} of {batch} samples ({names})"
            head = f"The {method} solve failed for {many}; sample {first} failed {place}: {cause}"
        return SolverError(head + _ADVICE, tuple(failed))

    @staticmethod
    def join(parts: Sequence[Ends]) -> Ends:
        """The ends of consecutive chunks."""
        return Ends(*(torch.cat([getattr(part, name) for part in parts]) for name in ("status", "tau", "norm")))

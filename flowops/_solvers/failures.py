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
    "end the interval before the singularity, loosen rtol and atol, or use a fixed-step method such as method='rk4'"
)
_FOR_STIFF = "use method='rodas5p', which is implicit, or loosen rtol and atol"
_NAMED = 8  # samples that an error names


class SolverError(RuntimeError):
    """An ODE solve that could not reach its tolerance, or met a non-finite right-hand side.

    Attributes:
        samples: which samples of the batch failed, where that is known.
    """

    def __init__(self, message: str, samples: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.samples = samples


def failure(method: str, where: str, cause: str, samples: tuple[int, ...] = (), stiff: bool = False) -> SolverError:
    """The error that says where and why a solve failed, and what to try."""
    advice = _FOR_STIFF if stiff else _ADVICE
    return SolverError(f"The {method} solve failed {where}: {cause}; {advice}.", samples)


def near(tau: Tensor, norm: Tensor) -> str:
    """A time and the norm of the state there."""
    return f"near time {tau.item():.6g} at a state of norm {norm.item():.4g}"


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
        status = int(self.status[first])
        where = near(self.tau[first], self.norm[first])
        if len(failed) == 1:
            where = f"{where} (sample {first} of {batch})"
        else:
            names = ", ".join(map(str, failed[:_NAMED])) + (", ..." if len(failed) > _NAMED else "")
            where = f"for {len(failed)} of {batch} samples ({names}); sample {first} failed {where}"
        return failure(method, where, _CAUSES[status].format(steps=max_steps), tuple(failed), status == STIFF)

    @staticmethod
    def join(parts: Sequence[Ends]) -> Ends:
        """The ends of consecutive chunks."""
        return Ends(*(torch.cat([getattr(part, name) for part in parts]) for name in ("status", "tau", "norm")))

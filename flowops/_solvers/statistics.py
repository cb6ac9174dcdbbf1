"""What a solve cost, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """The work of one solve, `[batch]` each.

    Attributes:
        steps: accepted steps.
        rejected: steps that were tried and not accepted.
        calls: evaluations of the right-hand side that these took; a gradient repeats the accepted steps.
        stiff: whether stability rather than accuracy held the step down for long.
        failed: whether the sample did not arrive.
    """

    steps: Tensor
    rejected: Tensor
    calls: Tensor
    stiff: Tensor
    failed: Tensor

    @staticmethod
    def join(parts: Sequence[Statistics]) -> Statistics:
        """The statistics of consecutive chunks."""
        return Statistics(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Statistics)))

"""Many examples as one batch, each sample with its own times: a solve of thirty costs little more than one of one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import settings
from torch import Tensor

from theory_checks.cases import Case


class Batch(NamedTuple):
    """Times `s`, `u` and `t`, one per sample, and the states that they belong to."""

    s: Tensor
    u: Tensor
    t: Tensor
    x: Tensor


def batch(case: Case, seed: int) -> Batch:
    """Four samples for each example of the profile: ends, the middle, equal times, and uniform ones between."""
    n = 4 * settings().max_examples
    generator = torch.Generator().manual_seed(seed)
    times = torch.rand(3, n, generator=generator, dtype=torch.float64)
    edges = torch.randint(3, (3, n), generator=generator) / 2
    times = torch.where(torch.rand(3, n, generator=generator) < 0.3, edges.double(), times)
    equal = torch.rand(n, generator=generator) < 0.1
    s, u, t = times
    return Batch(s, u, torch.where(equal, s, t), case.states(n, seed))


def inner_times(seed: int) -> Tensor:
    """Three times in [0.05, 0.95] for each example of a check by solves: both ends, and uniform ones between."""
    n = 3 * max(3, settings().max_examples // 3)
    times = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    times[:2] = torch.tensor([0.0, 1.0])
    return 0.05 + 0.9 * times


DRAWN = (batch, inner_times)  # a module that holds one of them draws as many examples as the profile says

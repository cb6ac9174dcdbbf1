r"""Where the error of a distilled model comes from: its teacher, its own field, or the steps it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops._types import TimeLike
from flowops.certificates.certify import sampler_times
from flowops.certificates.interval import LEVEL, Interval
from flowops.certificates.norms import euclidean
from flowops.fields import VelocityField
from flowops.fields.velocity_field import check_velocity_field
from flowops.maps import FlowMap


@dataclass(frozen=True, eq=False)
class Part:
    r"""One part $e_k$ of an error $e=\sum_ke_k$.

    Attributes:
        error: $e_k$ of every sample, `[n, *event]`.
        size: $(\mathbb E|e_k|^2)^{1/2}$.
        contribution: $\mathbb E\langle e_k,e\rangle$; those of all parts sum to $\mathbb E|e|^2$.
    """

    error: Tensor
    size: Interval
    contribution: Interval


@dataclass(frozen=True, eq=False)
class Decomposition:
    r"""The error of a sampler, $\hat X_{t_{K-1},t_K}\circ\dots\circ\hat X_{t_0,t_1}(x)-X_{t_0,t_K}(x)$, in three parts.

    Attributes:
        teacher: $\Phi^{\hat b}-X$, what the flow of the teacher's field is off.
        map: $\Phi^{\hat v}-\Phi^{\hat b}$, what the flow of the map's own diagonal is off that of the teacher.
        discretization: $\hat X\circ\dots\circ\hat X-\Phi^{\hat v}$, what the steps are off the flow of their own
            diagonal; it vanishes for a consistent map, and as the steps get short.
        total: the error.
    """

    teacher: Part
    map: Part
    discretization: Part
    total: Part

    def __str__(self) -> str:
        """A table."""
        lines = [f"{'':<16}{'root mean square':>28}{'contribution to the square':>36}"]
        for name in ("teacher", "map", "discretization", "total"):
            part: Part = getattr(self, name)
            lines.append(f"{name:<16}{part.size!s:>28}{part.contribution!s:>36}")
        return "\n".join(lines)


@torch.no_grad()
def decompose(
    X: FlowMap,
    teacher: VelocityField,
    b: VelocityField,
    x: Tensor,
    times: Sequence[TimeLike] | Tensor = (0.0, 1.0),
    *,
    flow: FlowMap | None = None,
    level: float = LEVEL,
) -> Decomposition:
    r"""Teacher error, map error and discretization error of a distilled model against the truth.

    The parts of every sample sum to its error, and their contributions $\mathbb E\langle e_k,e\rangle$ to
    $\mathbb E|e|^2$; a negative one undoes what others do.

    Args:
        X: the map.
        teacher: the field $\hat b$ that it was distilled from.
        b: the true field.
        x: independent draws of the law at the first time, at least two.
        times: of the sampler.
        flow: the flow map of `b`; solved for if None.
        level: of the intervals.

    Raises:
        TypeError, ValueError: as `certify`, and for fewer than two draws.

    Cost: three solves and the sampler. Checked by `theory_checks/test_error_decomposition.py`.
    """
    check_velocity_field(teacher, "teacher")
    grid = sampler_times(X, b, x, times)
    s, t = grid[0], grid[-1]
    truth = (b.flow_map() if flow is None else flow)(s, t, x)
    taught, own = (field.flow_map()(s, t, x) for field in (teacher, X.velocity()))
    sampled = X.compose(list(grid), x)
    total = sampled - truth

    def part(error: Tensor) -> Part:
        along = (error.double() * total.double()).reshape(len(x), -1).sum(1)
        square = Interval.of_mean(euclidean(error.double()).square(), level)
        return Part(error, square.root(), Interval.of_mean(along, level))

    return Decomposition(part(taught - truth), part(own - taught), part(sampled - own), part(total))

r"""Log-likelihood of the law that a velocity field carries, by the augmented equation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowops._solvers import Solver
from flowops._types import PerSample, State, Times
from flowops.fields.divergence import inner, rademacher

if TYPE_CHECKING:
    from flowops.fields.velocity_field import VelocityField

Base = torch.distributions.Distribution | Callable[[Tensor], Tensor]


def log_prob(
    b: VelocityField,
    x: State,
    t: Times,
    base: Base | None,
    *,
    divergence: str = "exact",
    n: int = 1,
    generator: torch.Generator | None = None,
    **solver: Any,
) -> PerSample:
    r"""$\log\rho_t(x)$ by one solve from `t` back to 0 of $\dot x=b_\tau(x),\ \dot\ell=\nabla\!\cdot b_\tau(x)$.

    With the exact divergence it is a solve of the map, in the clock of the field if it has one.
    """
    if divergence not in ("exact", "hutchinson"):
        raise ValueError(f'`divergence` must be "exact" or "hutchinson", got "{divergence}"; pass one of the two.')
    collapsed = b._collapsed(t)
    if collapsed is not None and bool(collapsed.any()):
        when = t[collapsed][0].item()
        raise ValueError(f"`t` must be a time at which the law has a density, got {when:g}, where it is one of points.")
    if divergence == "exact":
        start, change = b.flow_map(**solver)._with_log_abs_det(t, torch.zeros_like(t), x)
        return base_log_prob(base, start) + change
    probes = rademacher(x, n, generator)

    def system(rows: Tensor | None) -> Callable[..., tuple[Tensor, ...]]:
        field, signs = (b, probes) if rows is None else (b.subset(rows), probes[:, rows])

        def slopes(tau: Tensor, y: Tensor, _: Tensor) -> tuple[Tensor, ...]:
            return field(tau, y), torch.stack([inner(field.jvp(tau, y, e), e) for e in signs]).mean(0)

        return slopes

    parts = (x, x.new_zeros(x.shape[0]))
    start, change = Solver.from_options(**solver).solve(system, parts, t, torch.zeros_like(t), b.dependencies())
    return base_log_prob(base, start) + change


def base_log_prob(base: Base | None, x: State) -> PerSample:
    """Log-density of the base, `[batch]`; a factorized distribution's entries are summed over the event."""
    if base is None:
        return -0.5 * (inner(x, x) + x.shape[1:].numel() * math.log(2 * math.pi))
    values = base.log_prob(x) if isinstance(base, torch.distributions.Distribution) else base(x)
    if values.shape == x.shape[:1]:
        return values
    if values.shape == x.shape:
        return values.reshape(x.shape[0], x.shape[1:].numel()).sum(1)
    raise ValueError(
        f"`base` must give one log-density per sample, shape {[x.shape[0]]}, got {list(values.shape)}; reinterpret its "
        f"batch axes as event axes (torch.distributions.Independent)."
    )

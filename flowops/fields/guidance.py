"""Guidance as an operation on velocity fields."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowops._arguments import number
from flowops._types import State, Times
from flowops.fields.algebra import factor_of, scale_by
from flowops.fields.velocity_field import VelocityField, check_velocity_field


def guided(
    b_cond: VelocityField,
    b_uncond: VelocityField,
    scale: float | Tensor,
    interval: tuple[float, float] | Tensor | None = None,
) -> VelocityField:
    r"""Classifier-free (or auto-) guidance, $b_t^w(x)=b_t(x;\varnothing)+w\,(b_t(x;c)-b_t(x;\varnothing))$.

    At $w=0$ it is the unconditional field, at $w=1$ the conditional one, beyond 1 an extrapolation, which is in general
    not the field of any tilted density at all times.

    Args:
        b_cond: conditional (or better) field; `guided(...).given(...)` conditions this one only.
        b_uncond: unconditional (or worse) field.
        scale: $w$, a number or one per sample, `[batch]`.
        interval: the times, ends included, at which the scale is $w$; at the others it is 1. A pair, or one per sample,
            `[batch, 2]`; None for all times.

    Raises:
        TypeError: if either is no `VelocityField`.
        ValueError: unless the pair increases, or the tensor has that shape.

    Cost: one call of each field. Source: Ho, Salimans 2207.12598; Zheng et al. 2311.13443; 2505.18825 §F.5 (98);
    Kynkäänniemi et al. 2404.07724 for intervals.
    """
    for name, b in (("b_cond", b_cond), ("b_uncond", b_uncond)):
        check_velocity_field(b, name)
    return Guided(b_cond, b_uncond, scale, interval)


class Guided(VelocityField):
    """The field of `guided`."""

    _unconditioned: ClassVar[tuple[str, ...]] = ("b_uncond",)
    _held: ClassVar[tuple[str, ...]] = ("scale", "interval")

    def __init__(
        self,
        b_cond: VelocityField,
        b_uncond: VelocityField,
        scale: float | Tensor,
        interval: tuple[float, float] | Tensor | None = None,
    ) -> None:
        super().__init__()
        if isinstance(interval, Tensor):
            if interval.ndim != 2 or interval.shape[1] != 2:
                raise ValueError(
                    f"`interval` must be a pair of times or have shape [batch, 2], got {list(interval.shape)}; pass "
                    f"one row per sample."
                )
        elif interval is not None and number(interval[0], "interval") >= number(interval[1], "interval"):
            raise ValueError(f"`interval` must be two increasing times, got {interval}; pass (0.1, 0.9), say.")
        self.b_cond, self.b_uncond = b_cond, b_uncond
        self._conditions = {"scale": factor_of(scale, "scale"), "interval": interval}

    def forward(
        self, t: Times, x: State, *, scale: float | Tensor, interval: tuple[float, float] | Tensor | None
    ) -> State:
        if interval is not None:
            low, high = interval.unbind(1) if isinstance(interval, Tensor) else interval
            scale = torch.where((t >= low) & (t <= high), scale, 1.0)
        unconditional = self.b_uncond(t, x)
        return unconditional + scale_by(scale, self.b_cond(t, x) - unconditional)

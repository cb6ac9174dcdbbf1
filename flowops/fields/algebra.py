"""Velocity fields made of velocity fields: sums, multiples, the reversed clock."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowops._arguments import number, per_event
from flowops._types import State, Times
from flowops.fields.velocity_field import VelocityField


class Sum(VelocityField):
    r"""$a_t(x)+b_t(x)$."""

    def __init__(self, a: VelocityField, b: VelocityField) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, t: Times, x: State) -> State:
        return self.a(t, x) + self.b(t, x)


class Scaled(VelocityField):
    r"""$c\,b_t(x)$ for a number or 0-d tensor $c$, or one factor per sample, `[batch]`."""

    _held: ClassVar[tuple[str, ...]] = ("factor",)

    def __init__(self, factor: float | Tensor, b: VelocityField) -> None:
        super().__init__()
        self.b, self._conditions = b, {"factor": factor_of(factor, "c")}

    def forward(self, t: Times, x: State, *, factor: float | Tensor) -> State:
        return scale_by(factor, self.b(t, x))


class Reversed(VelocityField):
    r"""$\tilde b_t(x)=-b_{1-t}(x)$, whose flow map is $X_{1-s,1-t}$."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.b = b

    def forward(self, t: Times, x: State) -> State:
        return -self.b(1 - t, x)

    def reversed(self) -> VelocityField:
        return self.b


def factor_of(factor: float | Tensor, name: str) -> float | Tensor:
    """A factor as a float, a 0-d tensor or a `[batch]` tensor."""
    if not isinstance(factor, Tensor):
        return number(factor, name)
    if factor.ndim > 1 or not factor.is_floating_point():
        raise ValueError(
            f"`{name}` must be a number or a floating tensor of shape [] or [batch], got {factor.dtype} of shape "
            f"{list(factor.shape)}; reshape or convert it."
        )
    return factor


def scale_by(factor: float | Tensor, value: Tensor) -> Tensor:
    """`factor * value` in the dtype of `value`, with a `[batch]` factor spread over the event."""
    if not isinstance(factor, Tensor):
        return factor * value
    return torch.mul(per_event(factor, value) if factor.ndim else factor, value).to(value.dtype)

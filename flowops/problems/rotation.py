"""Rotation at constant angular speed, in the planes of consecutive coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops._types import PerSample, State, TimeLike, Times
from flowops.fields import VelocityField
from flowops.problems._affine import AffineMap
from flowops.problems._checks import as_parameter, flatten
from flowops.problems.problem import Problem, standard_normal


def rotation(omega: object = torch.pi / 2, d: int = 2) -> Problem[RotationField, RotationMap]:
    r"""$\dot x=\omega Jx$ in every plane $(x_{2i},x_{2i+1})$, whose flow turns the plane by the angle $(t-s)\omega$.

    Args:
        omega: angular speed, a number or one per plane, `[d / 2]`; counter-clockwise if positive.
        d: number of coordinates, even. `b` and `X` take any event with `d` entries.

    Raises:
        ValueError: for an odd `d`, or speeds that do not fit it.
    """
    if whole(d, "d", 2) % 2:
        raise ValueError(f"`d` must be an even number of coordinates, at least 2, got {d!r}.")
    speed = as_parameter(omega, "omega")
    if speed.ndim and speed.shape != (d // 2,):
        raise ValueError(f"`omega` must be a number or have shape [d / 2] = [{d // 2}], got {list(speed.shape)}.")
    speed, event = speed.expand(d // 2), torch.Size([d])
    return Problem("rotation", RotationField(speed), RotationMap(speed), None, event, base=standard_normal(event))


class RotationField(VelocityField):
    r"""$b_t(x)=\omega\,(-x_{2i+1},x_{2i})$ in every plane."""

    def __init__(self, omega: Tensor) -> None:
        super().__init__()
        self.register_buffer("omega", omega.clone())
        self.omega: Tensor

    def forward(self, t: Times, x: State) -> State:
        first, second = _planes(x, len(self.omega))
        omega = self.omega.to(x.dtype)
        return torch.stack([-omega * second, omega * first], -1).reshape(x.shape)


class RotationMap(AffineMap):
    r"""$X_{s,t}(x)$: every plane turned by $(t-s)\omega$."""

    def __init__(self, omega: Tensor) -> None:
        super().__init__()
        self.register_buffer("omega", omega.clone())
        self.omega: Tensor

    def forward(self, s: Times, t: Times, x: State) -> State:
        return self._linear(s, t, x)

    def log_abs_det(self, s: TimeLike, t: TimeLike, x: Tensor) -> PerSample:
        """Zero: a rotation keeps volumes."""
        self._operands(s, t, x)
        _planes(x, len(self.omega))
        return x.new_zeros(x.shape[:1])

    def _linear(self, s: Times, t: Times, u: Tensor) -> Tensor:
        first, second = _planes(u, len(self.omega))
        angle = (t - s)[:, None] * self.omega.to(t.dtype)
        cos, sin = angle.cos(), angle.sin()
        return torch.stack([cos * first - sin * second, sin * first + cos * second], -1).reshape(u.shape)


def _planes(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The two coordinates of every plane, `[batch, count]` each."""
    first, second = flatten(x, 2 * count).unflatten(1, (count, 2)).unbind(-1)
    return first, second

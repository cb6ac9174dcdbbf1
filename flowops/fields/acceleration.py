r"""The material acceleration of a field."""

from __future__ import annotations

import torch

from flowops._derivatives import value_and_jvp
from flowops._types import State, Times
from flowops.fields.velocity_field import VelocityField, check_velocity_field


def acceleration(b: VelocityField) -> VelocityField:
    r"""The field $\partial_tb_t(x)+\nabla b_t(x)\,b_t(x)$, which is $\ddot x_t$ along the trajectories of $b$.

    It vanishes if and only if trajectories are straight and of constant speed, where one Euler step is exact.

    >>> b = VelocityField.from_function(lambda t, x: -x)
    >>> acceleration(b)(0.0, torch.ones(1, 2))
    tensor([[1., 1.]])

    Raises:
        TypeError: for anything but a field.

    Cost: one augmented forward-mode pass and one call of `b`. Source: Batchelor, An Introduction to Fluid Dynamics,
    §2.1. Checked by `theory_checks/test_material_acceleration.py`.
    """
    check_velocity_field(b)
    return Acceleration(b)


class Acceleration(VelocityField):
    """The field of `acceleration`."""

    def __init__(self, b: VelocityField) -> None:
        super().__init__()
        self.b = b

    def forward(self, t: Times, x: State) -> State:
        return value_and_jvp(self.b, (t, x), (torch.ones_like(t), self.b(t, x)))[1]

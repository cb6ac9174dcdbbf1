"""The twenty-five problems of DETEST, from 0 to 20 each: Hull, Enright, Fellen, Sedgwick 1972.

A: single equations, B: small systems, C: moderate systems, D: orbits, E: equations of higher order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowops import VelocityField

END = 20.0


@dataclass(frozen=True)
class Problem:
    """A right-hand side of times `[batch]` and states `[batch, n]`, and the state at 0."""

    name: str
    slope: Callable[[Tensor, Tensor], Tensor]
    start: tuple[float, ...]

    @property
    def b(self) -> VelocityField:
        """The field."""
        return VelocityField.from_function(self.slope)

    @property
    def y0(self) -> Tensor:
        """The state at 0, `[n]`."""
        return torch.tensor(self.start, dtype=torch.float64)


def rows(y: Tensor) -> tuple[Tensor, ...]:
    return y.unbind(1)


def columns(*components: Tensor) -> Tensor:
    return torch.stack(components, 1)


def predators(_: Tensor, y: Tensor) -> Tensor:
    p, q = rows(y)
    return columns(2 * (p - p * q), -(q - p * q))


def reaction(_: Tensor, y: Tensor) -> Tensor:
    p, q, _r = rows(y)
    return columns(-p, p - q**2, q**2)


def torus(_: Tensor, y: Tensor) -> Tensor:
    p, q, r = rows(y)
    radius = torch.sqrt(p**2 + q**2)
    return columns(-q - p * r / radius, p - q * r / radius, p / radius)


def rigid_body(_: Tensor, y: Tensor) -> Tensor:
    p, q, r = rows(y)
    return columns(q * r, -p * r, -0.51 * p * q)


def linear(matrix: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda _, y: y @ matrix.T


def chain(rates: list[float]) -> Tensor:
    """Decay from one of ten components to the next at these rates; the last one keeps what it gets."""
    lower = torch.tensor(rates, dtype=torch.float64)
    return torch.diag(lower, -1) - torch.diag(torch.cat([lower, lower.new_zeros(1)]))


def diffusion(n: int) -> Tensor:
    one = torch.ones(n - 1, dtype=torch.float64)
    return torch.diag(one, 1) + torch.diag(one, -1) - 2 * torch.eye(n, dtype=torch.float64)


GRAVITY, SUN = 2.95912208286, 1.00000597682
MASSES = torch.tensor(
    [0.000954786104043, 0.000285583733151, 0.0000437273164546, 0.0000517759138449, 0.00000277777777778]
).double()
PLANETS = (
    *(3.42947415189, 3.35386959711, 1.35494901715),
    *(6.64145542550, 5.97156957878, 2.18231499728),
    *(11.2630437207, 14.6952576794, 6.27960525067),
    *(-30.1552268759, 1.65699966404, 1.43785752721),
    *(-21.1238353380, 28.4465098142, 15.3882659679),
    *(-0.557160570446, 0.505696783289, 0.230578543901),
    *(-0.415570776342, 0.365682722812, 0.169143213293),
    *(-0.325325669158, 0.189706021964, 0.0877265322780),
    *(-0.0240476254170, -0.287659532608, -0.117219543175),
    *(-0.176860753121, -0.216393453025, -0.0148647893090),
)


def planets(_: Tensor, y: Tensor) -> Tensor:
    place, speed = (z.reshape(len(y), 5, 3) for z in y.split(15, 1))
    away = place[:, None] - place[:, :, None]  # from planet i to planet j
    cubed = (away.square().sum(-1) + torch.eye(5).double()) ** 1.5
    inward = place / place.square().sum(-1, keepdim=True) ** 1.5
    pull = -(SUN + MASSES[:, None]) * inward + torch.einsum("j,bijk->bik", MASSES, away / cubed[..., None])
    others = torch.einsum("j,bjk->bk", MASSES, inward)[:, None] - MASSES[:, None] * inward
    return torch.cat([speed.flatten(1), (GRAVITY * (pull - others)).flatten(1)], 1)


def orbit(_: Tensor, y: Tensor) -> Tensor:
    place, speed = y.split(2, 1)
    return torch.cat([speed, -place / place.square().sum(1, keepdim=True) ** 1.5], 1)


def ellipse(e: float) -> tuple[float, ...]:
    return (1 - e, 0.0, 0.0, math.sqrt((1 + e) / (1 - e)))


def second_order(force: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda t, y: columns(y[:, 1], force(t, y[:, 0], y[:, 1]))


RING = torch.tensor([[-1.0, 1, 0], [1, -2, 1], [0, 1, -1]]).double()
PROBLEMS = [
    Problem("A1", lambda _, y: -y, (1.0,)),
    Problem("A2", lambda _, y: -(y**3) / 2, (1.0,)),
    Problem("A3", lambda t, y: y * torch.cos(t)[:, None], (1.0,)),
    Problem("A4", lambda _, y: y / 4 * (1 - y / 20), (1.0,)),
    Problem("A5", lambda t, y: (y - t[:, None]) / (y + t[:, None]), (4.0,)),
    Problem("B1", predators, (1.0, 3.0)),
    Problem("B2", linear(RING), (2.0, 0.0, 1.0)),
    Problem("B3", reaction, (1.0, 0.0, 0.0)),
    Problem("B4", torus, (3.0, 0.0, 0.0)),
    Problem("B5", rigid_body, (0.0, 1.0, 1.0)),
    Problem("C1", linear(chain([1.0] * 9)), (1.0, *[0.0] * 9)),
    Problem("C2", linear(chain([float(i) for i in range(1, 10)])), (1.0, *[0.0] * 9)),
    Problem("C3", linear(diffusion(10)), (1.0, *[0.0] * 9)),
    Problem("C4", linear(diffusion(51)), (1.0, *[0.0] * 50)),
    Problem("C5", planets, PLANETS),
    *(Problem(f"D{k}", orbit, ellipse(e)) for k, e in enumerate((0.1, 0.3, 0.5, 0.7, 0.9), 1)),
    Problem(
        "E1",
        second_order(lambda t, y, v: -(v / (t + 1) + (1 - 0.25 / (t + 1) ** 2) * y)),
        (0.6713967071418030, 0.0954005144474746),
    ),
    Problem("E2", second_order(lambda _, y, v: (1 - y**2) * v - y), (2.0, 0.0)),
    Problem("E3", second_order(lambda t, y, _: y**3 / 6 - y + 2 * torch.sin(2.78535 * t)), (0.0, 0.0)),
    Problem("E4", second_order(lambda _, __, v: 0.032 - 0.4 * v**2), (30.0, 0.0)),
    Problem("E5", second_order(lambda t, _, v: torch.sqrt(1 + v**2) / (25 - t)), (0.0, 0.0)),
]

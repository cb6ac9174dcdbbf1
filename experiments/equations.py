"""Equations of textbooks, autonomous: slopes of numbers, or of tensors by columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from flowops import VelocityField

Slopes = Callable[..., list[Any]]


def field(slopes: Slopes) -> VelocityField:
    """The equation for a batch."""
    return VelocityField.from_function(lambda _, x: torch.stack(slopes(*x.unbind(1)), 1))


def lorenz(x: Any, y: Any, z: Any) -> list[Any]:
    """Chaos, of the constant divergence -41/3."""
    return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]


def kepler(x: Any, y: Any, u: Any, v: Any) -> list[Any]:
    """A planet in the plane: place and momentum."""
    cube = (x * x + y * y) ** 1.5
    return [u, v, -x / cube, -y / cube]


def van_der_pol(mu: Any) -> Slopes:
    """A relaxation oscillation for large `mu`."""
    return lambda x, y: [y, mu * (1 - x * x) * y - x]

"""Derivatives of functions of samples that do not interact, against differences that are all taken in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.testing import assert_close

Function = Callable[..., tuple[Tensor, ...]]
"""`(*points) -> values`, every tensor of shape `[batch, ...]`, for batches of any size."""


def differences(function: Function, points: Sequence[Tensor], h: float = 1e-6) -> list[Tensor]:
    """Central differences of every value in each number of its own sample, `[numbers, batch, ...]`."""
    sizes = [z[0].numel() for z in points]
    steps = (h * torch.eye(sum(sizes)).double()).split(sizes, 1)
    moved = []
    for z, step in zip(points, steps, strict=True):
        u = step.reshape(-1, 1, *z.shape[1:])
        moved.append(torch.stack([z + u, z - u]).flatten(0, 2).detach().requires_grad_())
    shape = (2, sum(sizes), len(points[0]))
    pairs = (value.detach().unflatten(0, shape) for value in function(*moved))
    return [(ahead - behind) / (2 * h) for ahead, behind in pairs]


def check_reverse(function: Function, points: Sequence[Tensor], **tolerances: Any) -> None:
    """Every row of the Jacobian is that of the differences, and zero for the other samples."""
    values = function(*points)
    for value, wanted in zip(values, differences(function, points), strict=True):
        for place in torch.ones(value.shape).nonzero().tolist():
            rows = torch.autograd.grad(value[tuple(place)], points, retain_graph=True, materialize_grads=True)
            found = torch.cat([row.reshape(len(row), -1) for row in rows], 1)
            expected = torch.zeros_like(found)
            expected[place[0]] = wanted[(slice(None), *place)]
            assert_close(found, expected, **tolerances)


def check_forward(function: Function, points: Sequence[Tensor], **tolerances: Any) -> None:
    """So is every tangent by dual numbers, of all samples at once."""
    sizes = [z[0].numel() for z in points]
    wanted: list[Any] = differences(function, points)
    for number, direction in enumerate(torch.eye(sum(sizes)).double()):
        parts = zip(points, direction.split(sizes), strict=True)
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(z.detach(), u.reshape(z.shape[1:]).expand(z.shape).clone()) for z, u in parts]
            for value, expected in zip(function(*duals), wanted, strict=True):
                tangent = forward_ad.unpack_dual(value).tangent
                assert_close(
                    torch.zeros_like(expected[number]) if tangent is None else tangent, expected[number], **tolerances
                )

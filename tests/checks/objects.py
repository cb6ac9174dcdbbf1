"""Objects that tests name as `tests.checks.objects:name`."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from flowops import FlowMap, Interpolant, VelocityField, problems
from flowops.problems import Problem

TURNING = problems.rotation(2.0)
STATES = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(10, 2)


def field() -> VelocityField:
    return TURNING.b


def another() -> VelocityField:
    return problems.rotation(2.0).b


def single() -> VelocityField:
    sys.stdout.write("a field is made\n")
    network = nn.ModuleList([nn.Linear(2, 2)])
    b = VelocityField.from_function(lambda _, x: network[0](x))
    b.network = network
    return b


def density(_: Tensor, x: Tensor) -> Tensor:
    return -(x**2).sum(1) / 2


def exact() -> FlowMap:
    return TURNING.X


def euler() -> FlowMap:
    return FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * TURNING.b(s, x))


def states(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, 2, generator=generator, dtype=torch.float64)


def gaussian(I: Interpolant) -> Problem:
    return problems.gaussian([0.5, -0.5], 0.3, I)


def turning() -> Problem:
    return TURNING


def broken() -> VelocityField:
    raise RuntimeError("no weights")


def wide() -> VelocityField:
    return VelocityField.from_function(lambda _, x: torch.cat([x, x], 1))


def nowhere() -> FlowMap:
    return FlowMap.from_function(lambda _s, _t, x: x * float("nan"))

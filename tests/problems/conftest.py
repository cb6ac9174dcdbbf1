"""What the tests of the reference problems share: schedules, and the two routes every exact map is put through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from flowops.fields import VelocityField
from flowops.interpolants import NAMED, Interpolant
from flowops.maps import FlowMap
from flowops.problems import Problem

SCHEDULES: dict[str, Callable[[], Interpolant]] = {
    **NAMED,
    "rounded cosine": lambda: Interpolant.from_expressions("cos(pi*t/2)", "sin(pi*t/2)"),
    "square roots": lambda: Interpolant.from_expressions("sqrt(1-t)", "sqrt(t)"),
    "bridge": lambda: Interpolant.from_expressions("1-t", "t", "sqrt(2*t*(1-t))"),
}


@pytest.fixture(params=SCHEDULES)
def schedule(request: pytest.FixtureRequest) -> Interpolant:
    """The named schedules, and one whose alpha rounds below zero, one with infinite slopes, one with a latent."""
    return SCHEDULES[request.param]()


def _solved(problem: Problem[VelocityField, FlowMap], s: float, t: float, x: Tensor) -> Tensor:
    def slope(tau: float, y: np.ndarray) -> np.ndarray:
        return problem.b(tau, torch.from_numpy(y.copy()).reshape(x.shape)).numpy().ravel()

    solution = solve_ivp(slope, (s, t), x.numpy().ravel(), method="DOP853", rtol=1e-12, atol=1e-12)
    return torch.from_numpy(solution.y[:, -1]).reshape(x.shape)


@pytest.fixture
def check_flow(generator: torch.Generator) -> Callable[..., None]:
    """The map of a problem against scipy's solution of its field, forward, backward and at equal times."""

    def check(
        problem: Problem[VelocityField, FlowMap],
        x: Tensor,
        times: tuple[tuple[float, float], ...] = ((0.1, 0.8), (0.9, 0.2)),
    ) -> None:
        X = problem.X
        for s, t in times:
            torch.testing.assert_close(X(s, t, x), _solved(problem, s, t, x), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(X(0.3, 0.3, x), x)
        s, t = torch.rand(2, len(x), generator=generator, dtype=x.dtype)
        each = torch.cat([X(a, b, y[None]) for a, b, y in zip(s, t, x, strict=True)])
        torch.testing.assert_close(X(s, t, x), each)

    return check


@pytest.fixture
def check_derivatives(generator: torch.Generator) -> Callable[..., None]:
    """Every derivative that a map overrides against the one that `FlowMap` takes from its forward."""

    def check(X: FlowMap, x: Tensor) -> None:
        s, t = torch.rand(2, len(x), generator=generator, dtype=x.dtype)
        u = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        for name, arguments in (
            ("value_and_dt", ()),
            ("ds", ()),
            ("jvp", (u,)),
            ("material_derivative", (u,)),
            ("vjp", (u,)),
            ("jacobian", ()),
            ("log_abs_det", ()),
        ):
            own = getattr(X, name)(s, t, x, *arguments)
            generic = getattr(FlowMap, name)(X, s, t, x, *arguments)
            torch.testing.assert_close(own, generic, rtol=1e-9, atol=1e-9, msg=partial("{}: {}".format, name))

    return check

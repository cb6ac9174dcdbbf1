"""The pendulum: the map is the flow below, above and on the separatrix, counts turns, and keeps energy and areas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import ellipj, ellipk
from torch.testing import assert_close

from flowops import problems


def states(generator: torch.Generator, spread: float) -> torch.Tensor:
    """Swings alone for a small spread, most of them turns for a large one."""
    return spread * torch.randn(12, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("omega", "spread"), [(2.0, 0.3), (1.0, 4.0)])
def test_the_map_is_the_flow_of_the_field(omega, spread, generator, check_flow, check_derivatives):
    problem = problems.pendulum(omega)
    x = states(generator, spread)
    check_flow(problem, x, ((0.1, 0.8), (0.9, -8.0)))
    check_derivatives(problem.X, x)


def test_it_takes_any_event_of_two_entries(generator):
    X, x = problems.pendulum().X, states(generator, 1.0)
    assert torch.equal(X(0.1, 0.7, x.reshape(-1, 1, 2)), X(0.1, 0.7, x).reshape(-1, 1, 2))


def test_on_the_separatrix_it_rises_forever():
    omega, t = 1.3, 1.1
    problem = problems.pendulum(omega)
    x = torch.tensor([[0.0, 2 * omega], [0.0, -2 * omega]], dtype=torch.float64)
    angle = 2 * math.asin(math.tanh(omega * t))
    expected = torch.tensor([[angle, 2 * omega / math.cosh(omega * t)]], dtype=torch.float64)
    assert_close(problem.X(0.0, t, x), torch.cat([expected, -expected]), rtol=1e-11, atol=1e-11)
    assert_close(problem.X.jacobian(0.0, t, x), problem.b.flow_map().jacobian(0.0, t, x), rtol=0, atol=1e-4)


def test_equilibria_stay_and_have_the_derivatives_of_their_linearizations():
    X, t = problems.pendulum(1.5).X, 0.8
    x = torch.tensor([[0.0, 0.0], [math.pi, 0.0], [-2 * math.pi, 0.0]], dtype=torch.float64)
    assert_close(X(0.0, t, x), x, rtol=0, atol=1e-14)
    c, s, C, S = math.cos(1.2), math.sin(1.2), math.cosh(1.2), math.sinh(1.2)
    stable, unstable = [[c, s / 1.5], [-1.5 * s, c]], [[C, S / 1.5], [1.5 * S, C]]
    assert_close(X.jacobian(0.0, t, x), torch.tensor([stable, unstable, stable]).double(), rtol=0, atol=1e-6)


def test_a_swing_is_that_of_textbooks_and_has_their_period():
    k, omega, t = 0.6, 2.0, np.linspace(-3, 3, 9)
    sn, cn, _, _ = ellipj(omega * t, k**2)
    textbook = np.stack([2 * np.arcsin(k * sn), 2 * omega * k * cn], 1)
    x = torch.tensor([[0.0, 2 * omega * k]], dtype=torch.float64).expand(9, 2)
    X = problems.pendulum(omega).X
    assert_close(X(0.0, torch.from_numpy(t), x), torch.from_numpy(textbook), rtol=1e-12, atol=1e-12)
    assert_close(X(0.0, 4 * float(ellipk(k**2)) / omega, x), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("turns", [1, 3, 20, -7])
def test_turns_are_counted(turns):
    omega, k = 1.0, 1.01
    period = 2 * float(ellipk(k**-2)) / (k * omega)
    x = torch.tensor([[0.4, 2 * math.sqrt(k**2 - math.sin(0.2) ** 2)]], dtype=torch.float64)
    moved = problems.pendulum(omega).X(0.0, turns * period, x)
    around = torch.tensor([2 * math.pi * turns, 0.0], dtype=torch.float64)
    assert_close(moved, x + around, rtol=1e-11, atol=1e-11)


def test_energy_is_the_half_of_the_field_that_it_generates(generator):
    b, x = problems.pendulum(1.7).b, states(generator, 2.0).requires_grad_()
    (slope,) = torch.autograd.grad(b.hamiltonian(x).sum(), x)
    assert_close(b(0.3, x), torch.stack([slope[:, 1], -slope[:, 0]], 1))


def test_misfits_are_refused():
    with pytest.raises(ValueError, match="`omega` must be positive, got -1.0"):
        problems.pendulum(-1.0)
    with pytest.raises(ValueError, match="`x` must have events of 2 entries"):
        problems.pendulum().X(0.0, 1.0, torch.zeros(1, 3))

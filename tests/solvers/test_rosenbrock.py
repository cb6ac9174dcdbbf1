r"""Rosenbrock-Wanner methods: order conditions over rooted trees, stability in the left half plane, single steps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowops._solvers.linearized import Linearized
from flowops._solvers.rosenbrock import ROSENBROCK, Rosenbrock
from tests.examples import normal
from tests.solvers.trees import Tree, density, trees

METHODS = pytest.mark.parametrize("method", ROSENBROCK.values(), ids=list(ROSENBROCK))
LOWER = {"rodas5p": 4}
Rows = list[list[Fraction]]


def square(rows: tuple[tuple[Fraction, ...], ...]) -> Rows:
    n = len(rows)
    return [[*row, *[Fraction()] * (n - len(row))] for row in rows]


def product(a: Rows, b: Rows) -> Rows:
    return [
        [sum((p * q for p, q in zip(row, column, strict=True)), Fraction()) for column in zip(*b, strict=True)]
        for row in a
    ]


def untransformed(method: Rosenbrock) -> tuple[Rows, Rows, list[list[Fraction]]]:
    r"""$\alpha$, $\Gamma$ and the weights of the end and of the embedded solution, for slopes $k$ with $u=\Gamma k$.

    $\Gamma^{-1}=I/\gamma-(g_{ij})$ is triangular.
    """
    n, g = method.stages, square(method.g)
    gamma: Rows = []
    for i in range(n):
        row = [method.gamma * sum((g[i][k] * gamma[k][j] for k in range(i)), Fraction(i == j)) for j in range(n)]
        gamma.append(row)
    ends = [list(method.a[-1]), [m - e for m, e in zip(method.a[-1], method.errors, strict=True)]]
    return product(square(method.a[:-1]), gamma), gamma, product(ends, gamma)


def defect(tree: Tree, alpha: Rows, beta: Rows, b: list[Fraction]) -> float:
    r"""$\gamma(\tau)\sum_ib_i\Phi_i(\tau)-1$, with $\beta=\alpha+\Gamma$ below a node of one branch.

    Source: Hairer, Wanner, Solving ODEs II, theorem IV.7.4.
    """

    def weights(tree: Tree) -> list[Fraction]:
        result = [Fraction(1)] * len(alpha)
        for branch in tree:
            inner = [[w] for w in weights(branch)]
            moved = product(beta if len(tree) == 1 else alpha, inner)
            result = [p * q[0] for p, q in zip(result, moved, strict=True)]
        return result

    return float(density(tree) * sum((w * v for w, v in zip(b, weights(tree), strict=True)), Fraction()) - 1)


@METHODS
def test_the_end_and_the_embedded_solution_meet_every_order_condition(method: Rosenbrock) -> None:
    alpha, gamma, ends = untransformed(method)
    beta = [[p + q for p, q in zip(*rows, strict=True)] for rows in zip(alpha, gamma, strict=True)]
    for b, order in zip(ends, (method.order, LOWER[method.name]), strict=True):
        defects = [abs(defect(tree, alpha, beta, b)) for n in range(1, order + 1) for tree in trees(n)]
        assert max(defects) < 1e-13
        assert max(abs(defect(tree, alpha, beta, b)) for tree in trees(order + 1)) > 1e-3


@METHODS
def test_times_and_drift_are_the_sums_of_rows(method: Rosenbrock) -> None:
    alpha, gamma, _ = untransformed(method)
    np.testing.assert_allclose([float(sum(row)) for row in alpha], [float(c) for c in method.c], atol=1e-13)
    np.testing.assert_allclose([float(sum(row)) for row in gamma], [float(d) for d in method.drift], atol=1e-13)
    assert all(0 <= c <= 1 for c in method.c)


def stability(method: Rosenbrock, z: Any) -> tuple[Any, Any]:
    r"""$R(z)=1+zb^\top(I-z\beta)^{-1}1$ of the end and of the embedded solution."""
    alpha, gamma, ends = (np.array(rows, dtype=float) for rows in untransformed(method))
    one = np.ones(method.stages)
    systems = np.eye(method.stages) - z[:, None, None] * (alpha + gamma)
    k = np.linalg.solve(systems, np.broadcast_to(one[:, None], (len(z), method.stages, 1)))[..., 0]
    end, other = (1 + z * (k @ b) for b in ends)
    return end, other


@METHODS
def test_it_is_stable_in_the_left_half_plane_and_damps_what_is_infinitely_stiff(method: Rosenbrock) -> None:
    y = np.concatenate([np.linspace(0, 30, 3001), np.geomspace(30, 1e8, 500)])
    boundary = stability(method, 1j * y)[0]
    assert (np.abs(boundary) <= 1 + 1e-12).all()  # its poles 1/gamma lie on the right: the largest values are here
    assert float(method.gamma) > 0
    radius, angle = np.meshgrid(np.geomspace(1e-3, 1e8, 60), np.linspace(-1.57, 1.57, 9))
    inside = stability(method, (-radius * np.exp(1j * angle)).ravel())
    assert (np.abs(inside[0]) < 1).all()
    for value in stability(method, np.array([-1e10, 1e10j])):
        assert np.abs(value).max() < 1e-8


def linear(a: Tensor) -> Any:
    return lambda _, y: torch.einsum("bij,bj->bi", a, y)


@METHODS
def test_a_step_of_a_linear_equation_is_its_stability_function(method: Rosenbrock) -> None:
    z = np.array([-0.3, -4 + 2j, 3j, -1e5, 0.5 + 0.1j, -60 - 900j])
    a = torch.tensor([[[w.real, -w.imag], [w.imag, w.real]] for w in z], dtype=torch.float64)
    x = normal(len(z), 2)
    stepper = Linearized(method, x)
    h, tau = torch.ones(len(z), 1).double(), stepper.c.expand(-1, len(z))
    end, slope, estimate, *_ = stepper.attempt(linear(a), x, linear(a)(tau[0], x), tau, h)
    start = x.numpy() @ [1, 1j]
    whole, embedded = stability(method, z)
    np.testing.assert_allclose(end.numpy() @ [1, 1j], whole * start, atol=1e-11)
    np.testing.assert_allclose(estimate[0].numpy() @ [1, 1j], (whole - embedded) * start, atol=1e-11)
    torch.testing.assert_close(slope, linear(a)(tau[0], end))


@METHODS
def test_polynomials_in_time_are_integrated_exactly_up_to_the_order(method: Rosenbrock) -> None:
    x = normal(3, 2)
    stepper = Linearized(method, x)
    h, tau = torch.full((3, 1), 0.5).double(), 0.2 + 0.5 * stepper.c.expand(-1, 3)
    for power in range(method.order):

        def slope(t: Tensor, y: Tensor, power: int = power) -> Tensor:
            return (power + 1) * t[:, None] ** power + 0 * y

        end = stepper.attempt(slope, x, slope(tau[0], x), tau, h)[0]
        stepper.known = None
        torch.testing.assert_close(
            end - x, torch.full_like(x, 0.7 ** (power + 1) - 0.2 ** (power + 1)), rtol=0, atol=1e-13
        )


def swing(t: Tensor, y: Tensor) -> Tensor:
    """A nonlinear equation that knows the time."""
    return torch.stack([y[:, 1] + torch.sin(3 * t), -torch.sin(y[:, 0]) * (1 + t) - y[:, 1] * y[:, 0] ** 2], 1)


@METHODS
def test_the_error_and_its_estimate_fall_at_their_orders(method: Rosenbrock) -> None:
    x = normal(1, 2)
    stepper = Linearized(method, x)

    def go(h: float, steps: int) -> tuple[Tensor, Tensor]:
        y, worst = x, torch.zeros(())
        for k in range(steps):
            tau = k * h + h * stepper.c
            y, _, estimate, *_ = stepper.attempt(swing, y, swing(tau[0], y), tau, torch.full((1, 1), h).double())
            worst = torch.maximum(worst, estimate.abs().max())
        return y, worst

    exact = go(1 / 512, 512)[0]
    ends, estimates = zip(*(go(1 / n, n) for n in (16, 32)), strict=True)
    errors = [(end - exact).abs().max().item() for end in ends]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(method.order, abs=0.4)
    assert np.log2(estimates[0].item() / estimates[1].item()) == pytest.approx(method.rate, abs=0.4)


@METHODS
def test_a_repeated_step_is_the_attempt(method: Rosenbrock) -> None:
    x = normal(4, 2)
    stepper = Linearized(method, x)
    h, tau = torch.full((4, 1), 0.3).double(), 0.3 * stepper.c.expand(-1, 4)
    tried = stepper.attempt(swing, x, swing(tau[0], x), tau, h)
    again = stepper.repeat(swing, x, swing(tau[0], x), tau, h)
    for value, other in zip(tried[:2], again, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-14, atol=1e-14)


@METHODS
def test_a_jacobian_is_kept_while_no_sample_moves(method: Rosenbrock) -> None:
    calls = 0

    def rhs(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return swing(t, y)

    x = normal(3, 2)
    stepper = Linearized(method, x)
    tau = stepper.c.expand(-1, 3)
    for h, state, expected in ((1.0, x, 9), (0.5, x, 8), (0.5, x + 1, 9), (0.5, x[:2], 9)):
        calls, size = 0, len(state)
        stepper.attempt(rhs, state, swing(tau[0, :size], state), h * tau[:, :size], torch.full((size, 1), h).double())
        assert calls == expected

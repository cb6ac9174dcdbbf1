r"""Finite-time Lyapunov exponents: rates of the singular values of grad X, that add up to the mean divergence.

$$\lambda_i=\frac{\log\sigma_i(\nabla X_{s,t}(x))}{t-s},\qquad\sum_i\lambda_i=\frac1{t-s}\int_s^t\nabla\!\cdot b_\tau\,
d\tau,\qquad\lambda_i\to\mathrm{eig}_i\,\tfrac12(\nabla b_s+\nabla b_s^\top)\ (t\to s)$$

Hypotheses: $b$ continuously differentiable. They are those of the way back along the same trajectory. Along a grid with
frames made orthonormal they are $\log|R_{ii}|/(t-s)$ of one QR decomposition, whatever the grid, and tend to the
exponents of Oseledets; for a linear system these are the real parts of the eigenvalues.

Source: Haller 2001, Physica D 149:248; Benettin et al. 1980, Meccanica 15:9.
"""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from flowops import FlowMap, SolutionOperator, interpolants, maps, problems
from flowops.fields import strain
from theory_checks.cases import CLOSED_FORM, SINGLE, Case, named_cases
from theory_checks.controls import Perturbed
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

MATRIX = torch.tensor([[0.2, -1.0, 0.0], [0.7, -0.4, 0.5], [0.0, 0.3, 0.1]], dtype=torch.float64)
CASES = named_cases("linear", "logistic", "pendulum", "gaussian trigonometric")
each = pytest.mark.parametrize("known", CASES, ids=lambda c: c.name)
S = torch.tensor([0.1, 0.9], dtype=torch.float64)
T = torch.tensor([0.8, 0.3], dtype=torch.float64)  # one sample forward, one backward


def test_a_linear_system_has_those_of_its_exponential(check: Check) -> None:
    X, x = problems.linear(MATRIX).X, normal(0, 4, 3)
    t = torch.tensor([0.3, 1.0, -0.7, 2.0], dtype=torch.float64)
    stretched = np.stack([np.linalg.svd(scipy.linalg.expm((h - 0.1) * MATRIX.numpy()))[1] for h in t.numpy()])
    rates = np.sort(np.log(stretched) / (t.numpy() - 0.1)[:, None])[:, ::-1].copy()
    check.vanishes(maps.lyapunov_exponents(X, 0.1, t, x) - torch.from_numpy(rates), CLOSED_FORM)
    check.vanishes(maps.singular_values(X, 0.1, t, x) - torch.from_numpy(stretched), CLOSED_FORM, scale=5)


def test_those_of_a_solved_map_of_images_are_of_the_jacobian_of_its_values(check: Check) -> None:
    X, x = SolutionOperator(SmoothField((1, 2, 2), 3), method="rk4", steps=10), normal(8, 1, 1, 2, 2)
    J = torch.autograd.functional.jacobian(lambda y: X(0.2, 0.9, y).flatten(), x).reshape(4, 4)
    expected = torch.from_numpy(np.log(np.linalg.svd(J.numpy())[1]) / 0.7)
    check.vanishes(maps.lyapunov_exponents(X, 0.2, 0.9, x)[0] - expected, 1e-4)  # another Jacobian, of the same order


@each
def test_they_add_up_to_the_mean_divergence(known: Case, check: Check) -> None:
    x = known.states(2, 1)
    total = maps.lyapunov_exponents(known.X, S, T, x).sum(1)
    check.vanishes(total - known.X.log_abs_det(S, T, x) / (T - S), known.tolerance, scale=1 + total.abs())


@each
def test_the_way_back_has_the_same(known: Case, check: Check) -> None:
    x = known.states(2, 2)
    there = maps.lyapunov_exponents(known.X, S, T, x)
    back = maps.lyapunov_exponents(known.X, T, S, known.X(S, T, x))
    check.vanishes(there - back, 10 * known.tolerance, scale=1 + there.abs())


def shortened(X: FlowMap, h: float, x: Tensor) -> Tensor:
    """How far the exponents over an interval of length `h` are from those at equal times."""
    return (maps.lyapunov_exponents(X, 0.3, 0.3 + h, x) - maps.lyapunov_exponents(X, 0.3, 0.3, x)).abs().max()


@pytest.mark.parametrize("name", ["pendulum", "gaussian"])
def test_at_equal_times_they_are_the_limits_from_both_sides(name: str, check: Check) -> None:
    problem = problems.REFERENCE[name](interpolants.linear())
    x = torch.tensor([[2.0, 0.3], [-1.5, 1.0], [0.1, -0.4]], dtype=torch.float64)  # rates that are well apart
    limit = maps.lyapunov_exponents(problem.X, 0.3, 0.3, x)
    check.vanishes(limit - torch.linalg.eigvalsh(strain(problem.b, 0.3, x)).flip(-1), CLOSED_FORM)
    steps = torch.tensor([4e-3, 2e-3, 1e-3])
    for sign in (1, -1):
        check.order(torch.stack([shortened(problem.X, sign * h, x) for h in steps.tolist()]), steps, 1.0)


def test_a_frame_made_orthonormal_on_the_way_says_the_same_on_every_grid(check: Check) -> None:
    for known in CASES:
        x = known.states(3, 4)
        R = torch.linalg.qr(known.X.jacobian(0.1, 0.9, x).reshape(3, *[x[0].numel()] * 2))[1]
        expected = R.diagonal(dim1=1, dim2=2).abs().log() / 0.8
        for grid in ([0.1, 0.9], [0.1, 0.2, 0.55, 0.9]):
            found = maps.lyapunov_spectrum(known.X, grid, x)
            check.vanishes(found - expected, known.tolerance, scale=1 + expected.abs(), where=known.name)


def test_over_long_times_they_are_the_real_parts_of_the_eigenvalues(check: Check) -> None:
    """Where $e^{TA}$ has long lost all digits of the smaller ones."""
    A = torch.tensor([[0.5, 3.0, 1.0], [0.0, -1.0, 2.0], [0.0, 0.0, -2.0]], dtype=torch.float64)
    X, x = problems.linear(A).X, normal(5, 1, 3)
    wanted = torch.tensor([[0.5, -1.0, -2.0]], dtype=torch.float64)
    spans = torch.tensor([50.0, 100.0, 200.0])
    errors = [
        (maps.lyapunov_spectrum(X, torch.linspace(0, T, int(T) + 1).double(), x) - wanted).abs().max() for T in spans
    ]
    check.order(torch.stack(errors), spans, -1.0)


def test_single_precision(check: Check) -> None:
    for known in CASES:
        x = known.states(2, 6)
        exact = maps.lyapunov_exponents(known.X, S, T, x)
        check.vanishes(maps.lyapunov_exponents(known.X, S, T, x.float()) - exact, SINGLE, scale=1 + exact.abs())


def test_negative_control(check: Check) -> None:
    for known in CASES:
        x = known.states(3, 7)
        mean = known.X.log_abs_det(0.1, 0.9, x) / 0.8
        wrong, half = (
            maps.lyapunov_exponents(Perturbed(known.X, delta), 0.1, 0.9, x).sum(1) - mean for delta in (1e-3, 5e-4)
        )
        check.sees(wrong, half, known.tolerance)

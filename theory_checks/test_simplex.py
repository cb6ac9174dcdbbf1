r"""Simplex: for dp/dt = p Q_t the flow map is the transition matrix.

$$X_{s,t}(p)=p\,P_{s,t},\quad\partial_tP=P\,Q_t,\quad\partial_sP=-Q_s\,P,\quad P_{s,u}P_{u,t}=P_{s,t}\
\text{(Chapman-Kolmogorov)}$$

Hypotheses: $Q_t$ has non-negative off-diagonal entries and zero row sums. Ground truth: the matrix exponential for
commuting generators $Q_t=f(t)Q$, the closed equations of $P$ for a non-commuting family.

Source: Kolmogorov's equations; 2505.18825 (8)-(10).
"""

import itertools

import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from flowops import SolutionOperator, VelocityField
from theory_checks.cases import SINGLE, SOLVED
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

STATES = 4


def rates(seed: int) -> Tensor:
    """A random generator matrix: non-negative rates, zero row sums."""
    q = normal(seed, STATES, STATES).abs()
    q.fill_diagonal_(0)
    return q - torch.diag(q.sum(1))


RATES, MORE_RATES, OTHER_RATES = rates(1), rates(2), rates(5)


def commuting(t: Tensor) -> Tensor:
    return (1 + t)[..., None, None] * RATES


def mixing(t: Tensor) -> Tensor:
    return RATES + (3 * t**2)[..., None, None] * MORE_RATES


def field(generator) -> VelocityField:
    return VelocityField.from_function(lambda t, p: torch.einsum("bi,bij->bj", p, generator(t.double()).to(p.dtype)))


def transition(generator, s: float, t: float) -> Tensor:
    """P_{s,t}: the flow map of the vertices of the simplex, row by row."""
    return SolutionOperator(field(generator))(s, t, torch.eye(STATES, dtype=torch.float64))


@pytest.mark.parametrize(("s", "t"), [(0.0, 1.0), (0.7, 0.2), (0.4, 0.4)])
def test_transition_matrix_is_the_matrix_exponential(check: Check, s: float, t: float) -> None:
    exact = torch.from_numpy(expm(((t - s) + (t**2 - s**2) / 2) * RATES.numpy()))
    check.vanishes(transition(commuting, s, t) - exact, SOLVED, scale=1 + exact.abs().max())


def test_flow_map_is_linear_and_its_jacobian_is_the_transition_matrix(check: Check) -> None:
    p = normal(3, 5, STATES).softmax(1)
    X = SolutionOperator(field(mixing))
    P = transition(mixing, 0.1, 0.9)
    check.vanishes(X(0.1, 0.9, p) - p @ P, SOLVED)
    check.vanishes(X.jacobian(0.1, 0.9, p) - P.T, SOLVED)


def test_chapman_kolmogorov(check: Check) -> None:
    for s, u, t in itertools.permutations((0.1, 0.5, 0.8)):
        product = transition(mixing, s, u) @ transition(mixing, u, t)
        check.vanishes(product - transition(mixing, s, t), SOLVED, scale=1 + product.abs().max())


def test_kolmogorov_equations(check: Check) -> None:
    X, s, t = SolutionOperator(field(mixing)), 0.2, 0.9
    vertices = torch.eye(STATES, dtype=torch.float64)
    P = X(s, t, vertices)
    check.vanishes(X.dt(s, t, vertices) - P @ mixing(torch.tensor(t, dtype=torch.float64)), SOLVED)
    check.vanishes(X.ds(s, t, vertices) + mixing(torch.tensor(s, dtype=torch.float64)) @ P, SOLVED)
    h = 1e-4
    backward = (transition(mixing, s + h, t) - transition(mixing, s - h, t)) / (2 * h)
    check.vanishes(backward + mixing(torch.tensor(s, dtype=torch.float64)) @ P, 1e-5)


def test_rows_stay_on_the_simplex_forward(check: Check) -> None:
    P = transition(mixing, 0.1, 0.9)
    check.vanishes(P.sum(1) - 1, SOLVED)
    check.vanishes(P.clamp(max=0), SOLVED)


def test_single_precision(check: Check) -> None:
    p = normal(4, 3, STATES).softmax(1)
    check.vanishes(SolutionOperator(field(mixing))(0.1, 0.9, p.float()) - p @ transition(mixing, 0.1, 0.9), SINGLE)


def test_negative_control(check: Check) -> None:
    exact = transition(mixing, 0.1, 0.9)
    wrong, half = (
        transition(lambda t, d=delta: mixing(t) + d * OTHER_RATES, 0.1, 0.5) @ transition(mixing, 0.5, 0.9) - exact
        for delta in (1e-3, 5e-4)
    )
    check.sees(wrong, half, SOLVED)

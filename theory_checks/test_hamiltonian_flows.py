r"""Hamiltonian flows are symplectic, and keep the energy where it does not depend on time.

$$\nabla X_{s,t}(x)^\top J\,\nabla X_{s,t}(x)=J,\qquad H(X_{s,t}(x))=H(x),\qquad\dot x=J\nabla H,\quad
J=\begin{pmatrix}0&I\\-I&0\end{pmatrix}$$

Hypotheses: $H$ twice continuously differentiable; for the second, autonomous. In the plane symplectic means that areas
are kept, in four dimensions it means more.

Source: Poincaré 1899; Hairer, Lubich, Wanner, Geometric Numerical Integration, Thm. VI.2.4.
"""

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, SolutionOperator, VelocityField, problems, residuals
from theory_checks.cases import CLOSED_FORM, SINGLE, SOLVED
from theory_checks.controls import Perturbed
from theory_checks.strategies import normal
from theory_checks.verdicts import Check

PENDULUM = problems.pendulum(1.2)
OSCILLATOR = problems.rotation(-2.0)  # H = |x|^2, clockwise
S = torch.tensor([0.1, 0.9, 0.4], dtype=torch.float64)
T = torch.tensor([0.8, 0.3, 0.4], dtype=torch.float64)  # forward, backward, at rest


def henon_heiles(x: Tensor) -> Tensor:
    r"""$H=\tfrac12|p|^2+\tfrac12|q|^2+q_1^2q_2-\tfrac13q_2^3$ on $(q_1,q_2,p_1,p_2)$."""
    q1, q2 = x.flatten(1)[:, 0], x.flatten(1)[:, 1]
    return x.flatten(1).square().sum(1) / 2 + q1**2 * q2 - q2**3 / 3


def generated(t: Tensor, x: Tensor, drive: float = 0.0, friction: float = 0.0) -> Tensor:
    """The field of it, with a force that depends on time, and friction."""
    q1, q2, p1, p2 = x.flatten(1).unbind(1)
    force1 = -q1 - 2 * q1 * q2 + drive * torch.cos(5 * t) * q2
    force2 = -q2 - q1**2 + q2**2 + drive * torch.cos(5 * t) * q1
    return torch.stack([p1, p2, force1 - friction * p1, force2 - friction * p2], 1).reshape(x.shape)


def solved(**options: float) -> FlowMap:
    """The solution operator of these equations."""
    return SolutionOperator(VelocityField.from_function(lambda t, x: generated(t, x, **options)))


def states(seed: int) -> Tensor:
    """Of bounded motions, in four dimensions."""
    return 0.3 * normal(seed, 3, 4)


@pytest.mark.parametrize("problem", [PENDULUM, OSCILLATOR], ids=lambda p: p.name)
def test_flows_in_the_plane(problem: problems.Problem, check: Check) -> None:
    x = 2 * normal(0, 30, 2)
    s, t = S.repeat(10), T.repeat(10)
    check.vanishes(residuals.symplecticity(problem.X, s, t, x), CLOSED_FORM)
    H = PENDULUM.b.hamiltonian if problem is PENDULUM else lambda y: y.square().sum(1)
    check.vanishes(residuals.energy(problem.X, H, s, t, x), CLOSED_FORM)
    check.vanishes(residuals.symplecticity(problem.X, 0.0, 30.0, x), 100 * CLOSED_FORM)


def test_a_chaotic_flow_in_four_dimensions(check: Check) -> None:
    X, x = solved(), states(1)
    check.vanishes(residuals.symplecticity(X, S, T, x), SOLVED)
    check.vanishes(residuals.energy(X, henon_heiles, S, T, x), SOLVED)
    image = x[:1].reshape(1, 1, 2, 2)
    check.vanishes(residuals.symplecticity(X, 0.2, 0.9, image), SOLVED)
    check.vanishes(residuals.energy(X, henon_heiles, 0.2, 0.9, image), SOLVED)


def test_a_hamiltonian_that_depends_on_time_is_symplectic_and_spends_energy(check: Check) -> None:
    X, x = solved(drive=0.5), states(2)
    check.vanishes(residuals.symplecticity(X, S, T, x), SOLVED)
    assert residuals.energy(X, henon_heiles, 0.0, 1.0, x).abs().max() > 1e-3


def test_in_four_dimensions_keeping_volumes_is_not_enough() -> None:
    A = torch.diag(torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64))
    X = problems.linear(A).X
    x = states(3)
    assert X.log_abs_det(0.0, 1.0, x).abs().max() < 1e-12
    assert residuals.symplecticity(X, 0.0, 1.0, x).abs().max() > 1


def test_it_is_the_defect_of_the_form_on_pairs_of_directions(check: Check) -> None:
    r"""$\omega(\nabla Xu,\nabla Xv)-\omega(u,v)$ of a flow that is not symplectic."""
    X, x = problems.linear(normal(10, 4, 4)).X, normal(11, 3, 4)
    u, v = normal(12, 3, 4), normal(13, 3, 4)

    def form(a: Tensor, b: Tensor) -> Tensor:
        return (a[:, :2] * b[:, 2:] - a[:, 2:] * b[:, :2]).sum(1)

    defect = form(X.jvp(S, T, x, u), X.jvp(S, T, x, v)) - form(u, v)
    found = torch.einsum("bi,bij,bj->b", u, residuals.symplecticity(X, S, T, x), v)
    check.vanishes(found - defect, CLOSED_FORM, scale=1 + defect.abs().max())


@pytest.mark.parametrize("seed", [4, 5])
def test_in_the_plane_it_is_the_defect_of_the_determinant(seed: int, check: Check) -> None:
    A, x = normal(seed, 2, 2), normal(6, 3, 2)
    X = problems.linear(A).X
    J = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    defect = (((T - S) * A.trace()).exp() - 1)[:, None, None] * J
    check.vanishes(residuals.symplecticity(X, S, T, x) - defect, CLOSED_FORM)


def test_single_precision(check: Check) -> None:
    x = normal(7, 20, 2).float()
    check.vanishes(residuals.symplecticity(PENDULUM.X, 0.1, 0.9, x), SINGLE)
    check.vanishes(residuals.energy(PENDULUM.X, PENDULUM.b.hamiltonian, 0.1, 0.9, x), SINGLE)


def test_negative_control(check: Check) -> None:
    """Friction, and a map that is no flow."""
    x = states(8)
    maps = [solved(friction=delta) for delta in (1e-3, 5e-4)]
    wrong, half = (residuals.symplecticity(X, 0.0, 1.0, x) for X in maps)
    check.sees(wrong, half, SOLVED)
    wrong, half = (residuals.energy(X, henon_heiles, 0.0, 1.0, x) for X in maps)
    check.sees(wrong, half, SOLVED)
    y, bent = normal(9, 5, 2), [Perturbed(PENDULUM.X, delta) for delta in (1e-3, 5e-4)]
    wrong, half = (residuals.symplecticity(X, 0.1, 0.9, y) for X in bent)
    check.sees(wrong, half, CLOSED_FORM)
    wrong, half = (residuals.energy(X, PENDULUM.b.hamiltonian, 0.1, 0.9, y) for X in bent)
    check.sees(wrong, half, CLOSED_FORM)

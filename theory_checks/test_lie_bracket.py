r"""The Lie bracket of two fields is what remains of following a, b, -a and -b, over the square of the time.

$$B_{-h}\circ A_{-h}\circ B_h\circ A_h(x)=x+h^2[a,b](x)+O(h^3),\qquad[a,b]=\nabla b\,a-\nabla a\,b$$

Hypotheses: $a$, $b$ twice continuously differentiable, at one time. Flows commute if and only if it vanishes.

Source: Hairer, Lubich, Wanner, Geometric Numerical Integration, §III.5.
"""

import pytest
import torch
from torch import Tensor

from flowops import VelocityField, problems
from flowops.fields import lie_bracket
from theory_checks.cases import CLOSED_FORM, SINGLE
from theory_checks.strategies import SmoothField, normal
from theory_checks.verdicts import Check

M = torch.tensor([[0.2, -1.0], [0.7, -0.4]], dtype=torch.float64)
LINEAR, PENDULUM = problems.linear(M, [0.3, -0.1]), problems.pendulum(1.2)
TRIPLES = [((), 1), ((3,), 2), ((1, 2, 2), 3)]


def around(A: problems.Problem, B: problems.Problem, h: float, x: Tensor) -> Tensor:
    """Following both fields forward, then both backward."""
    for X, end in ((A.X, h), (B.X, h), (A.X, -h), (B.X, -h)):
        x = X(0.0, end, x)
    return x


@pytest.mark.parametrize(("A", "B"), [(LINEAR, PENDULUM), (PENDULUM, LINEAR), (problems.rotation(2.0), PENDULUM)])
def test_it_is_the_commutator_of_the_flows(A: problems.Problem, B: problems.Problem, check: Check) -> None:
    x = normal(0, 5, 2)
    found = lie_bracket(A.b, B.b)(0.0, x)
    steps = torch.tensor([0.02, 0.01, 0.005]).double()
    errors = torch.stack([((around(A, B, h, x) - x) / h**2 - found).norm() for h in steps.tolist()])
    check.order(errors, steps, 1.0)
    check.vanishes(2 * ((around(A, B, 1e-4, x) - x) / 1e-8) - (around(A, B, 2e-4, x) - x) / 4e-8 - found, 1e-6)


def test_that_of_linear_fields_is_the_commutator_of_their_matrices(check: Check) -> None:
    A, B = normal(1, 3, 3), normal(2, 3, 3)
    a, b = (problems.linear(matrix).b for matrix in (A, B))
    x = normal(3, 4, 3)
    check.vanishes(lie_bracket(a, b)(0.2, x) - x @ (B @ A - A @ B).mT, CLOSED_FORM)


@pytest.mark.parametrize(("event", "seed"), TRIPLES)
def test_it_is_antisymmetric_and_satisfies_the_identity_of_jacobi(
    event: tuple[int, ...], seed: int, check: Check
) -> None:
    a, b, c = (SmoothField(event, seed=seed + k) for k in (0, 10, 20))
    x = normal(4, 3, *event)
    check.vanishes(lie_bracket(a, b)(0.3, x) + lie_bracket(b, a)(0.3, x), CLOSED_FORM)
    cyclic = torch.stack([lie_bracket(f, lie_bracket(g, h))(0.3, x) for f, g, h in ((a, b, c), (b, c, a), (c, a, b))])
    check.vanishes(cyclic.sum(0), CLOSED_FORM, scale=1 + cyclic.abs().max())


def test_flows_commute_where_it_vanishes(check: Check) -> None:
    turn, grow = problems.rotation(2.0), problems.linear([[0.7, 0.0], [0.0, 0.7]])
    x = normal(5, 5, 2)
    check.vanishes(lie_bracket(turn.b, grow.b)(0.1, x), CLOSED_FORM)
    check.vanishes(around(turn, grow, 0.8, x) - x, CLOSED_FORM)
    assert (around(turn, PENDULUM, 0.8, x) - x).abs().max() > 0.1


def test_single_precision(check: Check) -> None:
    x, found = normal(6, 5, 2), lie_bracket(LINEAR.b, PENDULUM.b)
    check.vanishes(found(0.0, x.float()) - found(0.0, x), SINGLE, scale=1 + x.abs().max())


def test_negative_control(check: Check) -> None:
    r"""Two fields that commute up to $\delta$."""
    turn, grow, x = problems.rotation(2.0).b, problems.linear([[0.7, 0.0], [0.0, 0.7]]).b, normal(7, 5, 2)
    bent: VelocityField = SmoothField((2,), 3)
    wrong, half = (lie_bracket(turn, grow + delta * bent)(0.1, x) for delta in (1e-3, 5e-4))
    check.sees(wrong, half, CLOSED_FORM)

"""The linear system: its map is the matrix exponential, whatever the shape of the states."""

from __future__ import annotations

import pytest
import scipy.linalg
import torch

from flowops import problems


def matrix(d, generator, scale=1.0):
    return scale * torch.randn(d, d, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("d", "event"), [(3, (3,)), (4, (1, 2, 2)), (1, (1,)), (1, ())])
@pytest.mark.parametrize("with_drift", [False, True])
def test_the_map_is_the_flow_of_the_field(d, event, with_drift, generator, check_flow, check_derivatives):
    c = torch.randn(d, generator=generator, dtype=torch.float64) if with_drift else None
    problem = problems.linear(matrix(d, generator), c, event=(d,))
    x = torch.randn(5, *event, generator=generator, dtype=torch.float64)
    check_flow(problem, x)
    check_derivatives(problem.X, x)


def test_the_jacobian_is_the_matrix_exponential(generator):
    A = matrix(3, generator)
    x = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    expected = torch.from_numpy(scipy.linalg.expm(0.7 * A.numpy())).expand(2, 3, 3)
    torch.testing.assert_close(problems.linear(A).X.jacobian(0.1, 0.8, x), expected)


def test_a_singular_matrix_with_drift_moves_on_straight_lines():
    problem = problems.linear([[0.0]], [2.0])
    torch.testing.assert_close(problem.X(0.25, 0.75, torch.tensor([[1.0]])), torch.tensor([[2.0]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]],), r"`A` must be a square matrix \[d, d\], got shape \[1, 2\]"),
        ((torch.eye(2), [1.0, 2.0, 3.0]), r"`c` must have shape \[d\] = \[2\]"),
        (([[float("nan")]],), "`A` must be finite, got 1 entries"),
    ],
)
def test_misfits_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        problems.linear(*arguments)


def test_an_event_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"`event` must have d = 2 entries, got \[3\] with 3"):
        problems.linear(torch.eye(2), event=(3,))
    with pytest.raises(ValueError, match="`x` must have events of 2 entries"):
        problems.linear(torch.eye(2)).b(0.0, torch.zeros(4, 3))
    with pytest.raises(TypeError, match="`A` must hold real numbers"):
        problems.linear(torch.eye(2, dtype=torch.complex64))

"""Log-determinants of solved maps: right where a determinant of the Jacobian has no digits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from experiments.equations import field, lorenz
from flowops import FlowMap, SolutionOperator, VelocityField, reschedule, residuals
from flowops.interpolants import cosine, linear, trigonometric, variance_exploding
from flowops.problems import empirical, gaussian_mixture
from tests.examples import Coupled, normal
from tests.samples import check_reverse

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize("adjoint", [False, True])
def test_a_flow_that_contracts_one_direction_more_than_another(adjoint: bool) -> None:
    rates = torch.tensor([-40.0, -1.0]).double()
    X = VelocityField.from_function(lambda _, x: x * rates).flow_map(adjoint=adjoint)
    x = normal(3, 2)
    assert_close(X.log_abs_det(0.0, 1.0, x), torch.full((3,), -41.0).double(), rtol=0, atol=1e-9)
    assert (FlowMap.log_abs_det(X, 0.0, 1.0, x) + 41).abs().max() > 1  # the determinant of the Jacobian


def test_chaos_loses_nothing() -> None:
    x = 10 + normal(2, 3)
    value = field(lorenz).flow_map(rtol=1e-5, atol=1e-5).log_abs_det(0.0, 3.0, x)  # whatever the path
    assert_close(value, torch.full((2,), -41.0).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("event", [(3,), (1, 2, 2)])
@pytest.mark.parametrize(
    "solver", [{}, {"method": "dopri5", "rtol": 1e-9, "atol": 1e-9}, {"method": "rk4", "steps": 60}]
)
def test_it_is_the_determinant_where_that_is_well_conditioned(event: tuple[int, ...], solver: dict[str, Any]) -> None:
    X, x = SolutionOperator(Coupled(event), **solver), normal(12, *event)
    s, t = (torch.tensor(ends).double().repeat(4) for ends in ((0.1, 0.8, 0.5), (0.9, 0.3, 0.5)))
    assert_close(X.log_abs_det(s, t, x), FlowMap.log_abs_det(X, s, t, x), rtol=0, atol=1e-7)
    assert_close(residuals.liouville(X, X.b, s, t, x), torch.zeros(12).double(), rtol=0, atol=1e-7)


def test_the_divergence_is_that_along_the_path_of_every_sample() -> None:
    b = gaussian_mixture([0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], 0.2, linear()).b
    s, t, x = torch.tensor([0.1, 0.9, 0.4]).double(), torch.tensor([0.8, 0.2, 0.4]).double(), normal(3, 2)
    whole = b.flow_map().log_abs_det(s, t, x)
    for i in range(3):
        alone = b.flow_map().log_abs_det(s[i].item(), t[i].item(), x[i : i + 1])
        assert_close(whole[i : i + 1], alone, rtol=0, atol=1e-9)


def test_a_change_of_schedule_stretches_it() -> None:
    old, new = linear(), trigonometric()
    b = gaussian_mixture([0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], 0.2, old).b
    X, x = reschedule(b.flow_map(), old, new), normal(3, 2)
    assert_close(X.log_abs_det(0.2, 0.7, x), FlowMap.log_abs_det(X, 0.2, 0.7, x), rtol=0, atol=1e-8)
    assert_close(X.log_abs_det(0.2, 0.7, x), reschedule(b, old, new).flow_map().log_abs_det(0.2, 0.7, x))


def test_derivatives_pass_through_it() -> None:
    X, x = SolutionOperator(Coupled((2,)).requires_grad_(False)), normal(2, 2).requires_grad_()
    s = torch.tensor([0.2, 0.7]).double().requires_grad_()
    check_reverse(lambda s, x: (X.log_abs_det(s, 0.5, x),), (s, x), atol=1e-6, rtol=1e-3)


POINTS = torch.tensor([[1.0, 0.0], [-1.0, 0.5]]).double()


def test_it_is_infinite_where_trajectories_meet_in_points() -> None:
    b, x = empirical(POINTS, linear()).b, normal(4, 2)
    start, end = torch.tensor([0.2, 1.0, 1.0, 0.4]).double(), torch.tensor([1.0, 0.3, 1.0, 0.4]).double()
    wanted = torch.tensor([-torch.inf, torch.inf, 0.0, 0.0]).double()
    moved = reschedule(b, linear(), cosine())
    for X in (b.flow_map(), moved.flow_map(), reschedule(b.flow_map(), linear(), cosine())):
        assert_close(X.log_abs_det(start, end, x), wanted)
    for field_ in (b, moved):
        with pytest.raises(ValueError, match=r"`t` must be a time at which the law has a density, got 1, where it is"):
            field_.log_prob(x, end)


def test_on_the_way_there_it_falls_like_the_noise() -> None:
    r"""Once a trajectory has chosen its point, $\nabla X$ is the quotient of the noise levels."""
    X = empirical(POINTS, linear()).b.flow_map(method="rk4", steps=20)
    near = X.log_abs_det(0.99, torch.tensor([0.995, 0.999]).double(), 0.99 * POINTS + 1e-3)
    assert_close(near, 2 * torch.tensor([0.5, 0.1]).double().log(), rtol=1e-4, atol=0)


def test_with_noise_left_at_the_end_it_is_finite() -> None:
    X = empirical(POINTS, variance_exploding(0.1, 2.0)).b.flow_map(method="rk4", steps=10)
    assert X.log_abs_det(0.2, 1.0, normal(2, 2)).isfinite().all()

"""The log-likelihood of the law that a field carries, against closed forms."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.testing import assert_close

from flowops import VelocityField
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, CubicFlow, Linear, assert_near, mild, normal, uniform

# The shape checks take three times as long as these solves; the solves of the other files run under them.
pytestmark = pytest.mark.usefixtures("unchecked")

MATRIX = torch.tensor([[0.3, -1.0], [0.7, -0.4]], dtype=torch.float64)
SHIFT = torch.tensor([0.5, -1.0], dtype=torch.float64)


def gaussian_at(t: float) -> MultivariateNormal:
    """The law of the standard normal carried by `Linear(MATRIX, SHIFT)` up to `t`."""
    b = Linear(MATRIX, SHIFT)
    mean = b.flow(0.0, t, torch.zeros(1, 2).double())[0]
    propagator = torch.linalg.matrix_exp(t * MATRIX)
    return MultivariateNormal(mean, propagator @ propagator.T)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_a_linear_field_carries_gaussians(t: float) -> None:
    x = normal(5, 2)
    assert_near(Linear(MATRIX, SHIFT).log_prob(x, t), gaussian_at(t).log_prob(x), 1e-8)


def test_every_sample_has_its_own_time() -> None:
    t, x = torch.tensor([0.0, 0.2, 0.9]).double(), normal(3, 2)
    together = Linear(MATRIX, SHIFT).log_prob(x, t, chunk=2)
    expected = torch.stack([gaussian_at(t[i].item()).log_prob(x[i]) for i in range(3)])
    assert_near(together, expected, 1e-8)


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_nonlinear_flow_changes_variables(event: tuple[int, ...], batch: int) -> None:
    X, x, t = CubicFlow(), mild(batch, *event), uniform(batch, seed=1)
    start = X(t, 0.0, x)
    derivative = (start / x) ** 3  # of x / sqrt(1 + g x^2), componentwise
    standard = torch.distributions.Normal(torch.zeros(()).double(), 1.0)
    expected = (standard.log_prob(start) + derivative.log()).reshape(batch, max(1, torch.Size(event).numel())).sum(1)
    assert_near(Cubic().log_prob(x, t), expected, 1e-8)


def test_the_density_integrates_to_one() -> None:
    grid = torch.linspace(-8, 8, 401).double()
    density = Coupled(()).log_prob(grid, 1.0, rtol=1e-6, atol=1e-6).exp()
    assert_close(torch.trapezoid(density, grid), torch.ones(()).double(), rtol=1e-4, atol=0)


class TestBase:
    @staticmethod
    def expected(x: Tensor, mean: float, deviation: float) -> Tensor:
        start = Linear(MATRIX, SHIFT).flow(1.0, 0.0, x)
        standard = ((start - mean) / deviation).square().sum(1) / 2 + 2 * torch.tensor(deviation).double().log()
        return -standard - torch.log(torch.tensor(2 * torch.pi).double()) - MATRIX.trace()

    @pytest.mark.parametrize(
        "base",
        [
            Normal(torch.tensor(0.5).double(), torch.tensor(2.0).double()),
            Normal(torch.full((2,), 0.5).double(), torch.full((2,), 2.0).double()),
            Independent(Normal(torch.full((2,), 0.5).double(), torch.full((2,), 2.0).double()), 1),
            MultivariateNormal(torch.full((2,), 0.5).double(), 4 * torch.eye(2).double()),
            lambda x: Normal(0.5, 2.0).log_prob(x).sum(1),
        ],
        ids=["scalar", "factorized", "independent", "multivariate", "callable"],
    )
    def test_any_base_density(self, base: Any) -> None:
        x = normal(4, 2)
        assert_near(Linear(MATRIX, SHIFT).log_prob(x, base=base), self.expected(x, 0.5, 2.0), 1e-8)

    def test_the_standard_normal_is_the_default(self) -> None:
        x = normal(4, 2)
        assert_near(Linear(MATRIX, SHIFT).log_prob(x), self.expected(x, 0.0, 1.0), 1e-8)

    def test_a_density_of_another_shape_is_refused(self) -> None:
        sentence = "`base` must give one log-density per sample, shape [4], got [4, 1]; reinterpret its batch axes"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            Linear(MATRIX).log_prob(normal(4, 2), base=lambda x: x[:, :1])
        with pytest.raises(ValueError, match=re.escape("got []")):
            Linear(MATRIX).log_prob(normal(4, 2), base=lambda x: x.sum())


class TestHutchinson:
    def test_it_is_exact_where_the_jacobian_is_diagonal(self, generator: torch.Generator) -> None:
        x = mild(3, 2)
        estimate = Cubic().log_prob(x, divergence="hutchinson", n=1, generator=generator)
        assert_near(estimate, Cubic().log_prob(x), 1e-8)

    def test_it_is_unbiased(self) -> None:
        # One point repeated: the copies are independent draws, their mean has a measured standard error.
        x = normal(1, 2).expand(400, 2)
        draws = Linear(MATRIX).log_prob(
            x, divergence="hutchinson", generator=torch.Generator().manual_seed(0), rtol=1e-6, atol=1e-6
        )
        error = draws.std() / 20
        assert error > 0
        exact = MultivariateNormal(
            torch.zeros(2).double(), torch.linalg.matrix_exp(MATRIX) @ torch.linalg.matrix_exp(MATRIX).T
        )
        assert (draws.mean() - exact.log_prob(x[0])).abs() < 4 * error

    def test_one_probe_is_drawn_unless_more_are_asked_for(self) -> None:
        b, x, first, again = Linear(MATRIX), normal(3, 2), *(torch.Generator().manual_seed(0) for _ in range(2))
        default = b.log_prob(x, divergence="hutchinson", generator=first)
        assert torch.equal(default, b.log_prob(x, divergence="hutchinson", generator=again, n=1))

    def test_more_probes_spread_less(self) -> None:
        x = normal(1, 2).expand(200, 2)
        spreads = [
            Linear(MATRIX)
            .log_prob(
                x, divergence="hutchinson", n=n, generator=torch.Generator().manual_seed(0), method="rk4", steps=4
            )
            .std()
            for n in (1, 9)
        ]
        assert_close(spreads[0] / spreads[1], torch.tensor(3.0).double(), rtol=0.25, atol=0)

    def test_probes_follow_their_samples_through_chunks(self) -> None:
        t, x = uniform(5, seed=1), normal(5, 2)
        chunked, whole = (
            Linear(MATRIX).log_prob(
                x, t, divergence="hutchinson", n=2, generator=torch.Generator().manual_seed(3), chunk=chunk
            )
            for chunk in (2, 100)
        )
        assert_near(chunked, whole, 1e-8)

    def test_an_unknown_divergence_is_refused(self) -> None:
        sentence = '`divergence` must be "exact" or "hutchinson", got "trace"; pass one of the two.'
        with pytest.raises(ValueError, match=re.escape(sentence)):
            Cubic().log_prob(normal(2, 3), divergence="trace")

    def test_fewer_than_one_probe_is_refused(self) -> None:
        with pytest.raises(ValueError, match="`n` must be a whole number of at least 1, got 0"):
            Cubic().log_prob(normal(2, 3), divergence="hutchinson", n=0)


@pytest.mark.parametrize("adjoint", [False, True])
def test_the_likelihood_can_be_maximized(adjoint: bool) -> None:
    b, x = Linear(MATRIX.clone(), SHIFT.clone()), normal(4, 2)
    gradients = torch.autograd.grad(b.log_prob(x, adjoint=adjoint).mean(), list(b.parameters()))
    A, k = MATRIX.clone().requires_grad_(), SHIFT.clone().requires_grad_()
    propagator = torch.linalg.matrix_exp(A)
    mean = torch.linalg.solve(A, (propagator - torch.eye(2).double()) @ k)
    exact = MultivariateNormal(mean, propagator @ propagator.T).log_prob(x).mean()
    for gradient, expected in zip(gradients, torch.autograd.grad(exact, [A, k]), strict=True):
        assert_close(gradient, expected, rtol=1e-6, atol=1e-6)


def test_single_precision_stays_single() -> None:
    x = normal(4, 2, dtype=torch.float32)
    value = Linear(MATRIX.float(), SHIFT.float()).log_prob(x, 0.7)
    assert value.dtype == torch.float32
    assert_close(value.double(), gaussian_at(0.7).log_prob(x.double()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            {"tol": 1e-3},
            "`tol` must be an option of the solver (method, rtol, atol, steps, adjoint, chunk, max_steps, on_failure); "
            "drop",
        ),
        (
            {"method": "rk5"},
            "`method` must be one of dopri8, dop853, dopri5, tsit5, bosh3, adaptive_heun, rodas5p, euler",
        ),
    ],
)
def test_an_unknown_option_is_refused(option: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        VelocityField.from_function(lambda _, x: x).log_prob(normal(2, 3), **option)

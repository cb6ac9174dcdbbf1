"""The divergence: exact for every event shape, and Hutchinson's estimate within its own standard error."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import VelocityField
from flowops._types import TimeLike
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, Linear, normal, uniform

SKEW = torch.tensor([[0.3, -2.0, 0.5], [1.0, 0.4, -1.0], [0.2, 3.0, -0.1]], dtype=torch.float64)


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_the_exact_divergence_is_the_trace_of_the_jacobian(batch: int, event: tuple[int, ...]) -> None:
    b, t, x = Coupled(event), uniform(batch), normal(batch, *event, seed=1)
    divergence = b.divergence(t, x)
    assert divergence.shape == (batch,)
    size = torch.Size(event).numel()
    for i in range(batch):
        J = torch.autograd.functional.jacobian(lambda y, i=i: b(t[i], y[None])[0], x[i]).reshape(size, size)
        assert_close(divergence[i], J.trace())


def test_more_directions_than_one_pass_holds() -> None:
    x = normal(2, 150)
    assert_close(Cubic().divergence(0.0, x), (-1.5 * x**2).sum(1))


def test_the_divergence_can_be_differentiated() -> None:
    x = normal(3, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(Cubic().divergence(0.0, x).sum(), x)
    assert_close(gradient, -3 * x.detach())


class Pushed(VelocityField):
    """A linear field that tells its derivative itself and cannot be gone through in reverse."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        raise AssertionError("a divergence needs no value")

    def jvp(self, t: TimeLike, x: Tensor, u: Tensor) -> Tensor:
        return u @ SKEW.T

    def vjp(self, t: TimeLike, x: Tensor, w: Tensor) -> Tensor:
        raise AssertionError("a divergence goes forward")


def test_a_derivative_of_the_fields_own_is_all_that_the_exact_divergence_asks_for() -> None:
    assert_close(Pushed().divergence(0.3, normal(4, 3)), SKEW.trace().expand(4))


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
def test_hutchinson_is_unbiased_within_its_standard_error(event: tuple[int, ...], generator: torch.Generator) -> None:
    b, t, x = Coupled(event).requires_grad_(False), uniform(3), normal(3, *event, seed=1)
    estimate = b.hutchinson(t, x, n=400, generator=generator)
    assert estimate.value.shape == estimate.standard_error.shape == (3,)
    deviation = (estimate.value - b.divergence(t, x)).abs()
    assert (deviation <= 4 * estimate.standard_error + 1e-12).all()
    if event:
        assert (estimate.standard_error > 0).all()


def test_the_standard_error_is_that_of_the_mean(generator: torch.Generator) -> None:
    # For a constant Jacobian A, a draw has variance 2 sum over pairs of the squared symmetric part.
    b = Linear(SKEW).requires_grad_(False)
    symmetric = (SKEW + SKEW.T) / 2
    variance = 2 * (symmetric.square().sum() - symmetric.diagonal().square().sum())
    n = 1600
    estimate = b.hutchinson(0.0, normal(2, 3), n=n, generator=generator)
    assert_close(estimate.standard_error, (variance / n).sqrt().expand(2), rtol=0.05, atol=0)
    coarse = b.hutchinson(0.0, normal(2, 3), n=n // 16, generator=generator)
    assert_close(coarse.standard_error / estimate.standard_error, torch.tensor([4.0, 4.0]).double(), rtol=0.15, atol=0)


def test_the_standard_error_of_two_probes_by_hand(generator: torch.Generator) -> None:
    """A probe gives 4 or -4: two of them agree, or have a deviation of sqrt(32), and their mean one of 4."""
    b = Linear(torch.tensor([[0.0, 3.0], [1.0, 0.0]], dtype=torch.float64))
    estimate = b.hutchinson(0.0, normal(20, 2), n=2, generator=generator)
    assert estimate.standard_error.unique().tolist() == [0.0, 4.0]


def test_one_probe_has_no_standard_error(generator: torch.Generator) -> None:
    estimate = Coupled((3,)).hutchinson(0.5, normal(4, 3), generator=generator)
    assert estimate.standard_error.isnan().all()
    assert estimate.value.isfinite().all()


def test_a_diagonal_jacobian_needs_one_probe(generator: torch.Generator) -> None:
    x = normal(4, 3, 2)
    for n in (1, 5):
        estimate = Cubic().divergence(0.0, x, "hutchinson", n=n, generator=generator)
        assert_close(estimate, Cubic().divergence(0.0, x))


def test_an_empty_batch_has_an_empty_estimate(generator: torch.Generator) -> None:
    estimate = Cubic().hutchinson(0.0, normal(0, 3), n=2, generator=generator)
    assert estimate.value.shape == estimate.standard_error.shape == (0,)


def test_probes_come_from_the_generator_alone() -> None:
    b, x = Coupled((3,)), normal(4, 3)
    state = torch.get_rng_state()
    draws = [b.divergence(0.5, x, "hutchinson", n=3, generator=torch.Generator().manual_seed(k)) for k in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("n", [0, -1, 1.0, True, "2", None])
def test_fewer_than_one_probe_is_refused(n: Any) -> None:
    sentence = f"`n` must be a whole number of at least 1, got {n!r}; pass 1 or more."
    b, x = Cubic(), normal(2, 3)
    for call in (lambda: b.hutchinson(0.0, x, n=n), lambda: b.divergence(0.0, x, "hutchinson", n=n)):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            call()


def test_an_unknown_method_is_refused() -> None:
    sentence = '`method` must be "exact" or "hutchinson", got "trace"; pass one of the two.'
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Cubic().divergence(0.0, normal(2, 3), "trace")

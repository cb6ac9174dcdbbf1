"""Fields with constants for parameters, and fields without a graph: their values are those of the field."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import VelocityField
from flowops.fields import FrozenField, StoppedField
from tests.examples import EVENT_IDS, EVENTS, Coupled, Labelled, normal, uniform


def operands() -> tuple[Tensor, Tensor]:
    return uniform(4).requires_grad_(), normal(4, 3).requires_grad_()


@pytest.mark.parametrize("kind", [FrozenField, StoppedField])
@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
def test_the_value_is_that_of_the_field(kind: type[VelocityField], event: tuple[int, ...]) -> None:
    b, t, x = Coupled(event), uniform(4), normal(4, *event)
    assert torch.equal(kind(b)(t, x), b(t, x))
    with torch.no_grad():
        b.drift.add_(1)
    assert torch.equal(kind(b)(t, x), b(t, x))


def test_gradients_of_a_frozen_field_pass_through_time_and_state_only() -> None:
    b, (t, x), w = Coupled((3,)), operands(), normal(4, 3, seed=2)
    expected = torch.autograd.grad((w * b(t, x)).sum(), [t, x])
    loss = (w * FrozenField(b)(t, x)).sum()
    for gradient, reference in zip(torch.autograd.grad(loss, [t, x], retain_graph=True), expected, strict=True):
        assert_close(gradient, reference)
    assert all(g is None for g in torch.autograd.grad(loss, [b.weight, b.drift], allow_unused=True))
    assert b.weight.requires_grad  # the field itself is left alone
    assert b(t, x).requires_grad


def test_derivatives_of_a_frozen_field_are_those_of_the_field() -> None:
    b, t, x, u = Coupled((3,)), uniform(4), normal(4, 3), normal(4, 3, seed=1)
    frozen = FrozenField(b)
    assert_close(frozen.jvp(t, x, u), b.jvp(t, x, u))
    assert_close(frozen.dt(t, x), b.dt(t, x))
    assert_close(frozen.divergence(t, x), b.divergence(t, x))
    assert not frozen.jvp(t, x, u).requires_grad


def test_a_stopped_field_has_no_graph_and_no_tangent() -> None:
    b, (t, x) = Coupled((3,)), operands()
    stopped = StoppedField(b)
    assert not stopped(t, x).requires_grad
    assert torch.equal(stopped.jvp(t.detach(), x.detach(), torch.ones(4, 3).double()), torch.zeros(4, 3).double())
    assert b(t, x).requires_grad


@pytest.mark.parametrize("kind", [FrozenField, StoppedField])
def test_conditions_are_passed_on(kind: type[VelocityField]) -> None:
    x = normal(4, 3)
    assert_close(kind(Labelled()).given(label=2.0)(0.3, x), 2 * x)
    assert_close(kind(Labelled().given(label=2.0))(0.3, x), 2 * x)

"""Maps with constants for parameters: values and derivatives are those of the map, gradients pass the operands only."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from flowops import LearnedMap
from flowops.maps import FrozenMap
from tests.examples import CubicFlow, TwoTimeNetwork, mild, normal, uniform


def test_values_and_derivatives_are_those_of_the_map() -> None:
    X, s, t, x, u = LearnedMap(TwoTimeNetwork((3,))), uniform(4), uniform(4, seed=1), normal(4, 3), normal(4, 3, seed=1)
    frozen = FrozenMap(X)
    assert torch.equal(frozen(s, t, x), X(s, t, x))
    for own, other in (
        (frozen.dt(s, t, x), X.dt(s, t, x)),
        (frozen.ds(s, t, x), X.ds(s, t, x)),
        (frozen.jvp(s, t, x, u), X.jvp(s, t, x, u)),
        (frozen.velocity()(t, x), X.velocity()(t, x)),
    ):
        assert_close(own, other)
        assert not own.requires_grad
    assert_close(frozen.average_velocity(s, t, x), X.average_velocity(s, t, x), rtol=1e-6, atol=1e-6)


def test_gradients_pass_through_times_and_state_only() -> None:
    network = TwoTimeNetwork((3,))
    X, w = LearnedMap(network), normal(4, 3, seed=9)
    leaves = [z.requires_grad_() for z in (uniform(4), uniform(4, seed=1), normal(4, 3))]
    loss = (w * FrozenMap(X)(*leaves)).sum()
    found = torch.autograd.grad(loss, leaves, retain_graph=True)
    for gradient, expected in zip(found, torch.autograd.grad((w * X(*leaves)).sum(), leaves), strict=True):
        assert_close(gradient, expected)
    assert torch.autograd.grad(loss, [network.inward], allow_unused=True)[0] is None
    assert X(*leaves).sum().requires_grad
    assert network.inward.requires_grad


def test_it_follows_the_parameters_as_they_change() -> None:
    network, x = TwoTimeNetwork((3,)), normal(4, 3)
    frozen = FrozenMap(LearnedMap(network))
    before = frozen(0.0, 1.0, x)
    with torch.no_grad():
        network.outward.mul_(2)
    assert_close(frozen(0.0, 1.0, x) - x, 2 * (before - x))


def test_conditions_are_passed_on() -> None:
    X, x = LearnedMap(TwoTimeNetwork((3,))), normal(4, 3)
    assert torch.equal(FrozenMap(X).given(label=0.5)(0.0, 1.0, x), X.given(label=0.5)(0.0, 1.0, x))
    assert_close(FrozenMap(CubicFlow())(0.0, 1.0, mild(3, 2)), CubicFlow()(0.0, 1.0, mild(3, 2)))

"""Joint maps: what a network with a second output claims of volumes, and the fields and residuals of the pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import LearnedMap, VelocityField, residuals
from flowops.fields import AugmentedField
from flowops.fields.augmented import joined, separated
from flowops.interpolants import trigonometric
from flowops.maps import EDMPreconditioning, JointMap, LearnedJointMap
from flowops.networks import MLP, UNet
from tests.examples import EVENT_IDS, EVENTS, central_difference, normal, over, uniform


class Network(nn.Module):
    """A network with a rate, for events of any shape and an optional label."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.value_and_log_det_rate(s, t, x, label)[0]

    def value_and_log_det_rate(
        self, s: Tensor, t: Tensor, x: Tensor, label: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        value = torch.sin(x + over(s - 2 * t + (0 if label is None else label), x))
        return value, (value**2).reshape(len(x), -1).sum(1) + s


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
class TestAnyEvent:
    def test_the_logarithm_is_the_rate_times_the_length(self, event: tuple[int, ...]) -> None:
        X, x = LearnedJointMap(Network()), normal(3, *event)
        s, t = uniform(2, 3)
        value, rate = X.network.value_and_log_det_rate(s, t, x)  # type: ignore[operator]
        assert_close(X.log_det_rate(s, t, x), rate)
        assert_close(X.learned_log_det(s, t, x), (t - s) * rate)
        assert_close(X(s, t, x), x + over(t - s, x) * value)
        assert not X.learned_log_det(s, s, x).any()

    def test_steps_add_their_logarithms(self, event: tuple[int, ...]) -> None:
        X, x = LearnedJointMap(Network()), normal(3, *event)
        middle = X(0.9, 0.5, x)
        end, log_det = X.compose_with_log_det([0.9, 0.5, 0.2], x)
        assert_close(end, X(0.5, 0.2, middle))
        assert_close(log_det, X.learned_log_det(0.9, 0.5, x) + X.learned_log_det(0.5, 0.2, middle))

    def test_a_density_is_that_of_the_base_where_the_steps_end(self, event: tuple[int, ...]) -> None:
        X, x = LearnedJointMap(Network()), normal(3, *event)
        end, log_det = X.compose_with_log_det([0.8, 0.4, 0.0], x)
        standard = -0.5 * (end.reshape(3, -1) ** 2 + math.log(2 * math.pi)).sum(1)
        assert_close(X.log_prob(x, 0.8, steps=2), standard + log_det)
        assert_close(X.log_prob(x, 0.8, torch.distributions.Normal(0.0, 1.0), steps=2), standard + log_det)

    def test_the_augmented_field_has_the_divergence_last(self, event: tuple[int, ...]) -> None:
        b = VelocityField.from_function(lambda t, x: torch.sin(x) * over(t, x))
        x, t = normal(3, *event), uniform(3)
        value, divergence = separated(AugmentedField(b, x.shape[1:])(t, joined(x)), x.shape[1:])
        assert_close(value, b(t, x))
        assert_close(divergence, b.divergence(t, x))
        assert_close(divergence, t * torch.cos(x).reshape(3, -1).sum(1))


def test_signs_estimate_the_divergence_of_the_field_that_expands() -> None:
    A = normal(3, 3, seed=4)
    b, other = (VelocityField.from_function(lambda _, x, c=c: c * x @ A.T) for c in (1.0, 2.0))
    x, signs = normal(4, 3), torch.sign(normal(4, 2, 3, seed=5))
    quadratic = torch.einsum("bni,ij,bnj->bn", signs, A, signs).mean(1)
    for expands, factor in ((None, 1.0), (other, 2.0)):
        found = AugmentedField(b, x.shape[1:], expands=expands, probes=signs)(0.0, joined(x))
        assert_close(found, joined(b(0.0, x), factor * quadratic))


def test_conditions_reach_the_rate_and_are_checked() -> None:
    X, x = LearnedJointMap(Network()), normal(3, 2)
    label = torch.tensor([0, 1, 2])
    told = X.given(label=label)
    assert isinstance(told, JointMap)
    _, rate = Network().value_and_log_det_rate(torch.zeros(3), torch.ones(3), x, label)
    assert_close(told.log_det_rate(0.0, 1.0, x), rate)
    with pytest.raises(ValueError, match="`label` must be a scalar or hold one entry per sample, 2"):
        told.log_det_rate(0.0, 1.0, x[:2])


def test_a_parameterization_changes_the_state_and_keeps_the_rate_of_its_input() -> None:
    I, x = trigonometric(), normal(3, 2)
    X = LearnedJointMap(Network(), EDMPreconditioning(I, 1.0))
    assert_close(X(0.2, 0.7, x), LearnedMap(Network(), EDMPreconditioning(I, 1.0))(0.2, 0.7, x))
    s, t = torch.tensor([[0.2] * 3, [0.7] * 3], dtype=torch.float64)
    _, rate = Network().value_and_log_det_rate(s, t, x)
    assert_close(X.log_det_rate(0.2, 0.7, x), rate)  # its inputs have unit variance here


def test_derivatives_of_the_rate_are_differences() -> None:
    X, x = LearnedJointMap(Network()), normal(3, 2)
    s, t = uniform(2, 3)
    b = VelocityField.from_function(lambda _, x: torch.cos(x))
    slope = central_difference(lambda q: X.log_det_rate(s, q, x), t, torch.ones_like(t))
    wanted = X.log_det_rate(s, t, x) - b.divergence(t, X(s, t, x)) + (t - s) * slope
    assert_close(residuals.lagrangian_log_det(X, b, s, t, x), wanted, rtol=1e-6, atol=1e-7)
    moved = central_difference(lambda q: X.log_det_rate(s + q, t, x + q[:, None] * b(s, x)), 0 * s, torch.ones_like(s))
    wanted = X.log_det_rate(s, t, x) - b.divergence(s, x) - (t - s) * moved
    assert_close(residuals.eulerian_log_det(X, b, s, t, x), wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["tangent", "lagrangian", "eulerian", "semigroup"])
def test_a_frozen_side_keeps_the_values_and_has_no_graph(name: str) -> None:
    X = LearnedJointMap(MLP(2, width=8, depth=1, log_det=True).double())
    x, b = normal(3, 2), X.velocity()
    operands = {"tangent": (b, 0.3, x), "semigroup": (0.2, 0.8, 0.3, x)}.get(name, (b, 0.2, 0.8, x))
    call = getattr(residuals, f"{name}_log_det")
    live, held = (call(X, *operands, parts=True, frozen=frozen) for frozen in (False, True))
    assert_close(live, held)
    assert held.left.requires_grad
    assert not held.right.requires_grad
    assert held.left.shape == (3,)


@pytest.mark.parametrize("make", [lambda **o: MLP(2, width=8, **o), lambda **o: UNet((2, 4, 4), channels=4, **o)])
class TestNetworks:
    def test_the_rate_is_zero_at_first_and_trained(self, make: Callable[..., Any]) -> None:
        network = make(log_det=True)
        X, x = LearnedJointMap(network), normal(3, *network.event, dtype=torch.float32)
        value, rate = network.value_and_log_det_rate(torch.zeros(3), torch.ones(3), x)
        assert_close(value, network(torch.zeros(3), torch.ones(3), x))
        assert not rate.any()
        (X.log_det_rate(0.0, 1.0, x) - 1).square().sum().backward()
        assert network.log_det.outer.weight.grad.abs().sum() > 0

    def test_without_a_second_output_there_is_no_joint_map(self, make: Callable[..., Any]) -> None:
        network = make()
        assert not any(name.startswith("log_det") for name in network.state_dict())
        with pytest.raises(TypeError, match=r"must have a method value_and_log_det_rate\(s, t, x\), and .* has none"):
            LearnedJointMap(network)
        with pytest.raises(ValueError, match="`log_det` must be True for a rate of log-determinants"):
            network.value_and_log_det_rate(torch.zeros(3), torch.ones(3), torch.zeros(3, *network.event))


def test_a_rate_of_another_shape_is_refused() -> None:
    class Wrong(Network):
        def value_and_log_det_rate(
            self, s: Tensor, t: Tensor, x: Tensor, label: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            return x, s[:, None]

    with pytest.raises(ValueError, match=r"The rate of the network must return the shape of the state, \[3\]"):
        LearnedJointMap(Wrong()).log_det_rate(0.0, 1.0, normal(3, 2))


def test_no_side_is_frozen_that_is_not_asked_for() -> None:
    X, x = LearnedJointMap(MLP(2, width=8, depth=1, log_det=True).double()), normal(3, 2)
    b = X.velocity()
    for call, operands in (
        (residuals.tangent_log_det, (b, 0.3, x)),
        (residuals.lagrangian_log_det, (b, 0.2, 0.8, x)),
        (residuals.eulerian_log_det, (b, 0.2, 0.8, x)),
        (residuals.semigroup_log_det, (0.2, 0.8, 0.3, x)),
    ):
        assert call(X, *operands, parts=True).right.requires_grad, call.__name__

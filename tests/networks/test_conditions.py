"""What both networks are told of guidance, and their second output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import LearnedMap
from flowops.maps import Endpoint
from flowops.networks import MLP, UNet, audit, load_diagonal
from flowops.networks.audit import fill_zeros
from tests.examples import central_difference, normal

Make = Callable[..., MLP | UNet]


def mlp(**options: Any) -> MLP:
    return MLP((1, 4, 4), width=8, depth=2, **options, generator=torch.Generator().manual_seed(0))


def unet(**options: Any) -> UNet:
    small: dict[str, Any] = {"channels": 8, "multipliers": (1,), "blocks": 1, "attention": ()}
    return UNet((1, 4, 4), **small, **options, generator=torch.Generator().manual_seed(0))


def preserving(**options: Any) -> UNet:
    return unet(**options, magnitude_preserving=True)


EVERY = pytest.mark.parametrize("make", [mlp, unet, preserving])
X_ = normal(3, 1, 4, 4, dtype=torch.float32)
TOLD: dict[str, Any] = {"labels": 3, "guidance": True, "interval": True}


def filled(network: nn.Module) -> nn.Module:
    """The network with something in the weights that start at zero."""
    fill_zeros(network)
    return network


@EVERY
def test_an_interval_is_all_times_where_it_is_not_given(make: Make) -> None:
    X = LearnedMap(filled(make(**TOLD))).given(label=1, guidance=2.0)
    rows = torch.tensor([[0.0, 1.0], [0.2, 0.7], [0.0, 0.7]])
    plain, found = X(0.1, 0.9, X_), X.given(interval=rows)(0.1, 0.9, X_)
    assert_close(found[0], plain[0])
    for i in (1, 2):
        assert not torch.allclose(found[i], plain[i])
        pair = (float(rows[i, 0]), float(rows[i, 1]))
        assert_close(found[i], X.given(interval=pair)(0.1, 0.9, X_)[i])
    assert not torch.allclose(found[1] - plain[1], (found[2] - plain[2]))  # both ends are seen


@EVERY
def test_what_is_no_interval_is_refused(make: Make) -> None:
    times = torch.zeros(3)
    with pytest.raises(ValueError, match="`interval` must not be given, since this network takes no interval; build"):
        make()(times, times, X_, interval=(0.1, 0.5))
    for wrong in (torch.zeros(2, 2), torch.zeros(3)):
        with pytest.raises(ValueError, match=r"`interval` must be a pair of times or have shape \[batch, 2\] = \[3"):
            make(**TOLD)(times, times, X_, interval=wrong)


@EVERY
def test_the_second_output_changes_nothing_of_the_first(make: Make) -> None:
    plain, both = make(**TOLD), make(**TOLD, auxiliary=True)
    assert set(plain.state_dict()) < set(both.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.equal(both.state_dict()[name], value)
    X = LearnedMap(filled(both))
    v = X.given(label=1, guidance=2.0).auxiliary()
    assert v(0.3, X_).shape == X_.shape
    assert not torch.allclose(v(0.3, X_), X.given(label=1, guidance=2.0).velocity()(0.3, X_))
    for other in (X.given(label=2, guidance=2.0), X.given(label=1, guidance=3.0)):
        assert not torch.allclose(v(0.3, X_), other.auxiliary()(0.3, X_))
    assert_close(X.auxiliary().given(label=1, guidance=2.0)(0.3, X_), v(0.3, X_))
    value = X(0.1, 0.9, X_).detach()
    with torch.no_grad():
        for parameter in both.auxiliary.parameters():  # type: ignore[union-attr]
            parameter.add_(1.0)
    assert torch.equal(X(0.1, 0.9, X_), value)


@EVERY
def test_every_parameter_learns_from_both_outputs(make: Make) -> None:
    X = LearnedMap(filled(make(**TOLD, auxiliary=True))).given(
        label=torch.tensor([0, 1, 3]), guidance=torch.tensor([0.5, 1.0, 2.0]), interval=torch.tensor([[0.1, 0.8]] * 3)
    )
    value, slope = X.value_and_dt(0.1, 0.9, X_)
    (value + slope + X.auxiliary()(0.3, X_)).square().sum().backward()
    for name, parameter in X.named_parameters():
        assert parameter.grad is not None, name
        rows = parameter.grad[:2] if name.endswith("label.vectors") else parameter.grad
        assert rows.abs().sum() > 0, name


def test_the_second_output_is_parameterized_like_the_diagonal_and_has_derivatives() -> None:
    network = filled(mlp(auxiliary=True)).double()
    x, u, half = X_.double(), normal(3, 1, 4, 4, seed=1), torch.full((3,), 0.5, dtype=torch.float64)
    v = LearnedMap(network, Endpoint()).auxiliary()
    assert_close(v(0.5, x), (network.auxiliary_velocity(half, x) - x) / 0.5)  # type: ignore[operator]
    assert_close(v.jvp(0.5, x, u), central_difference(lambda y: v(0.5, y), x, u), rtol=1e-6, atol=1e-7)


@EVERY
def test_without_one_it_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="`X` must have a second output for a velocity, and LearnedMap has none"):
        LearnedMap(make()).auxiliary()
    with pytest.raises(ValueError, match="`auxiliary` must be True for a second output, got False; build"):
        make().auxiliary_velocity(torch.zeros(3), X_)
    with pytest.raises(ValueError, match=r"`interval` must be a pair of times or have shape \[batch, 2\] = \[3"):
        LearnedMap(make(**TOLD, auxiliary=True)).given(interval=torch.zeros(3)).auxiliary()(0.3, X_)


def test_a_pretrained_field_does_not_hear_an_interval() -> None:
    one = filled(unet(labels=3, one_time=True))
    network = unet(**TOLD)
    load_diagonal(network, one.state_dict())
    X, b = LearnedMap(network).given(label=1), LearnedMap(one).given(label=1)
    assert_close(X.given(guidance=2.0, interval=(0.2, 0.6)).velocity()(0.3, X_), b.velocity()(0.3, X_))
    network.conditions.interval_gain.data.fill_(1.0)  # type: ignore[union-attr]
    assert not torch.allclose(X.given(interval=(0.2, 0.6)).velocity()(0.3, X_), b.velocity()(0.3, X_))


@EVERY
def test_networks_that_are_told_more_are_sound(make: Make) -> None:
    assert audit(make(**TOLD), X_, label=1, guidance=2.0).ok


def test_the_interval_is_that_of_each_sample_in_the_precision_of_times() -> None:
    network, x = filled(mlp(**TOLD)), X_.to(torch.bfloat16)
    seen: list[Tensor] = []
    assert isinstance(network, MLP)
    assert network.interval is not None
    network.interval.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    LearnedMap(network.to(torch.bfloat16)).given(interval=(0.3, 0.7))(0.1, 0.9, x)
    assert seen[0].dtype == torch.float32
    assert_close(seen[0], torch.tensor([[0.3, 0.7]] * 3))

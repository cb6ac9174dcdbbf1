"""Pretrained velocity fields as diagonals of two-time networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops.networks import MLP, UNet, load_diagonal
from tests.examples import normal, uniform

OPTIONS: list[dict[str, Any]] = [{}, {"magnitude_preserving": True}, {"labels": 2, "embedding": "fourier"}]


def network(seed: int = 0, **options: Any) -> UNet:
    generator = torch.Generator().manual_seed(seed)
    net = UNet((1, 8, 8), channels=8, multipliers=(1, 2), blocks=1, generator=generator, **options)
    for parameter in net.parameters():
        if not parameter.detach().any():
            parameter.data.normal_(0, 0.3, generator=generator)
    return net


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    s, t = uniform(2, 3, dtype=torch.float32)
    return s, t, normal(3, 1, 8, 8, dtype=torch.float32)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_the_two_time_network_starts_as_the_field_for_every_end(options: dict[str, Any], prefix: str) -> None:
    (s, t, x), field, net = inputs(), network(one_time=True, **options), network(1, **options)
    assert not torch.allclose(net(s, t, x), field(s, s, x), atol=1e-3)
    load_diagonal(net, {f"{prefix}{name}": value for name, value in field.state_dict().items()})
    assert torch.equal(net(s, t, x), field(s, s, x))
    assert torch.equal(net(s, s, x), field(s, s, x))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_learns_to_see_the_end(options: dict[str, Any]) -> None:
    (s, t, x), net = inputs(), network(**options)
    load_diagonal(net, network(one_time=True, **options).state_dict())
    optimizer = torch.optim.SGD(net.parameters(), 1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        (net(s, t, x) - x).square().mean().backward()
        optimizer.step()
    assert not torch.allclose(net(s, t, x), net(s, s, x), atol=1e-7)


def test_a_scale_of_guidance_that_the_field_does_not_know_is_not_seen_at_first() -> None:
    (s, t, x), field, net = inputs(), network(one_time=True), network(1, guidance=True)
    load_diagonal(net, field.state_dict())
    assert torch.equal(net(s, t, x, guidance=3.0), field(s, s, x))
    guided, net = network(one_time=True, guidance=True), network(1, guidance=True)
    load_diagonal(net, guided.state_dict())
    assert_close(net(s, t, x, guidance=3.0), guided(s, s, x, guidance=3.0))
    assert not torch.allclose(net(s, t, x, guidance=3.0), net(s, t, x), atol=1e-3)


def test_a_rate_of_the_log_determinant_that_the_field_does_not_know_is_zero_at_first() -> None:
    (s, t, x), field = inputs(), network(one_time=True)
    net = UNet((1, 8, 8), channels=8, multipliers=(1, 2), blocks=1, log_det=True)
    load_diagonal(net, field.state_dict())
    value, rate = net.value_and_log_det_rate(s, t, x)
    assert torch.equal(value, field(s, s, x))
    assert torch.equal(rate, torch.zeros(3))
    joint, other = network(one_time=True, log_det=True), network(1, log_det=True)
    load_diagonal(other, joint.state_dict())
    for ours, theirs in zip(other.value_and_log_det_rate(s, t, x), joint.value_and_log_det_rate(s, s, x), strict=True):
        assert torch.equal(ours, theirs)


def test_weights_that_do_not_fit_are_refused_with_their_names_and_nothing_is_loaded() -> None:
    net, weights = network(), network(1, one_time=True).state_dict()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r'got a dict that misses: "first.conv.bias"; build both'):
        load_diagonal(net, {name: value for name, value in weights.items() if name != "first.conv.bias"})
    with pytest.raises(ValueError, match=r'got a dict that has unknown names: "more"'):
        load_diagonal(net, weights | {"more": torch.zeros(1)})
    with pytest.raises(ValueError, match=r'has unknown names: "conditions.difference.*and \d+ more'):
        load_diagonal(net, network().state_dict())
    with pytest.raises(ValueError, match=r'got a dict that has other shapes: "first.conv.bias"'):
        load_diagonal(net, weights | {"first.conv.bias": torch.zeros(3)})
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_pair_of_networks_is_refused() -> None:
    weights = network(one_time=True).state_dict()
    with pytest.raises(ValueError, match="`network` must have two times"):
        load_diagonal(network(one_time=True), weights)
    with pytest.raises(TypeError, match="`network` must be a UNet or a DiT, got MLP"):
        load_diagonal(MLP(2), weights)
    with pytest.raises(TypeError, match='`weights` must be tensors by name, got another type for "first.conv.bias"'):
        load_diagonal(network(), weights | {"first.conv.bias": 1})

"""DDPM++: what it is told, its derivatives, EDM's preconditioning on any schedule, the door for published weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import LearnedMap
from flowops.interpolants import Interpolant, edm, linear
from flowops.maps import EDMPreconditioning
from flowops.networks import DDPMpp, UNet, audit, load_edm
from tests.examples import normal, uniform

EVENT = (2, 8, 8)
SMALL: dict[str, Any] = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}


def network(**options: Any) -> DDPMpp:
    """A small network in float64, every parameter of which takes part."""
    net = DDPMpp(EVENT, **(SMALL | options), generator=torch.Generator().manual_seed(0)).double()
    source = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=source)
    return net


def test_it_has_the_size_and_the_names_of_the_published_network() -> None:
    with torch.device("meta"):
        net = DDPMpp(noise_level="(1-t)/t")
    assert {value.device.type for value in net.parameters()} == {"meta"}
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert sum(value.numel() for value in net.parameters()) == 55_732_739  # 55.7 M in the tables of its papers
    assert shapes["map_layer0.weight"] == (512, 128)
    assert shapes["enc.32x32_conv.weight"] == (128, 3, 3, 3)
    assert shapes["enc.32x32_block0.skip.weight"] == (256, 128, 1, 1)
    assert shapes["enc.16x16_down.conv0.weight"] == (256, 256, 3, 3)
    assert [name for name in shapes if name.endswith("qkv.weight")] == [
        *(f"enc.16x16_block{k}.qkv.weight" for k in range(4)),
        "dec.8x8_in0.qkv.weight",
        "dec.16x16_block4.qkv.weight",
    ]
    assert shapes["dec.32x32_block4.conv0.weight"] == (256, 384, 3, 3)
    assert shapes["dec.32x32_aux_conv.weight"] == (3, 256, 3, 3)


@pytest.mark.parametrize(
    "options", [{}, {"noise_level": "(1-t)/t"}, {"resample": (1, 3, 3, 1), "features": 2, "dropout": 0.3}], ids=str
)
def test_its_derivatives_are_right_and_samples_do_not_interact(options: dict[str, Any]) -> None:
    audit(network(**options), normal(2, *EVENT)).raise_for_findings()


def test_a_noise_level_is_all_that_it_is_told() -> None:
    net, (s, t), x = network(noise_level="(1-t)/t"), uniform(2, 3), normal(3, *EVENT)
    assert torch.equal(net(s, t, x), net(s, s, x))
    other = network(noise_level="80*(0.002/80)**t")  # the same noise at other times
    sigma = (1 - s) / s
    assert_close(other(torch.log(sigma / 80) / torch.log(torch.tensor(0.002 / 80)), t, x), net(s, t, x))
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)  # where its logarithm is infinite
    assert bool(net(ends, ends, x[:2]).isfinite().all())


def test_two_times_are_told_apart() -> None:
    net, (s, t), x = network(), uniform(2, 3), normal(3, *EVENT)
    assert not torch.allclose(net(s, t, x), net(s, s, x))
    assert not torch.allclose(net(s, s, x), net(t, t, x))


@pytest.mark.parametrize(("I", "noise"), [(edm(), "(80**(1/7)+t*(0.002**(1/7)-80**(1/7)))**7"), (linear(), "(1-t)/t")])
def test_behind_preconditioning_it_is_the_network_of_edm_on_any_schedule(I: Interpolant, noise: str) -> None:
    # D(y; sigma) = c_skip y + c_out F(c_in y; ln(sigma) / 4) with sigma_d = 1/2, in EDM's letters
    net, x, s = network(noise_level=noise), normal(4, *EVENT), uniform(4) * 0.6 + 0.1
    alpha, beta = (value[:, None, None, None] for value in (I.alpha(s), I.beta(s)))
    y, sigma = x / beta, alpha / beta
    c_skip, c_out = 0.25 / (sigma**2 + 0.25), 0.5 * sigma / (sigma**2 + 0.25).sqrt()
    D = c_skip * y + c_out * net(s, s, y / (sigma**2 + 0.25).sqrt())
    X = LearnedMap(net, EDMPreconditioning(I, 0.5))
    # the field is that of the probability flow, and the map to the end the denoiser, at whose end edm() has noise left
    field = I.alpha_dot(s)[:, None, None, None] * (x - beta * D) / alpha + I.beta_dot(s)[:, None, None, None] * D
    assert_close(X.velocity()(s, x), field, rtol=1e-7, atol=1e-7)
    left = 0.02 * float(y.abs().max()) if float(I.alpha(1.0)) else 1e-7
    assert_close(X(s, torch.ones(4).double(), x), D, rtol=0, atol=left)


class Wrapped(nn.Module):
    """A network inside another one, with filters beside its weights, as EDM saves its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.model.register_buffer("resample_filter", torch.ones(1))


class TestWeights:
    OPTIONS: dict[str, Any] = {"noise_level": "(1-t)/t"}  # noqa: RUF012

    def test_those_of_a_network_of_edm_are_taken_whole(self) -> None:
        given, net = network(**self.OPTIONS, augment=9), DDPMpp(EVENT, **SMALL, **self.OPTIONS).double()
        (s, t), x = uniform(2, 3), normal(3, *EVENT)
        load_edm(net, Wrapped(given).state_dict())
        assert torch.equal(net(s, t, x), given(s, t, x))

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda w: {k: v for k, v in w.items() if k != "map_layer0.bias"}, "a dict that misses: map_layer0.bias;"),
            (lambda w: {**w, "map_label.weight": torch.zeros(1)}, "a dict that has unknown names: map_label.weight;"),
            (lambda w: {**w, "map_layer0.bias": torch.zeros(3)}, "a dict that has other shapes: map_layer0.bias;"),
            (lambda w: {**w, "map_layer0.bias": w["map_layer0.bias"] * torch.nan}, "that is not finite: map_layer0.b"),
        ],
    )
    def test_others_are_refused_and_nothing_is_loaded(self, change: Any, sentence: str) -> None:
        net = DDPMpp(EVENT, **SMALL, **self.OPTIONS).double()
        before: dict[str, Tensor] = {name: value.clone() for name, value in net.state_dict().items()}
        with pytest.raises(ValueError, match=sentence):
            load_edm(net, change(network(**self.OPTIONS).state_dict()))
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())

    @pytest.mark.usefixtures("unchecked")
    def test_another_network_is_refused(self) -> None:
        other: Any = UNet((3, 8, 8))
        with pytest.raises(TypeError, match="`network` must be a DDPMpp, got UNet"):
            load_edm(other, {})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": 10}, "`labels` must be left out for ddpmpp, which is unconditional"),
        ({"guidance": True}, "`guidance` must be left out for ddpmpp"),
        ({"dropout": 1.0}, "`dropout` must be a probability below one, got 1.0"),
        ({"blocks": 0}, "`blocks` must be a whole number of at least 1, got 0"),
        ({"multipliers": (1, 1, 1, 1, 1)}, "`event` must be .* with sizes divisible by 16, got"),
        ({"noise_level": "__import__('os')"}, "alpha"),
    ],
)
def test_options_that_make_no_network_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DDPMpp(EVENT, **(SMALL | options))


@pytest.mark.usefixtures("unchecked")
def test_states_and_conditions_that_do_not_fit_are_refused() -> None:
    net, x = network(), normal(2, *EVENT)
    for state, augment in ((x[:, :1], None), (x.float(), None), (x, torch.zeros(2, 6).double())):
        with pytest.raises((ValueError, TypeError)):
            net(torch.zeros(2), torch.ones(2), state, augment)

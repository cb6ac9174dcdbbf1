"""The U-Net: derivatives, independence of samples, precision and memory formats, conditions, and what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import LearnedMap
from flowops._derivatives import value_and_jvp
from flowops.networks import UNet
from flowops.networks.blocks.plain import GroupNorm
from flowops.networks.blocks.preserving import Weighted
from tests.examples import central_difference, normal, uniform

EVENT = (2, 8, 8)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "preserving": {"magnitude_preserving": True},
    "fourier": {"embedding": "fourier", "attention": ()},
    "forced": {
        "magnitude_preserving": True,
        "forced_normalization": True,
        "embedding_layers": 1,
        "conditions_width": 12,
    },
}


def network(event: tuple[int, ...] = EVENT, *, awake: bool = True, **options: Any) -> UNet:
    """A small network; its zero parameters are made small ones, so that all of it takes part."""
    settings: dict[str, Any] = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "heads_width": 4} | options
    generator = torch.Generator().manual_seed(0)
    net = UNet(event, **settings, generator=generator)
    for parameter in net.parameters():
        if awake and not parameter.detach().any():
            parameter.data.normal_(0, 0.3, generator=generator)
    return net


def images(batch: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    s, t = uniform(2, batch, dtype=dtype)
    return s, t, normal(batch, *EVENT, dtype=dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", ["s < t", "s = t", "s > t"])
@pytest.mark.parametrize("batch", [1, 3])
def test_forward_mode_agrees_with_differences(kind: str, times: str, batch: int) -> None:
    net = network(labels=2, guidance=True, **KINDS[kind]).double()
    X = LearnedMap(net).given(label=torch.arange(batch) % 3, guidance=1 + uniform(batch, seed=4))
    x, u = normal(batch, *EVENT), normal(batch, *EVENT, seed=1)
    low, high = torch.sort(uniform(2, batch), 0).values
    s, t = {"s < t": (low, high), "s = t": (low, low), "s > t": (high, low)}[times]
    one = torch.ones_like(s)
    assert_close(X.dt(s, t, x), central_difference(lambda q: X(s, q, x), t, one, 1e-4), rtol=1e-6, atol=1e-7)
    assert_close(X.ds(s, t, x), central_difference(lambda q: X(q, t, x), s, one, 1e-4), rtol=1e-6, atol=1e-7)
    assert_close(X.jvp(s, t, x, u), central_difference(lambda y: X(s, t, y), x, u, 1e-4), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_do_not_interact(kind: str) -> None:
    net, (s, t, x) = network(**KINDS[kind]).double(), images(dtype=torch.float64)
    alone = torch.cat([net(s[k : k + 1], t[k : k + 1], x[k : k + 1]) for k in range(3)])
    assert_close(net(s, t, x), alone)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_last_gives_the_same_in_its_own_format(kind: str) -> None:
    net, (s, t, x) = network(**KINDS[kind]).double(), images(dtype=torch.float64)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    shuffled = x.contiguous(memory_format=torch.channels_last)
    one = value_and_jvp(net, (s, t, x), (s, t, x))
    other = value_and_jvp(last, (s, t, shuffled), (s, t, shuffled))
    assert_close(one[0], other[0])
    assert_close(one[1], other[1])
    assert other[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_to_bfloat16_stays_close_with_tangents_in_float32(kind: str) -> None:
    net, (s, t, x) = network(**KINDS[kind]), images()
    direction = (torch.ones_like(s), torch.ones_like(t), normal(3, *EVENT, seed=2, dtype=torch.float32))
    exact = value_and_jvp(net, (s, t, x), direction)
    with torch.autocast("cpu", torch.bfloat16):
        rough = value_and_jvp(net, (s, t, x), direction)
    for a, b in zip(exact, rough, strict=True):
        assert b.dtype == torch.float32
        assert 0 < (a - b).norm() < 0.05 * a.norm()


def test_times_keep_their_digits_under_autocast() -> None:
    net, (s, t, x) = network(), images()
    with torch.autocast("cpu", torch.bfloat16):
        c = net.conditions(s, t, x, None, None)
    assert torch.equal(c, net.conditions(s, t, x, None, None))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("last", [False, True])
def test_the_group_norm_is_that_of_torch_in_the_dtype_of_its_input(dtype: torch.dtype, last: bool) -> None:
    norm, x = GroupNorm(16), normal(3, 16, 4, 6, dtype=torch.float32) * 3 + 1
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
    nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(1))
    expected = nn.functional.group_norm(x, 4, norm.weight, norm.bias)
    x = x.to(dtype).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        y, dy = torch.func.jvp(norm, (x,), (x,))[:2]  # without the casts of flowops
    assert (y.dtype, dy.dtype) == (dtype, dtype)
    tolerance = 1e-5 if dtype is torch.float32 else 3e-2
    assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)
    assert y.is_contiguous(memory_format=torch.channels_last) == last


def test_the_map_starts_as_the_identity_with_at_most_two_million_parameters() -> None:
    for preserving in (False, True):
        generator = torch.Generator().manual_seed(0)
        net = UNet(labels=10, guidance=True, magnitude_preserving=preserving, generator=generator)
        assert sum(parameter.numel() for parameter in net.parameters()) <= 2_000_000
        x = normal(2, 3, 32, 32, dtype=torch.float32)
        assert torch.equal(LearnedMap(net)(0.0, 1.0, x), x)


def test_the_map_is_the_identity_on_the_diagonal() -> None:
    s, _, x = images()
    assert torch.equal(LearnedMap(network())(s, s, x), x)


@pytest.mark.parametrize("kind", KINDS)
def test_the_difference_of_times_is_a_constant_on_the_diagonal(kind: str) -> None:
    net, (s, t, _) = network(**KINDS[kind]), images()
    assert net.conditions.difference is not None
    on, off = net.conditions.difference(s - s), net.conditions.difference(t - s)
    assert torch.equal(on, on[:1].expand_as(on))
    assert not torch.allclose(off, on)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient_through_a_slope(kind: str) -> None:
    net, (s, t, x) = network(labels=2, guidance=True, **KINDS[kind]), images()
    value, slope = LearnedMap(net).given(label=torch.arange(3), guidance=2.0).value_and_dt(s, t, x)
    (value + slope).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_magnitudes_are_preserved() -> None:
    # at initialization every block is given and returns activations of mean square one, up to what training data add
    options: dict[str, Any] = {"channels": 32, "blocks": 2, "heads_width": 16, "magnitude_preserving": True}
    net, x = network((3, 16, 16), awake=False, **options), normal(16, 3, 16, 16, dtype=torch.float32)
    s, t = uniform(2, 16, dtype=torch.float32)
    sizes = {}

    def note(name: str) -> Any:
        def hook(*passed: Any) -> None:
            sizes[name] = float(passed[-1].detach().square().mean().sqrt())

        return hook

    for name, module in net.named_modules():
        if name.startswith(("down.", "middle.", "up.")) and name.count(".") == 1:
            module.register_forward_hook(note(name))
    net(s, t, x)
    assert len(sizes) == 14
    for name, size in sizes.items():
        assert 0.7 < size < 1.3, (name, size)


def test_the_size_of_preserving_weights_does_not_matter() -> None:
    net, (s, t, x) = network(magnitude_preserving=True), images()
    y = net(s, t, x)
    for name, parameter in net.named_parameters():
        if name.endswith(".weight"):
            parameter.data.mul_(5)
    assert_close(net(s, t, x), y, rtol=1e-3, atol=1e-3)


def test_forced_weights_are_stored_at_length_one_and_compute_the_same() -> None:
    free, forced = (network(magnitude_preserving=True, forced_normalization=flag) for flag in (False, True))
    assert_close(forced(*images()), free(*images()), rtol=1e-4, atol=1e-5)
    weights = {name: w for name, w in forced.named_parameters() if name.endswith(".weight")}
    assert len(weights) > 10
    for weight in weights.values():
        weight.data.mul_(7)
    for net in (free, forced):
        for module in net.modules():
            if isinstance(module, Weighted):
                module.after_update()
    for weight in weights.values():
        sizes = weight.detach().square().mean(tuple(range(1, weight.ndim))).sqrt()
        assert_close(sizes, torch.ones_like(sizes), rtol=1e-4, atol=0)
    sizes = free.get_parameter("first.conv.weight").detach().square().mean((1, 2, 3))
    assert float((sizes - 1).abs().max()) > 0.01  # of a network that does not force them nothing is written


def test_the_width_of_the_conditions_and_their_layers_are_those_asked_for() -> None:
    net = network(embedding_layers=1, conditions_width=12)
    assert net.conditions.time.outer is None
    assert len(net.get_parameter("conditions.time.inner.weight")) == 12
    assert net.get_parameter("down.0.affine.weight").shape[1] == 12


def test_one_time_ignores_the_end_and_is_a_velocity_field() -> None:
    net, (s, t, x) = network(one_time=True), images()
    b = LearnedMap(net).velocity()
    assert torch.equal(net(s, t, x), net(s, s, x))
    assert torch.equal(b(s, x), net(s, t, x))
    assert not torch.allclose(b(t, x), b(s, x))


def test_labels_and_scales_have_defaults_and_one_value_per_sample() -> None:
    net, (s, t, x) = network(labels=3, guidance=True), images()
    y = net(s, t, x, torch.tensor([1, 2, 0]), torch.tensor([1.0, 2.0, 3.0]))
    assert_close(y[1:2], net(s[1:2], t[1:2], x[1:2], 2, 2.0))
    assert_close(net(s, t, x), net(s, t, x, 3, 1.0))
    assert not torch.allclose(net(s, t, x, 1), net(s, t, x), atol=1e-3)
    assert not torch.allclose(net(s, t, x, guidance=2.0), net(s, t, x), atol=1e-3)


def test_dropout_acts_in_training_only() -> None:
    net, (s, t, x) = network(dropout=0.5), images()
    assert not torch.equal(net(s, t, x), net(s, t, x))
    net.eval()
    assert torch.equal(net(s, t, x), net(s, t, x))


def test_time_features_turn_no_faster_than_their_scale() -> None:
    for scale in (1.0, 16.0):
        waves = network(time_scale=scale).conditions.time.waves.double()
        z = torch.linspace(0, 1, 50, dtype=torch.float64)
        value, slope = value_and_jvp(waves, (z,), (torch.ones_like(z),))
        assert_close(value.square().mean(1), torch.ones_like(z), rtol=1e-6, atol=0)
        assert slope.square().mean(1).sqrt().max() <= scale


def test_the_first_parameters_come_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    for kind in KINDS.values():
        one, other = (torch.cat([p.flatten() for p in network(labels=2, **kind).parameters()]) for _ in range(2))
        assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_any_divisible_size_will_do() -> None:
    net = network((1, 4, 12), multipliers=(1, 2, 2))
    x = normal(2, 1, 4, 12, dtype=torch.float32)
    assert net(torch.zeros(2), torch.ones(2), x).shape == x.shape
    with pytest.raises(ValueError, match="`event` must have sizes divisible by 4 for 3 resolutions"):
        network((1, 4, 6), multipliers=(1, 2, 2))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "`channels` must be a whole number of at least 1, got 0"),
        ({"blocks": -1}, "`blocks` must be a whole number of at least 1, got -1"),
        ({"multipliers": ()}, "`multipliers` must name one resolution at least"),
        ({"multipliers": (1, 0)}, "`multipliers` must be a whole number of at least 1, got 0"),
        ({"event": (8, 8)}, r"`event` must be \(channels, height, width\), got \(8, 8\)"),
        ({"dropout": 1.0}, "`dropout` must be a probability below one, got 1.0"),
        ({"embedding": "sine"}, '`embedding` must be one of positional, fourier, got "sine"'),
        ({"time_scale": 0.0}, "`time_scale` must be positive, got 0.0"),
        ({"heads_width": 3, "attention": (8,)}, "`heads_width` must divide the channels that attend, 16, got 3"),
        ({"labels": 0}, "`labels` must be a whole number of at least 1, got 0"),
        ({"embedding_layers": 3}, "`embedding_layers` must be 1 or 2, got 3"),
        ({"conditions_width": 0}, "`conditions_width` must be a whole number of at least 1, got 0"),
        ({"forced_normalization": True}, "`forced_normalization` must be False without magnitude_preserving"),
    ],
)
def test_options_that_make_no_network_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**options)


@pytest.mark.usefixtures("unchecked")
def test_wrong_states_and_conditions_are_refused_in_a_sentence() -> None:
    net, (s, t, x) = network(labels=3, guidance=True), images()
    with pytest.raises(ValueError, match=r"`x` must have event shape \[2, 8, 8\], got \[2, 8\].*build UNet\(event"):
        net(s, t, x[..., 0])
    with pytest.raises(TypeError, match=r"`x` must have the dtype of the network, torch.float32, got torch.float64"):
        net(s, t, x.double())
    with pytest.raises(ValueError, match=r"`label` must be an integer class between 0 and 3, got 4"):
        net(s, t, x, 4)
    with pytest.raises(ValueError, match=r"between 0 and 3, got values from -1 to 2"):
        net(s, t, x, torch.tensor([-1, 0, 2]))
    with pytest.raises(ValueError, match=r"`guidance` must be a number or have shape \[batch\] = \[3\], got \[2\]"):
        net(s, t, x, guidance=torch.ones(2))
    with pytest.raises(ValueError, match="`label` must not be given, since this network has no labels; build UNet"):
        network()(s, t, x, 1)
    with pytest.raises(ValueError, match="`guidance` must not be given, since this network takes no scale"):
        network()(s, t, x, None, 2.0)

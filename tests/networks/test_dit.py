"""The transformer: patches, derivatives, independence of samples, precision, conditions, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import LearnedMap
from flowops._derivatives import value_and_jvp
from flowops.maps import LearnedJointMap
from flowops.networks import DiT, audit, load_diagonal
from flowops.networks.blocks.patches import Patches
from tests.examples import central_difference, normal, uniform

IMAGE, SEQUENCE = (2, 4, 6), (6, 3)
KINDS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "images": (IMAGE, {}),
    "images, normalized queries and keys": (IMAGE, {"qk_norm": True, "embedding": "fourier"}),
    "sequences": (SEQUENCE, {"patch": 3}),
}


def network(event: tuple[int, ...] = IMAGE, *, awake: bool = True, seed: int = 0, **options: Any) -> DiT:
    """A small network; its zero parameters are made small ones, so that all of it takes part."""
    settings: dict[str, Any] = {"width": 8, "depth": 2, "heads": 2, "features": 8} | options
    generator = torch.Generator().manual_seed(seed)
    net = DiT(event, **settings, generator=generator)
    for parameter in net.parameters():
        if awake and not parameter.detach().any():
            parameter.data.normal_(0, 0.3, generator=generator)
    return net


def states(event: tuple[int, ...] = IMAGE, batch: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    s, t = uniform(2, batch, dtype=dtype)
    return s, t, normal(batch, *event, dtype=dtype)


class TestPatches:
    def test_a_row_holds_a_square_with_its_channels_innermost(self) -> None:
        x = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
        rows = Patches(IMAGE, 2).cut(x)
        assert rows.shape == (1, 6, 8)
        for place, (i, j) in enumerate((i, j) for i in range(2) for j in range(3)):
            square = x[0, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            assert rows[0, place].tolist() == [int(square[c, p, q]) for p in range(2) for q in range(2) for c in (0, 1)]

    @pytest.mark.parametrize(("event", "patch"), [(IMAGE, 2), (IMAGE, 1), (SEQUENCE, 3), ((1, 6, 3), 3)])
    def test_what_is_cut_is_joined(self, event: tuple[int, ...], patch: int) -> None:
        patches, x = Patches(event, patch), normal(2, *event)
        assert patches.cut(x).shape == (2, math.prod(patches.grid), patches.size)
        assert torch.equal(patches.joined(patches.cut(x)), x)

    def test_places_are_sines_and_cosines_of_columns_and_then_of_rows(self) -> None:
        places = Patches(IMAGE, 2).places(8)  # two frequencies, 1 and 1/100
        for place, (row, column) in enumerate((i, j) for i in range(2) for j in range(3)):
            expected = [f(w * k) for k in (column, row) for f in (math.sin, math.cos) for w in (1, 0.01)]
            assert_close(places[place], torch.tensor(expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", ["s < t", "s = t", "s > t"])
def test_forward_mode_agrees_with_differences(kind: str, times: str) -> None:
    event, options = KINDS[kind]
    net = network(event, labels=2, guidance=True, interval=True, **options).double()
    X = LearnedMap(net).given(label=torch.arange(3), guidance=1 + uniform(3, seed=4), interval=(0.2, 0.7))
    x, u = normal(3, *event), normal(3, *event, seed=1)
    low, high = torch.sort(uniform(2, 3), 0).values
    s, t = {"s < t": (low, high), "s = t": (low, low), "s > t": (high, low)}[times]
    one = torch.ones_like(s)
    assert_close(X.dt(s, t, x), central_difference(lambda q: X(s, q, x), t, one, 1e-4), rtol=1e-6, atol=1e-7)
    assert_close(X.ds(s, t, x), central_difference(lambda q: X(q, t, x), s, one, 1e-4), rtol=1e-6, atol=1e-7)
    assert_close(X.jvp(s, t, x, u), central_difference(lambda y: X(s, t, y), x, u, 1e-4), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_an_audit_finds_nothing_in_it(kind: str) -> None:
    event, options = KINDS[kind]
    audit(network(event, dropout=0.1, **options), states(event)[2]).raise_for_findings()


def test_an_audit_names_the_attention_that_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = torch.nn.functional.scaled_dot_product_attention

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return fused(q.mT, k.mT, v.mT).mT

    monkeypatch.setattr("flowops.networks.blocks.tokens.attended", kernel)
    found = audit(network(), states()[2]).findings
    assert found[0].module == "blocks.0.attention"
    assert "write the attention out" in found[0].remedy


@pytest.mark.parametrize("kind", KINDS)
def test_samples_do_not_interact(kind: str) -> None:
    event, options = KINDS[kind]
    net, (s, t, x) = network(event, **options).double(), states(event, dtype=torch.float64)
    alone = torch.cat([net(s[k : k + 1], t[k : k + 1], x[k : k + 1]) for k in range(3)])
    assert_close(net(s, t, x), alone)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_to_bfloat16_stays_close_with_tangents_in_float32(kind: str) -> None:
    event, options = KINDS[kind]
    net, (s, t, x) = network(event, **options), states(event)
    direction = (torch.ones_like(s), torch.ones_like(t), normal(3, *event, seed=2, dtype=torch.float32))
    exact = value_and_jvp(net, (s, t, x), direction)
    with torch.autocast("cpu", torch.bfloat16):
        rough = value_and_jvp(net, (s, t, x), direction)
    for a, b in zip(exact, rough, strict=True):
        assert b.dtype == torch.float32
        assert 0 < (a - b).norm() < 0.05 * a.norm()


def test_it_is_built_without_values_with_the_size_of_the_largest_published_one() -> None:
    with torch.device("meta"):
        net = DiT((4, 32, 32), width=1152, depth=28, heads=16, labels=1000)
    assert sum(p.numel() for p in net.blocks.parameters()) == 28 * (18 * 1152**2 + 15 * 1152)
    assert {p.device.type for p in net.parameters()} == {"meta"}


def test_the_map_starts_as_the_identity_with_at_most_two_million_parameters() -> None:
    net, x = DiT(), normal(1, 3, 32, 32, dtype=torch.float32)
    assert torch.equal(LearnedMap(net)(0.0, 1.0, x), x)
    assert sum(p.numel() for p in net.parameters()) < 2e6


def test_places_are_told_apart() -> None:
    net, (s, t, x) = network().double(), states(dtype=torch.float64)
    moved = net(s, t, x.roll(2, 3)).roll(-2, 3)
    assert not torch.allclose(moved, net(s, t, x), rtol=1e-2)
    net.places.zero_()
    assert_close(net(s, t, x.roll(2, 3)).roll(-2, 3), net(s, t, x))


def test_normalized_queries_bound_the_weights_of_the_attention() -> None:
    s, t, x = states()
    for norm in (False, True):
        net = network(qk_norm=norm)
        before = net(s, t, x)
        for name, parameter in net.named_parameters():
            if "attention.inward" in name:
                parameter.data[:16] *= 30  # queries and keys
        assert torch.allclose(net(s, t, x), before, rtol=1e-2, atol=1e-3) == norm


class TestConditions:
    def test_each_is_seen(self) -> None:
        net, (s, t, x) = network(labels=2, guidance=True, interval=True), states()
        plain = net(s, t, x)
        others = [net(s, t, x, 1), net(s, t, x, guidance=2.0), net(s, t, x, interval=(0.1, 0.5)), net(s, s, x)]
        assert not any(torch.allclose(other, plain, atol=1e-4) for other in others)
        assert torch.equal(net(s, t, x, 2, 1.0, (0.0, 1.0)), plain)

    def test_a_network_of_one_time_is_the_diagonal_of_one_of_two(self) -> None:
        (s, t, x), field, net = states(), network(one_time=True, labels=2), network(seed=1, labels=2, guidance=True)
        assert torch.equal(field(s, t, x, 1), field(s, s, x, 1))
        load_diagonal(net, field.state_dict())
        assert torch.equal(net(s, t, x, 1, guidance=3.0), field(s, s, x, 1))
        optimizer = torch.optim.SGD(net.parameters(), 1e-2)
        (net(s, t, x) - x).square().mean().backward()
        optimizer.step()
        (net(s, t, x) - x).square().mean().backward()
        optimizer.step()
        assert not torch.allclose(net(s, t, x), net(s, s, x), atol=1e-7)

    def test_second_outputs_stand_beside_the_first(self) -> None:
        net, (s, t, x) = network(log_det=True, auxiliary=True), states()
        value, rate = net.value_and_log_det_rate(s, t, x)
        assert torch.equal(value, net(s, t, x))
        assert rate.shape == (3,)
        assert not torch.allclose(net.auxiliary_velocity(s, x), net(s, s, x), atol=1e-3)
        assert_close(LearnedJointMap(net).learned_log_det(s, t, x), (t - s) * rate)
        assert torch.equal(LearnedMap(net).auxiliary()(s, x), net.auxiliary_velocity(s, x))


def test_dropout_acts_in_training_mode_only() -> None:
    net, (s, t, x) = network(dropout=0.5), states()
    assert not torch.equal(net(s, t, x), net(s, t, x))
    net.eval()
    assert torch.equal(net(s, t, x), net(s, t, x))
    assert torch.equal(net(s, t, x), network()(s, t, x))


@pytest.mark.parametrize(
    ("event", "options", "sentence"),
    [
        ((2,), {}, r"`event` must be \(channels, height, width\) of images or \(length, channels\) of sequences"),
        ((1, 5, 4), {}, r"`patch` must divide the sizes of the event \(1, 5, 4\), got 2"),
        (IMAGE, {"patch": 0}, "`patch` must be a whole number of at least 1, got 0"),
        (IMAGE, {"heads": 3}, "`heads` must divide the width, 8, got 3"),
        (IMAGE, {"width": 6}, r"`width` must be a multiple of 4 for events \(2, 4, 6\), .*, got 6; pass 4"),
        (IMAGE, {"depth": 0}, "`depth` must be a whole number"),
        (IMAGE, {"dropout": 1.0}, "`dropout` must be a probability below one"),
        (IMAGE, {"embedding": "learned"}, '`embedding` must be one of positional, fourier, got "learned"'),
        (IMAGE, {"time_scale": 0}, "`time_scale` must be positive"),
    ],
)
def test_options_that_make_no_network_are_refused(
    event: tuple[int, ...], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        network(event, **options)


@pytest.mark.usefixtures("unchecked")
def test_states_and_conditions_that_do_not_fit_are_refused() -> None:
    net, (s, t, x) = network(), states()
    with pytest.raises(ValueError, match=r"`x` must have event shape \[2, 4, 6\], got \[1, 4, 6\]; build DiT"):
        net(s, t, x[:, :1])
    with pytest.raises(TypeError, match="`x` must have the dtype of the network"):
        net(s, t, x.double())
    for name in ("label", "guidance", "interval"):
        with pytest.raises(ValueError, match=f"`{name}` must not be given, since this network"):
            net(s, t, x, **{name: (0.0, 1.0) if name == "interval" else 1})
    with pytest.raises(ValueError, match="`auxiliary` must be True"):
        net.auxiliary_velocity(t, x)
    with pytest.raises(ValueError, match="`log_det` must be True"):
        net.value_and_log_det_rate(s, t, x)

"""Published weights of transformers: the network beside an independent one of their layout, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from flowops import LearnedMap
from flowops.networks import MLP, DiT, load_dit
from tests.examples import normal, uniform

CHANNELS, SIDE, PATCH, WIDTH, HEADS, CLASSES, DEPTH = 3, 6, 2, 16, 4, 5, 2
SHAPE: dict[str, Any] = {"patch": PATCH, "width": WIDTH, "heads": HEADS, "depth": DEPTH, "labels": CLASSES}


def weights(doubled: bool = True) -> dict[str, Tensor]:
    """Random ones, under the names and with the shapes of the published code, of a doubled output or not."""
    outputs = PATCH**2 * CHANNELS * (1 + doubled)
    shapes = {
        "x_embedder.proj": (WIDTH, CHANNELS, PATCH, PATCH),
        "t_embedder.mlp.0": (WIDTH, 256),
        "t_embedder.mlp.2": (WIDTH, WIDTH),
        "final_layer.linear": (outputs, WIDTH),
        "final_layer.adaLN_modulation.1": (2 * WIDTH, WIDTH),
    }
    parts = {"attn.qkv": 3, "attn.proj": 1, "mlp.fc1": 4, "adaLN_modulation.1": 6}
    for k in range(DEPTH):
        shapes |= {f"blocks.{k}.{name}": (n * WIDTH, WIDTH) for name, n in parts.items()}
        shapes[f"blocks.{k}.mlp.fc2"] = (WIDTH, 4 * WIDTH)
    made = {
        "pos_embed": normal(1, (SIDE // PATCH) ** 2, WIDTH, seed=1),
        "y_embedder.embedding_table.weight": normal(CLASSES + 1, WIDTH, seed=2),
    }
    for seed, (name, shape) in enumerate(shapes.items(), 3):
        made[f"{name}.weight"] = normal(*shape, seed=seed) / math.sqrt(math.prod(shape[1:]))
        made[f"{name}.bias"] = 0.3 * normal(shape[0], seed=seed + 100)
    return made


def published(w: dict[str, Tensor], x: Tensor, t: Tensor, label: Tensor) -> Tensor:
    """What a network of the published layout makes of them, written with torch's own fused layers."""

    def through(name: str, h: Tensor) -> Tensor:
        return F.linear(h, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return F.layer_norm(h, (WIDTH,), eps=1e-6) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)

    angles = t[:, None] * torch.exp(-math.log(1e4) * torch.arange(128, dtype=torch.float64) / 128)
    times = through("t_embedder.mlp.0", torch.cat([angles.cos(), angles.sin()], 1))
    c = F.silu(through("t_embedder.mlp.2", F.silu(times)) + w["y_embedder.embedding_table.weight"][label])
    h = F.conv2d(x, w["x_embedder.proj.weight"], w["x_embedder.proj.bias"], stride=PATCH)
    h = h.flatten(2).transpose(1, 2) + w["pos_embed"]
    for k in range(DEPTH):
        one = through(f"blocks.{k}.adaLN_modulation.1", c).chunk(6, 1)
        parts = through(f"blocks.{k}.attn.qkv", norm(h, one[0], one[1]))
        q, key, v = parts.reshape(len(x), -1, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, key, v).transpose(1, 2).reshape(h.shape)
        h = h + one[2].unsqueeze(1) * through(f"blocks.{k}.attn.proj", attended)
        inner = F.gelu(through(f"blocks.{k}.mlp.fc1", norm(h, one[3], one[4])), approximate="tanh")
        h = h + one[5].unsqueeze(1) * through(f"blocks.{k}.mlp.fc2", inner)
    y = through("final_layer.linear", norm(h, *through("final_layer.adaLN_modulation.1", c).chunk(2, 1)))
    n, p = SIDE // PATCH, PATCH
    y = torch.einsum("nhwpqc->nchpwq", y.reshape(len(x), n, n, p, p, -1)).reshape(len(x), -1, SIDE, SIDE)
    return y[:, :CHANNELS]


def network(**options: Any) -> DiT:
    return DiT((CHANNELS, SIDE, SIDE), **{**SHAPE, **options}, generator=torch.Generator().manual_seed(0)).double()


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s, t = uniform(2, 4)
    return s, t, normal(4, CHANNELS, SIDE, SIDE), torch.tensor([0, 4, 5, 2])


@pytest.mark.parametrize("one_time", [False, True])
@pytest.mark.parametrize("doubled", [False, True])
def test_the_network_is_the_published_one_for_every_end(one_time: bool, doubled: bool) -> None:
    (s, t, x, label), net, given = inputs(), network(one_time=one_time), weights(doubled)
    assert not torch.allclose(net(s, t, x, label), published(given, x, s, label), atol=1e-2)
    load_dit(net, given)
    expected = published(given, x, s, label)
    assert float(expected.norm()) > 1
    assert_close(net(s, t, x, label), expected, rtol=1e-6, atol=1e-6)  # its frequencies are kept in float32
    b = LearnedMap(net).given(label=label).velocity()
    assert_close(b(s, x), expected, rtol=1e-6, atol=1e-6)


def test_no_label_is_the_dropped_one() -> None:
    (s, t, x, _), net, given = inputs(), network(), weights()
    load_dit(net, given)
    assert_close(net(s, t, x), published(given, x, s, torch.full((4,), CLASSES)), rtol=1e-6, atol=1e-6)


def test_a_network_of_steps_of_noise_is_told_a_thousand_times_the_time() -> None:
    (s, t, x, label), net, given = inputs(), network(), weights()
    load_dit(net, given, time_scale=1000.0)
    assert_close(net(s, t, x, label), published(given, x, 1000 * s, label), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(net(s, t, x, label), published(given, x, s, label), atol=1e-2)


def test_it_agrees_in_single_precision() -> None:
    (s, t, x, label), net, given = inputs(), network().float(), weights()
    load_dit(net, given)
    expected = published(given, x, s, label).float()
    assert_close(net(s.float(), t.float(), x.float(), label), expected, rtol=1e-5, atol=1e-5)


def test_its_own_places_are_those_of_the_published_code() -> None:
    n, half = SIDE // PATCH, WIDTH // 2
    rows, columns = torch.meshgrid(torch.arange(n).double(), torch.arange(n).double(), indexing="ij")
    omega = 1 / 1e4 ** (torch.arange(half // 2).double() / (half / 2))
    angles = [torch.outer(axis.flatten(), omega) for axis in (columns, rows)]
    expected = torch.cat([torch.cat([angle.sin(), angle.cos()], 1) for angle in angles], 1)
    assert_close(network().places, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "x_embedder.proj.bias"}, "a dict that misses: first.bias;"),
        (lambda w: {**w, "cls_token": torch.zeros(1)}, "a dict that has unknown names: cls_token;"),
        (lambda w: {**w, "pos_embed": torch.zeros(1, 4, WIDTH)}, "a dict that has other shapes: places;"),
        (
            lambda w: {**w, "y_embedder.embedding_table.weight": torch.zeros(CLASSES, WIDTH)},
            "a dict that has other shapes: conditions.label.vectors;",
        ),
        (lambda w: {**w, "x_embedder.proj.bias": torch.full((WIDTH,), torch.nan)}, "that is not finite: first.bias"),
    ],
)
def test_others_are_refused_and_nothing_is_loaded(change: Any, sentence: str) -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=sentence):
        load_dit(net, change(weights()))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.usefixtures("unchecked")
def test_another_network_is_refused() -> None:
    other: Any = MLP(2)
    with pytest.raises(TypeError, match="`network` must be a DiT, got MLP"):
        load_dit(other, weights())
    with pytest.raises(TypeError, match="got another type for pos_embed"):
        load_dit(network(), {**weights(), "pos_embed": 1})  # type: ignore[dict-item]
    for option in ("guidance", "interval", "log_det", "auxiliary", "qk_norm"):
        with pytest.raises(ValueError, match=f"`{option}` must be False for published weights"):
            load_dit(network(**{option: True}), weights())
    with pytest.raises(ValueError, match='`embedding` must be "positional" for published weights'):
        load_dit(network(embedding="fourier"), weights())

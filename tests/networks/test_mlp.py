"""The multilayer perceptron: shapes, labels, derivatives, and that it depends on nothing but its arguments."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import LearnedMap
from flowops.networks import MLP
from tests.examples import central_difference, normal, uniform

OCTAVES = [math.pi, 2 * math.pi]


def network(event: int | tuple[int, ...] = 2, seed: int = 0, **options: Any) -> MLP:
    settings: dict[str, Any] = {"width": 16, "depth": 2, "frequencies": OCTAVES} | options
    return MLP(event, **settings, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("event", [2, (3,), (1, 4, 4), ()], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_the_result_has_shape_and_dtype_of_the_state(
    event: int | tuple[int, ...], dtype: torch.dtype, batch: int
) -> None:
    X = LearnedMap(network(event).to(dtype))
    shape = (event,) if isinstance(event, int) else event
    y = X(0.25, 0.5, torch.ones(batch, *shape, dtype=dtype))
    assert (y.shape, y.dtype) == ((batch, *shape), dtype)


@pytest.mark.parametrize("activation", ["gelu", "silu", "tanh"])
@pytest.mark.parametrize("event", [2, (1, 2, 3)], ids=str)
def test_forward_mode_agrees_with_differences(activation: str, event: int | tuple[int, ...]) -> None:
    X = LearnedMap(network(event, activation=activation, labels=3).double()).given(label=torch.tensor([0, 3, 1, 2]))
    shape = (event,) if isinstance(event, int) else event
    x, u = normal(4, *shape), normal(4, *shape, seed=1)
    s, t = uniform(2, 4)
    one = torch.ones_like(s)
    assert_close(X.dt(s, t, x), central_difference(lambda q: X(s, q, x), t, one), rtol=1e-6, atol=1e-7)
    assert_close(X.ds(s, t, x), central_difference(lambda q: X(q, t, x), s, one), rtol=1e-6, atol=1e-7)
    assert_close(X.jvp(s, t, x, u), central_difference(lambda y: X(s, t, y), x, u), rtol=1e-6, atol=1e-7)


def test_every_parameter_gets_a_gradient_through_a_slope() -> None:
    X = LearnedMap(network(labels=2)).given(label=torch.tensor([0, 1, 2]))
    value, slope = X.value_and_dt(torch.zeros(3), torch.ones(3), torch.ones(3, 2))
    (value + slope).square().sum().backward()
    for name, parameter in X.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_first_parameters_come_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    one, other = (torch.cat([p.flatten() for p in network(seed=3, labels=2).parameters()]) for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_do_not_interact() -> None:
    net, (s, t), x = network(), uniform(2, 5, dtype=torch.float32), normal(5, 2, dtype=torch.float32)
    alone = torch.cat([net(s[k : k + 1], t[k : k + 1], x[k : k + 1]) for k in range(5)])
    assert_close(net(s, t, x), alone)


class TestOctaves:
    """Fourier features of every coordinate, each of twice the frequency of the one before."""

    def test_they_are_the_frequencies_written_out(self) -> None:
        (s, t), x = uniform(2, 5, dtype=torch.float32), normal(5, 2, dtype=torch.float32)
        octaves = network(frequencies=(), octaves=3)
        written = network(frequencies=[math.pi, 2 * math.pi, 4 * math.pi])
        assert torch.equal(octaves(s, t, x), written(s, t, x))
        assert octaves.state.frequencies.tolist() == pytest.approx([math.pi, 2 * math.pi, 4 * math.pi])

    def test_none_leave_the_state_as_it_is(self) -> None:
        assert network(frequencies=(), octaves=0).hidden[0].in_features == 2 + network().times.size
        assert MLP(2, octaves=2).hidden[0].in_features == 2 * 5 + network().times.size

    def test_the_features_have_a_period_that_the_state_has_not(self) -> None:
        features = network(frequencies=(), octaves=4).state
        x = normal(5, 2, dtype=torch.float32)
        assert_close(features(x)[:, 2:], features(x + 2)[:, 2:], rtol=1e-4, atol=1e-4)
        assert (features(x)[:, 2:] - features(x + 1)[:, 2:]).abs().max() > 0.1
        assert_close(features(x)[:, :2], x)

    def test_they_exclude_frequencies(self) -> None:
        with pytest.raises(ValueError, match="`octaves` must be 0 beside `frequencies`, got 2; pass one of the two"):
            network(octaves=2)
        with pytest.raises(ValueError, match="`octaves` must be a whole number of at least 0, got -1"):
            network(frequencies=(), octaves=-1)


def labelled(x: Tensor, label: Tensor | int | None) -> Tensor:
    return LearnedMap(network(labels=3)).given(label=label)(0.0, 1.0, x)


def test_a_label_is_one_class_or_one_per_sample() -> None:
    x = normal(3, 2, dtype=torch.float32)
    per_sample = labelled(x, torch.tensor([1, 1, 1]))
    assert_close(per_sample, labelled(x, 1))
    assert_close(per_sample, labelled(x, torch.tensor(1)))
    assert not torch.allclose(per_sample, labelled(x, 2))
    assert_close(labelled(x, torch.tensor([2, 1, 0]))[2:], labelled(x[2:], 0))


def test_no_label_is_the_null_class() -> None:
    x = normal(3, 2, dtype=torch.float32)
    dropped = labelled(x, 3)
    assert_close(labelled(x, None), dropped)
    assert_close(LearnedMap(network(labels=3))(0.0, 1.0, x), dropped)


def test_autocast_is_allowed_and_brought_back() -> None:
    X = LearnedMap(network())
    x = normal(4, 2, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = X(0.0, 1.0, x)
    assert y.dtype == torch.float32
    assert_close(y, X(0.0, 1.0, x), rtol=3e-2, atol=3e-2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, '`activation` must be one of gelu, silu, tanh, got "relu"'),
        ({"width": 0}, "`width` must be a whole number of at least 1, got 0"),
        ({"depth": -1}, "`depth` must be a whole number of at least 1, got -1"),
        ({"labels": 0}, "`labels` must be a whole number of at least 1, got 0"),
        ({"harmonics": 0}, "`harmonics` must be a whole number of at least 1, got 0"),
        ({"frequencies": [math.inf]}, "`frequencies` must be finite"),
        ({"event": (2, 0)}, "`event` must be a whole number of at least 1, got 0"),
    ],
)
def test_options_that_make_no_network_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"width": 2.0}, ValueError, "`width` must be a whole number of at least 1, got 2.0"),
        ({"depth": True}, ValueError, "`depth` must be a whole number of at least 1, got True"),
        ({"octaves": 1.0}, ValueError, "`octaves` must be a whole number of at least 0, got 1.0"),
        ({"frequencies": ["1"]}, TypeError, "`frequencies` must be a number"),
    ],
)
def test_options_of_another_type_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        network(**options)


def test_wrong_states_and_labels_are_refused_in_a_sentence() -> None:
    times = torch.zeros(3)
    with pytest.raises(ValueError, match=r"`x` must have event shape \[2\], got \[3\]"):
        network()(times, times, torch.zeros(3, 3))
    with pytest.raises(TypeError, match=r"`x` must have the dtype of the network, torch.float32, got torch.float64"):
        network()(times.double(), times.double(), torch.zeros(3, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match="`label` must not be given, since this network has no labels"):
        network()(times, times, torch.zeros(3, 2), label=1)
    with pytest.raises(TypeError, match="`label` must be a condition that the forward of LearnedMap takes"):
        LearnedMap(network()).given(label=1)
    with pytest.raises(TypeError, match="`label` must be"):
        labelled(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"`label` must be a class or have shape \[batch\] = \[3\]"):
        network(labels=3)(times, times, torch.zeros(3, 2), label=torch.zeros(2, dtype=torch.int64))


def test_the_null_class_is_found_by_who_drops_labels() -> None:
    found = [module.null_label for module in LearnedMap(network(labels=3)).modules() if hasattr(module, "null_label")]
    assert found == [3]


def test_a_scale_of_guidance_is_one_where_it_is_not_given() -> None:
    X, x = LearnedMap(network(guidance=True)), normal(3, 2, dtype=torch.float32)
    scaled = X.given(guidance=torch.tensor([1.0, 2.0, 1.0]))(0.0, 1.0, x)
    assert_close(scaled[::2], X(0.0, 1.0, x)[::2])
    assert_close(scaled[1:2], X.given(guidance=2.0)(0.0, 1.0, x[1:2]))
    assert not torch.allclose(scaled[1], X(0.0, 1.0, x)[1])
    with pytest.raises(ValueError, match="`guidance` must not be given, since this network takes no scale"):
        network()(torch.zeros(3), torch.ones(3), x, guidance=2.0)
    with pytest.raises(TypeError, match="`guidance` must be a condition that the forward of LearnedMap takes"):
        LearnedMap(network()).given(guidance=2.0)

"""Norms that look at both sides."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops.methods import METHODS, LearnedFeatures, Lp, MeanSquared, Norm, Perceptual, Squared, get_method
from flowops.methods.norms import as_norm
from flowops.times import Trajectory
from tests.examples import normal
from tests.methods.rows import batch, call, learned


class Features(nn.Module):
    """Two layers of a small convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():  # of weights by chance the features may be as small as what keeps them from 0/0
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(2, 5, 3, padding=1).double(), nn.Conv2d(5, 3, 3, stride=2).double()
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        near = torch.tanh(self.first(x))
        return near, self.second(near)


def test_it_is_the_sum_over_layers_of_the_mean_over_positions() -> None:
    network, a, b = Features(), normal(3, 2, 4, 4, seed=1), normal(3, 2, 4, 4, seed=2)
    wanted = torch.zeros(3, dtype=torch.float64)
    for f, g in zip(network(a), network(b), strict=True):
        f, g = (h / h.norm(dim=1, keepdim=True) for h in (f, g))
        wanted += ((f - g) ** 2).sum(1).mean((1, 2))
    assert_close(Perceptual(network).between(a, b), wanted, rtol=1e-7, atol=1e-7)
    assert_close(Perceptual(network).between(a, a), torch.zeros_like(wanted))


def test_features_as_they_are_of_plain_states_are_a_norm_of_their_difference() -> None:
    a, b = normal(4, 3, seed=1), normal(4, 3, seed=2)
    assert_close(Perceptual(lambda x: x, unit=False).between(a, b), Squared()(a - b))
    assert_close(Perceptual(lambda x: 2 * x, unit=False).between(a, b), 4 * (a - b).square().sum(1))
    assert not Lp(1.0).of_sides


@pytest.mark.parametrize("name", ["cd", "ct", "ctm"])
def test_a_consistency_model_sees_both_sides_by_the_features(name: str) -> None:
    event, network = (2, 4, 4), Features()
    X = learned(event)
    plain = call(get_method(name), event=event, X=X)
    result = call(get_method(name, norm=Perceptual(network)), event=event, X=X)
    assert result.loss.isfinite()
    assert not torch.allclose(result.loss, plain.loss)
    result.loss.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in X.parameters())
    exact = call(get_method(name, norm=Perceptual(lambda x: x, unit=False)), event=event, X=X)
    flat = (len(batch(6, event)[0]), 4 * 4)
    assert exact.per_sample.shape == flat[:1]
    rest = plain.s != plain.t  # on the diagonal velocities are compared, by their squares
    assert_close(exact.per_sample[rest] * 16, plain.per_sample[rest])  # the mean over positions
    assert_close(exact.per_sample[~rest], plain.per_sample[~rest])


@pytest.mark.parametrize("options", [{"points": 3}, {}, {"law": Trajectory(4), "steps": 8}])
def test_along_a_trajectory_a_norm_is_averaged_over_the_points(options: dict[str, Any]) -> None:
    event, options = (2, 4, 4), {"steps": 2} | options
    X = learned(event)

    def found(norm: Norm) -> Tensor:
        return call(get_method("cmt", norm=norm, **options), event=event, X=X).per_sample

    def same(x: Tensor) -> Tensor:
        assert x.shape[1:] == event  # what a network of images takes
        return x

    squared = found(Squared())
    assert squared.max() > 0
    assert_close(found(MeanSquared()) * 32, squared)
    assert_close(found(Perceptual(same, unit=False)) * 16, squared)


class Published(nn.Module):
    """What the package `lpips` has: a network of classes, a layer before it, and weights of its channels."""

    def __init__(self, net: str, pnet_rand: bool, verbose: bool) -> None:
        super().__init__()
        assert (net, verbose) == ("vgg", False)
        self.random, self.scaling_layer = pnet_rand, nn.Tanh()
        self.net = Trunk()
        self.lins = nn.ModuleList(Channels(count) for count in (4, 5))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros(len(a))
        for f, g, layer in zip(*(self.net(self.scaling_layer(x)) for x in (a, b)), self.lins, strict=True):
            f, g = (h / (h.square().sum(1, keepdim=True).sqrt() + 1e-10) for h in (f, g))
            total = total + layer.model((f - g) ** 2).mean((1, 2, 3))
        return total


class Trunk(nn.Module):
    """Two layers of features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(3, 5, 3, stride=2)])

    def forward(self, x: Tensor) -> list[Tensor]:
        return [torch.relu(layer(x)) for layer in self.layers]


class Channels(nn.Module):
    """Weights of the channels of a layer, which are not negative."""

    def __init__(self, count: int) -> None:
        super().__init__()
        weights = nn.Conv2d(count, 1, 1, bias=False)
        nn.init.uniform_(weights.weight)
        self.model = nn.Sequential(nn.Dropout(), weights)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, which is no part of the tests' environment."""
    package: Any = ModuleType("lpips")
    package.LPIPS = Published
    monkeypatch.setitem(sys.modules, "lpips", package)


@pytest.mark.usefixtures("published")
def test_by_its_name_it_is_the_metric_of_that_package() -> None:
    norm, (a, b) = as_norm("lpips"), normal(2, 3, 3, 9, 9, dtype=torch.float32).clamp(-1, 1)
    assert isinstance(norm, Perceptual)
    assert isinstance(norm.network, LearnedFeatures)
    metric = norm.network.inner
    assert not metric.random
    assert not metric.training
    assert not any(p.requires_grad for p in norm.network.parameters())
    large = [nn.functional.interpolate(x, (224, 224), mode="bilinear") for x in (a, b)]
    assert_close(norm.between(a, b), metric(*large))
    assert_close(norm.between(a, a), torch.zeros(3))
    with pytest.raises(ValueError, match=r"`x` must be images of 1 or 3 channels for LPIPS, got states of shape \[2\]"):
        norm.between(normal(4, 2), normal(4, 2))


@pytest.mark.usefixtures("published")
def test_it_has_gradients_and_takes_images_of_one_channel_and_of_another_dtype() -> None:
    features = LearnedFeatures(side=None, pretrained=False)
    assert features.inner.random
    norm, (a, b) = Perceptual(features, unit=False), normal(2, 3, 1, 9, 9)
    found = norm.between(a, b)
    assert found.dtype == torch.float64
    assert_close(found.float(), features.inner(*(x.float().expand(-1, 3, -1, -1) for x in (a, b))))
    a.requires_grad_()
    (gradient,) = torch.autograd.grad(norm.between(a, torch.zeros_like(a)).sum(), a)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.usefixtures("published")
def test_its_network_moves_with_the_method_and_is_not_saved_with_it() -> None:
    method = get_method("ct", norm="lpips")
    method.double()
    assert all(p.dtype == torch.float64 for p in method.options.norm.network.parameters())
    assert not method.state_dict()
    assert not list(method.parameters())


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ImportError, match=r"`lpips` must be installed for this, .* pip install 'flowops\[lpips\]'"):
        get_method("cd", norm="lpips")


def test_an_adaptive_weight_beside_it_is_that_of_the_squares() -> None:
    X, norm = learned(), Perceptual(torch.sin)
    plain, squares = call(get_method("ct", norm=norm), X=X), call(METHODS["ct"], X=X)
    weighted = call(get_method("ct", norm=norm, p=1.0, c=0.1), X=X)
    assert_close(weighted.per_sample, plain.per_sample / (squares.per_sample + 0.1))


def test_an_adaptive_weight_of_groups_is_that_of_the_squares_of_each_sample() -> None:
    """What a sample adds to the discrepancy of its group may be negative."""
    X = learned()
    groups = get_method("imm", norm="squared", particles=3)
    plain = call(groups, X=X)
    assert plain.per_sample.min() < 0
    for p in (0.5, 1.0):
        weighted = call(groups.with_options(p=p, c=1e-9), X=X)
        assert weighted.loss.isfinite()
        assert torch.equal(weighted.per_sample.sign(), plain.per_sample.sign())


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_network_and_a_normalized_tangent_are_refused() -> None:
    wrong: Any = "vgg"
    with pytest.raises(TypeError, match="`network` must be a function of a state or \"lpips\", got 'vgg'; pass a mod"):
        Perceptual(wrong)
    with pytest.raises(ValueError, match="`norm` must be of a difference with normalize, got Perceptual; pass squared"):
        get_method("scm", norm=Perceptual(torch.sin), normalize=0.1)
    with pytest.raises(ValueError, match="`norm` must be of a difference for f2d2, .* got Perceptual; pass squared"):
        get_method("f2d2", norm=Perceptual(torch.sin))
    with pytest.raises(TypeError, match="`norm` must be called with two sides where it compares features"):
        Perceptual(torch.sin)(normal(2, 2))

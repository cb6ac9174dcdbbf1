"""Norms that look at both sides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops.methods import METHODS, Lp, Perceptual, Squared, get_method
from tests.examples import normal
from tests.methods.rows import batch, call, learned


class Features(nn.Module):
    """Two layers of a small convolutional network."""

    def __init__(self) -> None:
        super().__init__()
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
    assert_close(exact.per_sample * 16, plain.per_sample)  # the mean over positions


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
    with pytest.raises(TypeError, match="`network` must be a function of a state, got str; pass a module."):
        Perceptual(wrong)
    with pytest.raises(ValueError, match="`norm` must be of a difference with normalize, got Perceptual; pass squared"):
        get_method("scm", norm=Perceptual(torch.sin), normalize=0.1)
    with pytest.raises(ValueError, match="`norm` must be of a difference for f2d2, .* got Perceptual; pass squared"):
        get_method("f2d2", norm=Perceptual(torch.sin))
    with pytest.raises(TypeError, match="`norm` must be called with two sides where it compares features"):
        Perceptual(torch.sin)(normal(2, 2))

"""Masks of dropout that several calls share, dropout at rest, and the losses that want either."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import LearnedMap, interpolants
from flowops.methods import get_method
from flowops.networks.layers import Dropout
from flowops.networks.masks import at_rest, one_mask
from flowops.times import Diagonal
from tests.examples import normal
from tests.methods.rows import batch


class Masked(nn.Module):
    """A network whose value changes with the mask alone."""

    def __init__(self, dropout: nn.Module) -> None:
        super().__init__()
        self.weight, self.dropout = nn.Parameter(normal(2, 2, seed=0)), dropout

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.dropout(x) @ self.weight


def test_calls_inside_share_the_first_mask_and_calls_outside_do_not() -> None:
    dropout, x = Dropout(0.5), torch.ones(64)
    outside = dropout(x)
    with one_mask(nn.Sequential(dropout)):
        first, second = dropout(x), dropout(2 * x)
    assert torch.equal(2 * first, second)
    assert not torch.equal(outside, first)
    assert not torch.equal(dropout(x), first)
    with one_mask(dropout):
        assert not torch.equal(dropout(x), first)


def test_a_module_at_rest_and_one_without_dropout_are_as_before() -> None:
    x = torch.ones(8)
    for module in (Dropout(0.5).eval(), Dropout(0.0), nn.Dropout(0.5).eval(), nn.Identity()):
        with one_mask(module):
            assert torch.equal(module(x), x)


def test_an_error_inside_leaves_no_mask_behind() -> None:
    dropout = Dropout(0.5)
    with pytest.raises(TypeError), one_mask(dropout):
        dropout(None)
    assert dropout.held is None


@pytest.mark.parametrize("name", ["ct", "ict", "ect"])
def test_under_one_mask_the_sides_of_a_step_of_no_length_agree(name: str) -> None:
    X, I = LearnedMap(Masked(Dropout(0.5))), interpolants.linear()
    options = {"law": Diagonal(), "stop_gradient": False}  # both sides at the end time of s = u < 1
    losses = [get_method(name, one_mask=shared, **options)(X, I, *batch(16), seed=0).loss for shared in (True, False)]
    assert losses[0] == 0
    assert losses[1] > 0


def test_another_dropout_is_refused() -> None:
    X = LearnedMap(Masked(nn.Dropout(0.5)))
    with pytest.raises(ValueError, match="`one_mask` must be False for a network with Dropout, whose masks cannot be"):
        get_method("ect", one_mask=True)(X, interpolants.linear(), *batch(4), seed=0)
    X.eval()
    get_method("ect", one_mask=True)(X, interpolants.linear(), *batch(4), seed=0)


def test_at_rest_nothing_is_dropped_and_afterwards_as_before() -> None:
    dropout, x = Dropout(0.5), torch.ones(64)
    with at_rest(nn.Sequential(dropout)):
        assert torch.equal(dropout(x), x)
    assert not torch.equal(dropout(x), x)
    with pytest.raises(TypeError), at_rest(dropout):
        raise TypeError
    assert not torch.equal(dropout(x), x)


@pytest.mark.parametrize("name", ["lsd", "esd", "psd-u", "psd-m", "split-meanflow"])
def test_dropout_on_the_diagonal_alone_leaves_the_other_term_as_in_evaluation(name: str) -> None:
    X, I, method = LearnedMap(Masked(Dropout(0.5))), interpolants.linear(), get_method(name, dropout="diagonal")
    draw = method.draw(X, I, *batch(32), seed=0)

    def terms(method: Any) -> dict[str, Tensor]:
        torch.manual_seed(1)
        found: dict[str, Tensor] = method.evaluate(X, I, draw).terms
        return found

    kept, dropped = terms(method), terms(method.with_options(dropout="all"))
    X.eval()
    plain = terms(method)
    (other,) = plain.keys() - {"diagonal"}
    assert torch.equal(kept[other], plain[other])
    assert not torch.equal(dropped[other], plain[other])
    assert not torch.equal(kept["diagonal"], plain["diagonal"])


def test_another_dropout_cannot_rest_off_the_diagonal() -> None:
    X, method = LearnedMap(Masked(nn.Dropout(0.5))), get_method("lsd", dropout="diagonal")
    with pytest.raises(ValueError, match='`dropout` must be "all" for a network with Dropout, which cannot be held at'):
        method(X, interpolants.linear(), *batch(8), seed=0)
    method(X.eval(), interpolants.linear(), *batch(8), seed=0)

"""The factor of a balance of gradients where it has no meaning, and networks whose last layer is not known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flowops import LearnedMap, interpolants
from flowops.methods import get_method
from flowops.methods.balance import MOST, factor_of, last_parameters
from flowops.networks import MLP, UNet
from tests.methods.rows import batch, learned


class Nameless(nn.Module):
    """A network that does not say which layer is the last."""

    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Linear(2, 2).double()

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.only(x)


def test_the_last_layers_of_networks_are_known() -> None:
    mlp, unet = MLP(2, width=4, depth=1), UNet((1, 4, 4), channels=4, multipliers=(1,), blocks=1, attention=())
    for network in (mlp, unet):
        assert isinstance(network.last, nn.Module)
        assert {id(p) for p in last_parameters(LearnedMap(network))} == {id(p) for p in network.last.parameters()}
    X = learned()
    (last,) = last_parameters(X)
    assert last is X.network.last


def test_a_network_that_names_none_is_refused_in_one_sentence() -> None:
    method = get_method("lsd", balance="gradients")
    with pytest.raises(
        ValueError, match='must be "rows" or "terms" for a network whose last layer is not known, got "g'
    ):
        method(LearnedMap(Nameless()), interpolants.linear(), *batch(4), seed=0)


def test_the_factor_is_a_constant_that_is_bounded_and_one_without_a_gradient() -> None:
    X = learned()
    (last,) = last_parameters(X)
    small, large, none = 1e-9 * last.square().sum(), last.square().sum(), 0 * last.sum()
    assert factor_of(small, large, X) == MOST
    assert not factor_of(small, large, X).requires_grad
    torch.testing.assert_close(factor_of(2 * large, large, X).item(), 0.5)
    assert factor_of(none, large, X) == factor_of(large, none, X) == 1
    with torch.no_grad():
        assert factor_of(small, large, X) == 1
    other = learned(seed=5)
    assert factor_of(last_parameters(other)[0].sum(), large, X) == 1  # of a loss that does not see the layer

"""Weights and networks: what is said where they differ, and what is taken all the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flowops._named import bare_names
from flowops.runs.fitting import fill, fill_partly, misfit, shown


def network(width: int = 3, *, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, width, bias=bias), nn.Tanh(), nn.Linear(width, 2))


def weights(of: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in of.state_dict().items()}


def test_weights_of_the_same_network_fit_and_are_taken() -> None:
    ours, theirs = network(), network()
    assert misfit(ours, weights(theirs)) == ""
    fill(ours, weights(theirs))
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (network(), network(bias=False), "1 is missing (0.bias)"),
        (network(bias=False), network(), "1 is unknown (0.bias)"),
        (network(3), network(4, bias=False), "1 is missing (0.bias) and 2 are of another shape (0.weight [4, 2] for"),
        (network(), nn.Linear(2, 2), "4 are missing (0.weight, 0.bias, 2.weight and 1 more) and 2 are unknown (weight"),
    ],
)
def test_what_differs_is_counted_and_named(ours: nn.Module, theirs: nn.Module, said: str) -> None:
    assert misfit(ours, weights(theirs)).startswith(said)


def test_a_part_is_taken_by_name_and_shape_and_the_rest_stays() -> None:
    ours, theirs = network(3), network(4)
    before, given = weights(ours), weights(theirs)
    assert fill_partly(ours, given) == ["0.weight", "0.bias", "2.weight"]
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, given[name] if name == "2.bias" else before[name], rtol=0, atol=0)


def test_wrappers_make_no_difference() -> None:
    ours, plain = network(), network()
    wrapped = nn.Sequential()
    wrapped.add_module("module", ours)
    assert misfit(wrapped, weights(plain)) == ""
    fill(wrapped, weights(plain))
    torch.testing.assert_close(ours[0].state_dict(), plain[0].state_dict(), rtol=0, atol=0)
    assert fill_partly(wrapped, weights(plain)) == []
    assert bare_names(["module.a._orig_mod.b", "module.c"]) == {"module.a._orig_mod.b": "a.b", "module.c": "c"}


def test_a_long_list_is_cut() -> None:
    assert shown(["a", "b"]) == "a, b"
    assert shown(list("abcde")) == "a, b, c and 2 more"

"""The objects that a configuration names."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flowops.networks import MLP, UNet
from flowops.training import NetworkConfig, TrainConfig
from flowops.training.assembly import assemble, interpolant_of

CPU = torch.device("cpu")


def made(dataset: str = "digits", **settings: Any) -> Any:
    return assemble(TrainConfig(dataset, **settings), CPU)


def test_images_get_a_unet_and_points_a_perceptron() -> None:
    assert isinstance(made().network, UNet)
    assert isinstance(made("checkerboard").network, MLP)
    assert isinstance(made(network=NetworkConfig(kind="mlp")).network, MLP)


def test_the_default_network_can_be_tried_on_a_cpu() -> None:
    assert sum(p.numel() for p in made().network.parameters()) < 2e6


def test_labels_are_seen_where_there_are_any_and_unless_they_are_switched_off() -> None:
    assert [made().conditional, made(labels=False).conditional, made("checkerboard").conditional] == [
        True,
        False,
        False,
    ]
    assert [made().method.options.label_dropout, made(labels=False).method.options.label_dropout] == [0.1, 0.0]
    assert made(options=("label_dropout=0.3",)).method.options.label_dropout == 0.3


def test_the_seed_decides_the_first_weights() -> None:
    weights = [made(seed=seed).network.first.conv.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_formulas_are_schedules() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    I = interpolant_of(TrainConfig("digits", alpha="cos(pi*t/2)", beta="sin(pi*t/2)"))
    torch.testing.assert_close(I.beta(t), torch.sin(torch.pi * t / 2))
    assert interpolant_of(TrainConfig("digits", interpolant="cosine")).name == "cosine"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "lds"}, "did you mean 'lsd'?"),
        ({"options": ("eat=0.5",)}, "did you mean `eta`?"),
        ({"dataset": "digts"}, "did you mean"),
        ({"interpolant": "linaer"}, "must be one of linear"),
        ({"alpha": "1-t", "beta": "open('x')"}, "open"),
        ({"network": NetworkConfig(kind="transformer")}, "auto, unet, mlp or package.module:factory"),
        ({"network": NetworkConfig(kind="no.such:thing")}, "must name a factory to import"),
        ({"dataset": "checkerboard", "network": NetworkConfig(kind="unet")}, "must be mlp for events of shape"),
        ({"dataset": "checkerboard", "options": ("guidance=1,2",)}, "`guidance` needs labels"),
    ],
)
def test_what_does_not_exist_or_fit_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        made(**settings)

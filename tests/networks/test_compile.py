"""Losses of networks inside `torch.compile`, in a process without the run-time checks of shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import run

PROGRAM = """
import warnings
warnings.simplefilter("ignore")
import torch
from flowops import LearnedMap, residuals
from flowops.methods import compile_loss
from flowops.networks import MLP, LearnedWeight

generator = torch.Generator().manual_seed(0)
network = MLP(2, width=16, depth=3, frequencies=[3.0, 6.0], labels=2, generator=generator)
X, weight = LearnedMap(network), LearnedWeight(8, generator=generator)
parameters = [*X.parameters(), *weight.parameters()]
s, t = torch.rand(2, 32, generator=generator)
x, label = torch.randn(32, 2, generator=generator), torch.randint(3, (32,), generator=generator)
conditioned = X.given(label=label)


def loss(s, t, x):
    w = weight(s, t)
    squared = residuals.lagrangian(conditioned, conditioned.velocity(), s, t, x).square().sum(1)
    return (torch.exp(-w) * squared + w).mean()


values = [f(s, t, x) for f in (loss, compile_loss(loss, fullgraph=True))]
gradients = [torch.autograd.grad(value, parameters) for value in values]
torch.testing.assert_close(*values)
for one, other in zip(*gradients, strict=True):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
print("compiled")
"""


@pytest.mark.slow
def test_a_weighted_loss_of_a_conditional_network_compiles_into_one_graph(tmp_path: Path) -> None:
    assert run(tmp_path, PROGRAM).split() == ["compiled"]


IMAGES = """
import warnings
warnings.simplefilter("ignore")
import torch
from flowops import LearnedMap, interpolants
from flowops.methods import get_method
from flowops.networks import DiT, UNet

generator = torch.Generator().manual_seed(0)
method, I = get_method("lsd", eta=0.5, null_label=2), interpolants.linear()
x0, x1 = torch.randn(2, 8, 1, 4, 4, generator=generator)
labels = torch.randint(2, (8,), generator=generator)
whole, traced = method.compiled(fullgraph=True), torch.compile(method.evaluate, fullgraph=True, backend="aot_eager")
image = dict(event=(1, 4, 4), labels=2, generator=generator)
small = dict(channels=4, multipliers=(1, 2), blocks=1, attention=(4,), **image)
for compiled, network in (
    (whole, UNet(**{**small, "multipliers": (1,)})),
    (traced, UNet(**small)),
    (traced, UNet(magnitude_preserving=True, **small)),
    (whole, DiT(width=8, depth=1, heads=2, features=8, **image)),
):
    for parameter in network.parameters():
        if not parameter.detach().any():
            parameter.data.normal_(0, 0.3, generator=generator)
    X = LearnedMap(network)
    draw = method.draw(X, I, x0, x1, labels=labels, seed=0)
    losses = [f(X, I, draw).loss for f in (method.evaluate, compiled)]
    gradients = [torch.autograd.grad(loss, list(X.parameters())) for loss in losses]
    torch.testing.assert_close(*losses)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    print("compiled")
"""


@pytest.mark.slow
def test_a_lagrangian_loss_of_a_network_of_images_compiles_into_one_graph(tmp_path: Path) -> None:
    assert run(tmp_path, IMAGES).count("compiled") == 4

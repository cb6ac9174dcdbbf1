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

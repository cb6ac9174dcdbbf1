"""The loss in a loop of one's own: plain torch, Lightning and accelerate take the steps of the engine."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from flowops import LearnedMap, VelocityField, interpolants
from flowops.methods import METHODS, Draw, get_method
from flowops.networks import MLP
from flowops.runs import OptimizerConfig, Run
from flowops.training import LossModule, train
from tests.runs.small import Make, silent

pytest.importorskip("lightning.pytorch")
pytest.importorskip("accelerate")
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "05_own_loop.py"
LOOPS = ("plain", "with_lightning", "with_accelerate")
I = interpolants.linear()


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The page with the loops, which runs them as it is read."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises workers for the data
        patch.setattr("builtins.print", lambda *_: None)
        spec = importlib.util.spec_from_file_location("own_loop", EXAMPLE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


class Held(Dataset[Draw]):
    """Draws that are there."""

    def __init__(self, draws: Sequence[Draw]) -> None:
        self.draws = draws

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, step: int) -> Draw:
        return self.draws[step]


def trained(loop: Callable[[LossModule, Held], None], network: nn.Module, draws: Sequence[Draw]) -> Tensor:
    """The parameters after the draws."""
    loss = LossModule(LearnedMap(copy.deepcopy(network)), get_method("lsd"), I)
    loop(loss, Held(draws))
    return nn.utils.parameters_to_vector(loss.parameters()).detach()


@pytest.mark.filterwarnings("ignore")  # of Lightning about workers and loggers
def test_they_take_the_steps_of_the_engine(small: Make, example: ModuleType) -> None:
    network = MLP(2, width=8, depth=2, octaves=1, generator=torch.Generator().manual_seed(0))
    draws = list[Draw]()
    optimizer = OptimizerConfig("adam", rate=1e-3, clip=0.0)
    config = small(steps=3, optimizer=optimizer, labels=False, averages=(0.9,))
    run = train(config, network=copy.deepcopy(network), callbacks=lambda r: draws.append(r.draw), report=silent)
    last = Run.load(run.folder.path, average="none", network=copy.deepcopy(network))
    expected = nn.utils.parameters_to_vector(last.X.parameters())
    assert len(draws) == 3
    for name in LOOPS:
        found = trained(getattr(example, name), network, draws)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    other = trained(example.plain, network, draws[::-1])  # the same draws in another order
    assert (other - expected).abs().max() > 1e-5


def test_the_page_finds_them_equal(example: ModuleType) -> None:
    assert list(example.ends) == list(LOOPS)
    first = nn.utils.parameters_to_vector(example.new_loss().parameters())
    for end in example.ends.values():
        torch.testing.assert_close(end, example.ends["plain"], rtol=0, atol=0)
        assert (end - first).abs().max() > 1e-3


def gradients(module: nn.Module) -> list[Any]:
    return [p.grad for p in module.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["ctm", "cd", "ct", "lsd", "esd", "psd-m", "split-meanflow", "shortcut"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_average_gathers_no_gradient(name: str) -> None:
    assert name in METHODS
    X = LearnedMap(MLP(2, width=8, depth=2))
    average = copy.deepcopy(X)
    with torch.no_grad():
        for p in average.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    teacher = LearnedMap(MLP(2, width=8, depth=2)).velocity() if name == "cd" else None
    method = get_method(name, ema_teacher=True)
    result = method(X, I, torch.randn(16, 2), torch.randn(16, 2), average=average, teacher=teacher, seed=0)
    result.loss.backward()
    assert gradients(X)
    assert not gradients(average)


class Affine(nn.Module):
    """A field of its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.inner(x)


@pytest.mark.parametrize("name", ["lmd", "emd", "discrete-lmd", "facm"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_nor_does_a_teacher_that_is_not_frozen_unless_a_lambda_hides_it(name: str) -> None:
    shown, hidden = Affine(), Affine()
    for teacher in (VelocityField.from_function(shown.forward), VelocityField.from_function(lambda t, x: hidden(t, x))):
        X = LearnedMap(MLP(2, width=8, depth=2))
        get_method(name)(X, I, torch.randn(16, 2), torch.randn(16, 2), teacher=teacher, seed=0).loss.backward()
    assert not gradients(shown)
    assert name == "discrete-lmd" or gradients(hidden)

"""The compiled loss is used when it agrees with the uncompiled one, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import LearnedMap, interpolants
from flowops.methods import Draw, get_method
from flowops.networks import MLP
from flowops.training import loss_module
from flowops.training.compilation import check_compiled
from flowops.training.loss_module import LossModule
from tests.programs import run

I = interpolants.linear()


def backward(loss: Tensor) -> None:
    loss.backward()


def parts(generator: torch.Generator) -> tuple[LossModule, Draw]:
    module = LossModule(LearnedMap(MLP(2, width=8, generator=generator)), get_method("lsd"), I)
    x0, x1 = torch.randn(8, 2, generator=generator), torch.randn(8, 2, generator=generator)
    return module, module.method.draw(module.X, I, x0, x1, generator=generator)


def pretend(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """A compiler that changes the result."""
    monkeypatch.setattr(loss_module, "compile_loss", lambda evaluate: lambda draw: change(evaluate(draw)))


def test_a_compiled_loss_that_agrees_is_used(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    used: list[Any] = []

    def note(result: Any) -> Any:
        used.append(result)
        return result

    pretend(monkeypatch, note)
    module, draw = parts(generator)
    assert check_compiled(module, backward, module, draw) == ""
    before = len(used)
    module(draw)
    assert len(used) == before + 1
    assert all(p.grad is None for p in module.parameters())


def test_a_compiled_loss_that_is_off_is_not_used(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    pretend(monkeypatch, lambda result: result._replace(loss=1.01 * result.loss))
    module, draw = parts(generator)
    plain = module(draw).loss.item()
    assert "compiled loss is off by 0.01" in check_compiled(module, backward, module, draw)
    assert module(draw).loss.item() == plain


def test_a_wrong_gradient_is_seen_too(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    def change(result: Any) -> Any:
        loss = result.loss
        return result._replace(loss=2 * loss - loss.detach())

    pretend(monkeypatch, change)
    module, draw = parts(generator)
    assert "compiled gradient is off" in check_compiled(module, backward, module, draw)


def test_a_loss_that_does_not_compile_is_evaluated_uncompiled(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError("no such instruction\nmore")

    pretend(monkeypatch, fail)
    module, draw = parts(generator)
    assert "did not compile (no such instruction)" in check_compiled(module, backward, module, draw)
    assert bool(module(draw).loss.isfinite())


def test_a_compiler_that_refuses_at_once_is_told_too(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    def refuse(_: Any) -> Any:
        raise RuntimeError("unknown option")

    monkeypatch.setattr(loss_module, "compile_loss", refuse)
    module, draw = parts(generator)
    assert "did not compile (unknown option)" in check_compiled(module, backward, module, draw)
    assert bool(module(draw).loss.isfinite())


@pytest.mark.slow
def test_a_run_with_compilation_trains_as_one_without(tmp_path: Path) -> None:
    text = """
import warnings; warnings.simplefilter("ignore")
from dataclasses import replace
from pathlib import Path
import torch
from flowops.training import *
network = NetworkConfig("mlp", width=8, depth=2, octaves=1)
shared = dict(steps=4, batch=16, checkpoint_every=0, network=network, log=LogConfig(progress=False))
lines, folder = [], Path(__file__).parent
for name in ("no", "yes"):
    config = TrainConfig("checkerboard", out=str(folder / name), hardware=HardwareConfig(compile=name), **shared)
    train(config, report=lines.append)
weights = [dict(Run.load(folder / name, average="none").X.named_parameters()) for name in ("no", "yes")]
for name in weights[0]:
    torch.testing.assert_close(*[held[name] for held in weights], rtol=1e-3, atol=1e-5)
print("complaints:", lines)
"""
    assert "complaints: []" in run(tmp_path, text)

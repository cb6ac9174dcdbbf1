"""The compiled loss is used when it agrees with the uncompiled one on the graph that trains, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import LearnedMap, interpolants
from flowops.methods import Draw, MethodResult, get_method
from flowops.networks import MLP, UNet
from flowops.runs import HardwareConfig
from flowops.training import loss_module
from flowops.training.compilation import check_compiled
from flowops.training.loss_module import LossModule
from tests.programs import run

I = interpolants.linear()
Change = Callable[[MethodResult], MethodResult]


def backward(loss: Tensor) -> None:
    loss.backward()


def parts(
    network: nn.Module | None = None, *, name: str = "lsd", n: int = 32, **hardware: Any
) -> tuple[LossModule, Draw]:
    """A loss of a network, of a perceptron if none is given, and a draw of it."""
    generator = torch.Generator().manual_seed(1)
    event = (3, 8, 8) if isinstance(network, UNet) else (2,)
    network = network or MLP(2, width=8, generator=generator)
    module = LossModule(LearnedMap(network), get_method(name), I, hardware=HardwareConfig(**hardware))
    x0, x1 = torch.randn(2, n, *event, generator=generator)
    return module, module.method.draw(module.X, I, x0, x1, generator=generator)


def unet(dropout: float = 0.0) -> UNet:
    """A network whose last layer, and the last one of every block, is zero at first."""
    options: dict[str, Any] = {"channels": 8, "multipliers": (1,), "blocks": 1, "attention": ()}
    return UNet((3, 8, 8), dropout=dropout, generator=torch.Generator().manual_seed(0), **options)


def pretend(monkeypatch: pytest.MonkeyPatch, compiler: Callable[[Any], Any]) -> None:
    """A compiler of a test's own."""
    monkeypatch.setattr(loss_module, "compile_loss", lambda evaluate, **_: compiler(evaluate))


def changing(change: Change) -> Callable[[Any], Any]:
    """A compiler that changes the result."""
    return lambda evaluate: lambda draw: change(evaluate(draw))


def without_derivatives(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """A compiler that drops every tangent."""
    true = torch.func.jvp

    def dropped(*arguments: Any, **options: Any) -> Any:
        value, tangent = true(*arguments, **options)[:2]
        return value, 0 * tangent

    def compiler(evaluate: Any) -> Any:
        def compiled(draw: Draw) -> MethodResult:
            with monkeypatch.context() as patch:
                patch.setattr(torch.func, "jvp", dropped)
                result: MethodResult = evaluate(draw)
            return result

        return compiled

    return compiler


def test_a_compiled_loss_that_agrees_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[MethodResult] = []

    def note(result: MethodResult) -> MethodResult:
        used.append(result)
        return result

    pretend(monkeypatch, changing(note))
    module, draw = parts()
    assert check_compiled(module, backward, module, draw) == ""
    before = len(used)
    module(draw)
    assert len(used) == before + 1
    assert all(result.per_sample.shape == (32,) for result in used)  # never a graph of another size


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda r: r._replace(loss=1.01 * r.loss), "compiled loss is off by 0.01"),
        (lambda r: r._replace(per_sample=1.01 * r.per_sample), "compiled loss is off by 0.01"),
        (lambda r: r._replace(loss=2 * r.loss - r.loss.detach()), "compiled gradient is off by 1"),
        (lambda r: r._replace(per_sample=2 * r.per_sample - r.per_sample.detach()), "compiled gradient is off by 1"),
        (lambda r: r._replace(per_sample=torch.nan * r.per_sample), "compiled loss is off by nan"),
    ],
)
def test_a_compiled_loss_that_is_off_is_not_used(
    monkeypatch: pytest.MonkeyPatch, change: Change, complaint: str
) -> None:
    pretend(monkeypatch, changing(change))
    module, draw = parts()
    plain = module(draw).loss.item()
    assert complaint in check_compiled(module, backward, module, draw)
    assert module(draw).loss.item() == plain


@pytest.mark.parametrize("name", ["lsd", "esd", "meanflow", "scm"])
def test_a_compiler_that_drops_derivatives_is_seen_at_the_first_step(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A U-Net is zero at first and so are its tangents: unless the weights are moved, nothing is off."""
    pretend(monkeypatch, without_derivatives(monkeypatch))
    module, draw = parts(unet(), name=name)
    plain = module(draw)
    module.use_compiled()
    torch.testing.assert_close(module(draw).per_sample, plain.per_sample)
    assert "off by" in check_compiled(module, backward, module, draw)


def test_a_gradient_that_is_lost_for_one_parameter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module, draw = parts()
    last = list(dict(module.named_parameters()))[-1]

    def compiler(evaluate: Any) -> Any:
        def compiled(draw: Draw) -> MethodResult:
            dict(module.named_parameters())[last].requires_grad_(False)
            result: MethodResult = evaluate(draw)
            dict(module.named_parameters())[last].requires_grad_(True)
            return result

        return compiled

    pretend(monkeypatch, compiler)
    assert last in check_compiled(module, backward, module, draw)


def test_weights_buffers_and_modes_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, changing(lambda result: result))
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))

    class Batched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            y: Tensor = self.inner(torch.cat([s[:, None], t[:, None], x], 1))
            return y

    for module, draw in (parts(unet(0.3)), parts(Batched(), name="psd-m")):
        before = {name: value.clone() for name, value in module.state_dict().items()}
        rates = [m.p for m in module.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
        module.eval()
        assert check_compiled(module, backward, module, draw) == ""  # samples of a batch norm interact: all rows
        assert not module.training
        assert rates == [m.p for m in module.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
        torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
        assert all(p.grad is None for p in module.parameters())


def test_what_is_compared_is_the_graph_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, int]] = []
    module, draw = parts(unet(0.3))

    def note(result: MethodResult) -> MethodResult:
        seen.append((module.training, len(result.per_sample)))
        return result

    pretend(monkeypatch, changing(note))
    assert check_compiled(module, backward, module, draw) == ""
    assert set(seen) == {(True, 32)}


def test_few_rows_have_every_term() -> None:
    for name, n in (("lsd", 64), ("fm", 64), ("lsd", 6), ("lsd", 17)):
        _, draw = parts(name=name, n=n)
        k, parts_of_it = draw.few(8)
        part = draw.part(k, parts_of_it)
        assert part.size == (8 if n == 64 else n)
        assert all(term is not None for term in part.terms)


@pytest.mark.parametrize("error", [RuntimeError("no such instruction\nmore"), TypeError()])
def test_a_loss_that_does_not_compile_is_evaluated_uncompiled(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_: Any) -> Any:
        raise error

    module, draw = parts()
    for compiler in (changing(fail), fail):
        pretend(monkeypatch, compiler)
        said = check_compiled(module, backward, module, draw)
        assert said == f"The loss did not compile ({str(error).partition(chr(10))[0] or 'TypeError'})"
        assert bool(module(draw).loss.isfinite())


def test_a_lack_of_memory_is_no_reason_to_go_on_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> Any:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except torch.OutOfMemoryError as error:
            raise RuntimeError("backend failed") from error

    pretend(monkeypatch, changing(full))
    module, draw = parts()
    with pytest.raises(RuntimeError, match="backend failed"):
        check_compiled(module, backward, module, draw)


def test_recomputed_parts_are_compared_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, changing(lambda result: result))
    module, draw = parts(recompute=4)
    assert check_compiled(module, backward, module, draw) == ""


@pytest.mark.slow
def test_a_run_with_compilation_trains_as_one_without(tmp_path: Path) -> None:
    text = """
import warnings; warnings.simplefilter("ignore")
from dataclasses import replace
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from flowops.training import *
network = NetworkConfig("mlp", width=8, depth=2, octaves=1)
shared = dict(steps=4, batch=16, checkpoint_every=0, network=network, log=LogConfig(progress=False))
lines, folder = [], Path(__file__).parent
for name in ("no", "yes"):
    config = TrainConfig("checkerboard", out=str(folder / name), hardware=HardwareConfig(compile=name), **shared)
    train(config, report=lines.append)
print("graphs:", counters["stats"]["unique_graphs"])
weights = [dict(Run.load(folder / name, average="none").X.named_parameters()) for name in ("no", "yes")]
for name in weights[0]:
    torch.testing.assert_close(*[held[name] for held in weights], rtol=1e-3, atol=1e-5)
print("complaints:", lines)
"""
    said = run(tmp_path, text)
    assert "complaints: []" in said
    assert "graphs: 1\n" in said


@pytest.mark.slow
def test_a_network_that_breaks_the_graph_is_compiled_in_pieces_or_refused_by_name(tmp_path: Path) -> None:
    text = """
import warnings; warnings.simplefilter("ignore")
from pathlib import Path
import torch
from flowops.networks import MLP
from flowops.training import *
class Broken(MLP):
    def forward(self, s, t, x):
        if float(x.sum()) > 1e9:
            return x
        return super().forward(s, t, x)
hardware = HardwareConfig(compile="yes")
shared = dict(steps=2, batch=16, checkpoint_every=0, log=LogConfig(progress=False))
lines, folder = [], Path(__file__).parent
try:
    train(TrainConfig("checkerboard", out=str(folder / "a"), hardware=hardware, **shared), network=Broken(2))
except ValueError as error:
    print("refused:", error)
from flowops.training import engine
auto = engine.Engine.__init__
def asked(self, *a, **k):
    auto(self, *a, **k)
    self.compiling = True
engine.Engine.__init__ = asked
train(TrainConfig("checkerboard", out=str(folder / "b"), **shared), network=Broken(2, width=8), report=lines.append)
print("told:", lines)
"""
    said = run(tmp_path, text)
    refused, told = (line for line in said.splitlines() if line.startswith(("refused", "told")))
    assert refused.startswith("refused: The loss did not compile (")
    assert "line 9, in forward" in refused
    assert refused.endswith("pass compile=auto to train without, or compile=no.")
    assert "The loss is no single graph (" in told
    assert "it is compiled in pieces" in told
    assert "uncompiled" not in told

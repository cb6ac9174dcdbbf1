"""The audit of networks: what is sound passes, and every way to break a forward derivative is named where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from flowops.networks import MLP, UNet, audit
from tests.examples import normal

STATES = normal(3, 4, dtype=torch.float32)


class Part(nn.Module):
    """A smooth layer in which something may go wrong."""

    def __init__(self, change: Callable[[Tensor], Tensor] | nn.Module) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.change = change

    def forward(self, h: Tensor) -> Tensor:
        return self.change(torch.tanh(self.linear(h)))


class Small(nn.Module):
    """A network of `(s, t, x)` with a part in the middle."""

    def __init__(self, change: Callable[[Tensor], Tensor] | nn.Module = torch.sin) -> None:
        super().__init__()
        self.begin, self.part, self.end = nn.Linear(6, 6), Part(change), nn.Linear(6, 4)

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        h = torch.cat([x, s[:, None].to(x.dtype), t[:, None].to(x.dtype)], 1)
        return self.end(self.part(torch.tanh(self.begin(h))))


class Double(torch.autograd.Function):
    """Twice its input, without a forward derivative."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


class Legacy(torch.autograd.Function):
    """The older form of the same."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


class Wrong(torch.autograd.Function):
    """Twice its input, with a wrong forward derivative."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient

    @staticmethod
    def jvp(_: Any, tangent: Tensor) -> Tensor:
        return 3 * tangent


class Detached(nn.Module):
    """It hides its input from every derivative."""

    def forward(self, h: Tensor) -> Tensor:
        return h.detach()


class Buffered(nn.Module):
    """It writes to a buffer in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(3, 6))
        self.kept: Tensor

    def forward(self, h: Tensor) -> Tensor:
        self.kept.copy_(h)
        return h + self.kept


class Tokens(nn.Module):
    """Self-attention of six tokens of width one by torch's module."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(1, 1, batch_first=True)

    def forward(self, h: Tensor) -> Tensor:
        h = h[:, :, None]
        return self.attention(h, h, h, need_weights=False)[0][:, :, 0]


def fused(h: Tensor) -> Tensor:
    q = h[:, None, :, None]
    return F.scaled_dot_product_attention(q, q, q)[:, 0, :, 0]


def undone(h: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.sin(h)


def checkpointed(h: Tensor) -> Tensor:
    return checkpoint(torch.sin, h, use_reentrant=False)


ZOO: dict[str, tuple[Callable[[Tensor], Tensor] | nn.Module, str, str, str]] = {
    "fused attention": (fused, "part", "has no forward derivative", "torch.softmax"),
    "torch's attention": (Tokens(), "part.change.attention", "has no forward derivative", "in place of this module"),
    "batch norm": (
        nn.BatchNorm1d(6),
        "part.change",
        "one sample change the result of another in training",
        "GroupNorm",
    ),
    "batch mean": (lambda h: h - h.mean(0), "part", "one sample change the result of another", "GroupNorm"),
    "in-place write": (Buffered(), "part.change", "has no forward derivative", "x = x + y"),
    "in-place ReLU": (nn.ReLU(inplace=True), "part", "has no forward derivative", "x = x + y"),
    "function": (Double.apply, "part", "has no forward derivative", "autograd.Function"),
    "legacy function": (Legacy.apply, "part", "has no forward derivative", "autograd.Function"),
    "wrong derivative": (Wrong.apply, "part", "differs from differences, by 33%", ""),
    "detach": (lambda h: h.detach().sin(), "part", "zero where differences are not", "detach"),
    "half a detach": (lambda h: h.detach() * h, "part", "differs from differences, by 50%", "detach"),
    "checkpoint": (checkpointed, "part", "has no forward derivative", "checkpoint around the whole derivative"),
    "float32": (lambda h: h.float().sin().to(h.dtype), "part", "less than float64", "promote_types"),
    "root": (lambda h: (h - h).sqrt() + h, "part", "not finite", "away from zero"),
}


@pytest.mark.parametrize("name", ZOO)
def test_what_breaks_is_named_where_it_is_with_what_to_do(name: str) -> None:
    change, module, problem, remedy = ZOO[name]
    report = audit(Small(change), STATES)
    assert [finding.module for finding in report.findings] == [module], str(report)
    assert problem in report.findings[0].problem, str(report)
    assert remedy in report.findings[0].remedy, str(report)
    assert not report.ok


def test_a_sound_network_passes_with_a_note_on_its_slope() -> None:
    report = audit(Small(), STATES)
    assert report.ok, str(report)
    assert str(report).startswith("Small: sound\n- note: the derivative in t is ")
    report.raise_for_findings()


def test_kinks_are_no_faults() -> None:
    assert audit(Small(nn.ReLU()), normal(64, 4)).ok


def test_findings_are_raised_in_one_sentence_each() -> None:
    report = audit(Small(fused), STATES)
    with pytest.raises(ValueError, match=r"^`part` has no forward derivative \(.*\); write the attention out .*\.$"):
        report.raise_for_findings()
    assert str(report).startswith("Small: 1 finding\n- `part` has")


def test_parameters_behind_no_grad_are_named() -> None:
    report = audit(Small(undone), STATES)
    assert sorted(finding.module for finding in report.findings) == ["begin", "part"], str(report)
    assert "no value and no derivative depends on" in report.findings[0].problem
    frozen = Small(undone)
    frozen.begin.requires_grad_(False)
    frozen.part.requires_grad_(False)
    assert audit(frozen, STATES).ok


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (lambda y: y[:, :2], r"returns [3, 2] for states [3, 4]"),
        (lambda y: (y, y), "returns tuple for states"),
        (lambda y: y.float(), "returns torch.float32 for a state and parameters in torch.float64"),
        (lambda y: y.double(), "returns torch.float64 for a state and parameters in torch.float32"),
    ],
)
def test_results_of_another_shape_or_dtype_are_named(wrong: Callable[[Tensor], Any], problem: str) -> None:
    class Other(Small):
        def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Any:
            return wrong(super().forward(s, t, x))

    (finding,) = audit(Other(), STATES).findings
    assert finding.module == "Other"
    assert problem in finding.problem


def test_a_network_that_writes_to_its_state_is_named() -> None:
    class Writes(Small):
        def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            return super().forward(s, t, x.mul_(2))

    assert "writes to the state" in audit(Writes(), STATES).findings[0].problem


def test_a_module_that_raises_is_named() -> None:
    (finding,) = audit(Small(lambda h: h @ torch.ones(6, 6)), STATES).findings
    assert finding.module == "part"
    assert "in torch.float64" in finding.problem
    assert "dtype" in finding.remedy


def test_steep_times_and_dropout_are_noted() -> None:
    class Steep(Small):
        def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
            return super().forward(s, torch.sin(1000 * t), x)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        steep = Steep(nn.Dropout(0.5))
    report = audit(steep, STATES)
    assert report.ok, str(report)
    assert "lower the frequencies" in report.notes[0]
    assert "1 dropouts draw a mask" in report.notes[1]


@pytest.mark.parametrize("options", [{}, {"magnitude_preserving": True}, {"embedding": "fourier", "dropout": 0.1}])
def test_the_u_net_passes(options: dict[str, Any]) -> None:
    net = UNet((2, 8, 8), channels=8, multipliers=(1, 2), blocks=1, labels=3, guidance=True, **options)
    report = audit(net, normal(2, 2, 8, 8, dtype=torch.float32), label=torch.tensor([0, 3]), guidance=2.0)
    assert report.ok, str(report)


def test_the_perceptron_passes() -> None:
    assert audit(MLP(4, width=16, depth=2, labels=2, guidance=True), STATES, label=1).ok


def test_a_fault_deep_in_a_u_net_is_found() -> None:
    net = UNet((1, 8, 8), channels=8, multipliers=(1, 2), blocks=1)
    block: Any = net.up[1]
    block.conv1 = nn.Sequential(block.conv1, Detached())
    (finding,) = audit(net, normal(2, 1, 8, 8)).findings
    assert finding.module == "up.1.conv1.1"


def test_the_network_and_the_global_generator_stay_as_they_are() -> None:
    net = Small(nn.BatchNorm1d(6)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    audit(net, STATES)
    assert torch.equal(state, torch.get_rng_state())
    assert net.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert value.dtype == before[name].dtype
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_audited_is_refused() -> None:
    with pytest.raises(ValueError, match="`x` must have two samples at least, got 1"):
        audit(Small(), STATES[:1])
    with pytest.raises(TypeError, match="`network` must be an nn.Module"):
        audit(torch.sin, STATES)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`x` must have a floating dtype"):
        audit(Small(), STATES.long())

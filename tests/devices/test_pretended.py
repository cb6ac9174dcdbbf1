"""The pretended devices themselves: a fault of every kind is seen in a row of one's own, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowops.methods import CONDITIONAL, Difference, Method, Term, TermPoint, row
from flowops.times import Diagonal, on_diagonal
from tests.devices.cases import CUDA, META, NARROW, Case, Column, tried
from tests.devices.methods import loss
from tests.devices.pretended import Elsewhere, Mixed, TooWide, Waits, pretended

Spoil = Callable[[Tensor], Tensor]


def with_fault(spoil: Spoil) -> Method:
    """Flow matching whose left side goes through `spoil`."""

    def residual(k: TermPoint) -> dict[str, Difference]:
        """The velocity of the diagonal against the conditional one."""
        return {"diagonal": Difference(spoil(k.X.velocity()(k.t, k.x)), k.b(k.t, k.x))}

    term = Term(residual=residual, velocity=CONDITIONAL, law=Diagonal(), middle=on_diagonal)
    return row("own", term, source="here", summary="Flow matching.")


def case(spoil: Spoil) -> Case:
    """A row with a fault."""
    return Case("own", lambda device: loss(with_fault(spoil), device))


def masked(v: Tensor) -> Tensor:
    """`v`, written to through a mask."""
    v = v.clone()
    v[v > 0] = v[:, 0].sum().expand(len(v))
    return v


LEFT: dict[str, Spoil] = {
    "a tensor on the CPU": lambda v: v + torch.zeros(2),
    "a number on the CPU": lambda v: v * torch.tensor(2.0),
    "a matrix on the CPU": lambda v: v @ torch.eye(2),
    "an index on the CPU": lambda v: v[torch.arange(len(v))],
}
ASKED: dict[str, Spoil] = {
    "item": lambda v: v / v.detach().abs().max().item(),
    "float": lambda v: v * float(v.detach().mean()),
    "bool": lambda v: v if bool((v.detach() > 0).any()) else -v,
    "if": lambda v: v if v.detach().isfinite().all() else -v,
    "tolist": lambda v: v * v.detach()[0].tolist()[0],
    "cpu": lambda v: v * v.detach().cpu().sum().to(v.device, non_blocking=True),
    "nonzero": lambda v: v * len(v.nonzero()),
    "a mask": lambda v: v * v[v > 0].sum(),
    "writing through a mask": masked,
    "unique": lambda v: v * len(v.detach().unique()),
    "equal": lambda v: v if torch.equal(v, v) else -v,
}
COPIED: dict[str, Spoil] = {
    "tensor": lambda v: v * torch.tensor(2.0, device=v.device),
    "as_tensor": lambda v: v * torch.as_tensor([1.0, 2.0], device=v.device),
    "to": lambda v: v * torch.ones(2).to(v.device),
    "copy_": lambda v: v * torch.empty(2, device=v.device).copy_(torch.ones(2)),
}
SOUND: dict[str, Spoil] = {
    "nothing": lambda v: v,
    "a number": lambda v: 2 * v,
    "a number filled in": lambda v: v * torch.full((), 2.0, device=v.device),
    "a copy that does not block": lambda v: v * torch.ones(2).to(v.device, non_blocking=True),
    "a choice": lambda v: torch.where(v > 0, v, 2 * v),
    "an index on the device": lambda v: v[torch.arange(len(v), device=v.device)],
    "a shape": lambda v: v.reshape(len(v), -1) / v.shape[1],
}


def faults(*kinds: dict[str, Spoil]) -> pytest.MarkDecorator:
    """Every fault of these kinds."""
    every = {name: spoil for kind in kinds for name, spoil in kind.items()}
    return pytest.mark.parametrize("spoil", every.values(), ids=list(every))


devices = pytest.mark.parametrize("column", [META.parameter(), CUDA.parameter()])
cuda = CUDA.marks()[0]


@devices
@faults(LEFT)
def test_a_tensor_that_was_left_on_the_cpu_is_seen(spoil: Spoil, column: Column) -> None:
    with pytest.raises(Elsewhere, match=r"takes a tensor \[.*\] on cpu beside one on"):
        tried(case(spoil), column)


@devices
@faults(ASKED)
def test_a_value_that_the_host_asks_for_is_seen(spoil: Spoil, column: Column) -> None:
    with pytest.raises(Waits, match=r"asks for values on|copies from"):
        tried(case(spoil), column)


@cuda
@faults(COPIED)
def test_a_copy_that_the_host_waits_for_is_seen(spoil: Spoil) -> None:
    with pytest.raises(Waits, match="copies from cpu beside cuda"):
        tried(case(spoil), CUDA)


@devices
@faults(SOUND)
def test_what_a_device_can_do_is_no_fault(spoil: Spoil, column: Column) -> None:
    assert tried(case(spoil), column) == 0


def test_float64_is_seen_where_there_is_none() -> None:
    assert tried(case(lambda v: v.double()), META) == 0
    with pytest.raises(TooWide, match="makes float64 on meta"):
        tried(case(lambda v: v.double()), NARROW)
    with pytest.raises(TooWide, match="makes float64 on meta"):
        tried(case(lambda v: v * torch.full((), 2.0, dtype=torch.float64, device=v.device)), NARROW)
    with pytest.raises(TooWide, match="Linear holds float64"), pretended("meta", wide=False) as device:
        device.module(lambda: torch.nn.Linear(2, 2).double())


@devices
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_mix_of_dtypes_is_seen(column: Column, dtype: torch.dtype) -> None:
    with pytest.raises(Mixed, match=rf"takes torch\..* and torch\..* on {column.device}"):
        tried(case(lambda v: v @ torch.eye(2, dtype=dtype, device=v.device)), column)


@cuda
def test_bfloat16_is_real_on_cuda() -> None:
    with pretended("cuda") as device:
        layer, x = device.module(lambda: torch.nn.Linear(2, 2)), device.zeros(3, 2)
        with device, torch.autocast("cuda", torch.bfloat16):
            assert layer(x).dtype is torch.bfloat16
        with device, torch.autocast("cuda", torch.bfloat16, enabled=False):
            assert layer(x).dtype is torch.float32


@devices
def test_the_patient_host_is_answered_and_its_waiting_counted(column: Column) -> None:
    with pretended(column.device, patient=True) as device:
        x = device.zeros(3)
        with device:
            assert float(x.sum()) == 1
            assert bool((x > 0).all())
            assert int(x.long().sum()) == 1
            assert x.cpu().device.type == "cpu"
        assert device.waited == 4
        with pytest.raises(Waits), device:
            x.nonzero()


@devices
def test_only_what_is_watched_is_refused(column: Column) -> None:
    with pretended(column.device) as device:
        x = device.zeros(3)
        moved = torch.ones(3).to(column.device)
        with device:
            assert (x + moved).device.type == column.device


@devices
def test_everything_is_as_before_afterwards(column: Column) -> None:
    before = (torch.Generator, torch.autocast.__init__, torch.is_autocast_enabled)
    with pretended(column.device):
        assert isinstance(torch.Generator(column.device), before[0])
    with pytest.raises(KeyError), pretended(column.device):
        raise KeyError
    assert before == (torch.Generator, torch.autocast.__init__, torch.is_autocast_enabled)
    assert torch.zeros(2).sum().item() == 0


def test_a_torch_without_cuda_does_not_pretend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.cuda.is_built", lambda: False)
    with pytest.raises(RuntimeError, match="with a torch that was built for it"), pretended("cuda"):
        pass


def test_a_case_has_one_reason() -> None:
    with pytest.raises(ValueError, match="`waits` and `never` of 'x' exclude each other"):
        Case("x", lambda _: lambda: None, waits="a", never="b")

"""What is tried on a pretended device: a name, what is run there, and why something is not covered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import Tensor, nn

from tests.devices.pretended import pretended

Module = TypeVar("Module", bound=nn.Module)
T = TypeVar("T")


class Device(Protocol):
    """Where a case is tried: a `Pretended` device or a `Real` one.

    Attributes:
        device: its type.
        differentiates: whether it takes a reverse pass.
    """

    device: str

    @property
    def differentiates(self) -> bool: ...

    def built(self, make: Callable[[], T]) -> T:
        """What `make` builds on the CPU, with values."""
        ...

    def module(self, make: Callable[[], Module]) -> Module:
        """The module that `make` builds, moved to the device."""
        ...

    def zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor on the device."""
        ...


Body = Callable[[], Tensor | None]
"""What is watched; a loss that it returns is differentiated where the device can."""


@dataclass(frozen=True)
class Column:
    """A way to pretend.

    Attributes:
        title: for the table.
        device: type of the device.
        wide: whether it has float64.
        bfloat16: whether everything runs under autocast to bfloat16.
    """

    title: str
    device: str
    wide: bool = True
    bfloat16: bool = False

    def marks(self) -> list[pytest.MarkDecorator]:
        """What a test in this column wants."""
        missing = self.device == "cuda" and not torch.backends.cuda.is_built()
        return [pytest.mark.skipif(missing, reason="needs a torch that was built for CUDA, though no device")]

    def parameter(self) -> ParameterSet:
        """A parameter of a test."""
        return pytest.param(self, marks=self.marks(), id=f"{self.device}{'' if self.wide else ', narrow'}")


META = Column("`meta`, forward and backward", "meta")
CUDA = Column("CUDA, forward", "cuda")
BFLOAT16 = Column("CUDA in bfloat16, forward", "cuda", bfloat16=True)
NARROW = Column("no float64, forward and backward", "meta", wide=False)
COLUMNS = (META, CUDA, BFLOAT16, NARROW)


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        name: what it is.
        make: builds its parts on a device and returns what is to be watched there.
        waits: why the host waits for the device, where it does and must.
        never: why it cannot be run without values at all.
        double: why it wants float64 on the device, which Apple's has not.
    """

    name: str
    make: Callable[[Device], Body]
    waits: str = ""
    never: str = ""
    double: str = ""

    def __post_init__(self) -> None:
        if self.waits and self.never:
            raise ValueError(f"`waits` and `never` of {self.name!r} exclude each other; give one reason.")


@dataclass(frozen=True)
class Group:
    """Cases of one kind, and the columns in which they are tried."""

    title: str
    cases: tuple[Case, ...]
    columns: tuple[Column, ...] = COLUMNS


def tried(case: Case, column: Column, *, patient: bool = False) -> int:
    """Run a case; how often the host waited, where it may (see `Pretended`).

    Raises:
        DeviceFault: from the operation that a real device would have refused or waited for.
    """
    with pretended(column.device, wide=column.wide, patient=patient) as device:
        body = case.make(device)
        device.waited = 0
        with device:
            with torch.autocast(column.device, torch.bfloat16, enabled=column.bfloat16):
                loss = body()
            if loss is not None and loss.requires_grad and device.differentiates:
                loss.backward()
        return device.waited


def total(*values: Any) -> Tensor | None:
    """The sum of everything, as a loss that depends on all of it; None where nothing has a gradient."""
    parts = [value.sum() for value in values if isinstance(value, Tensor) and value.requires_grad]
    return sum(parts[1:], parts[0]) if parts else None

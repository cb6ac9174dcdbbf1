"""Devices that are there: the CPU always, and CUDA where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.devices.cases import Case, Module, T

CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]


class Real:
    """A device on which things have values.

    Args:
        device: `"cpu"` or `"cuda"`.
    """

    differentiates = True

    def __init__(self, device: str) -> None:
        self.device = device

    def built(self, make: Callable[[], T]) -> T:
        """What `make` builds."""
        return make()

    def module(self, make: Callable[[], Module]) -> Module:
        """The module that `make` builds, moved to the device."""
        return make().to(self.device)

    def zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor on the device."""
        return torch.zeros(shape, dtype=dtype, device=self.device)


@contextmanager
def unwaiting(device: str) -> Iterator[None]:
    """A context in which torch raises where the host waits for CUDA; on the CPU nothing is refused."""
    if device != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def run_twice(case: Case, device: str) -> None:
    """Run a case, then again without the host waiting, if it need not; libraries may wait when they are first used."""
    body = case.make(Real(device))
    differentiated(body())
    if not (case.waits or case.never):
        with unwaiting(device):
            differentiated(body())


def differentiated(loss: Any) -> None:
    """The gradient of a loss, if there is one."""
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.backward()

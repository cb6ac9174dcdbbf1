"""Devices that are not there: tensors without values on `meta`, and CUDA tensors of shape and dtype alone.

What a real device would refuse, or wait for, is an error: two devices in one operation, two dtypes in a product, a
copy between devices that the host waits for, a value that the host asks for, a shape that depends on values, and, where
asked for, float64 on the device, which Apple's has not. Nothing is computed: nothing here says that a number is right.

What torch refuses to pretend is stood in for: generators of these devices, autocast, which `meta` does not know and
which is switched off where there is no CUDA, fused optimizers on `meta`, moves and deep copies of modules on CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

T = TypeVar("T")
Module = TypeVar("Module", bound=nn.Module)
aten = torch.ops.aten
COPY, COPY_INTO = aten._to_copy.default, aten.copy_.default
MASKED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
PRODUCTS = (aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.mv, aten.addmv, aten.dot, aten.convolution)
SCALAR = aten._local_scalar_dense.default
CONVERSIONS = (aten.to.dtype, aten.to.dtype_layout)
"""Steps inside torch's own formulas for shapes on `meta`, which no device takes; a call of `to` is a copy here."""
VALUES = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class DeviceFault(AssertionError):
    """What a real device would have refused or waited for."""


class Elsewhere(DeviceFault):
    """A tensor lies on another device than its companions."""


class Waits(DeviceFault):
    """The host waits for the device."""


class Mixed(DeviceFault):
    """A product of tensors of two floating dtypes."""


class TooWide(DeviceFault):
    """Float64 is made on a device that has none."""


class Pretended(TorchDispatchMode):
    """A device, and while it is entered, the refusal of every operation that a step on it must not hold.

    Attributes:
        waited: how often the host waited, where it may.

    Args:
        device: its type.
        wide: whether it has float64.
        patient: whether the host may wait: a number that is asked for is 1, what is copied to the CPU is ones.
    """

    def __init__(self, device: str, *, wide: bool = True, patient: bool = False) -> None:
        super().__init__()
        self.device, self.wide, self.patient, self.waited = device, wide, patient, 0

    @property
    def differentiates(self) -> bool:
        """Whether a reverse pass can be pretended: that of CUDA asks the driver for its streams."""
        return self.device == "meta"

    def built(self, make: Callable[[], T]) -> T:
        """What `make` builds on the CPU, with values."""
        with unset_fake_temporarily():
            return make()

    def module(self, make: Callable[[], Module]) -> Module:
        """The module that `make` builds, moved to the device."""
        module = self.built(make)
        if not self.wide and any(v.dtype is torch.float64 for v in (*module.parameters(), *module.buffers())):
            raise TooWide(f"{type(module).__name__} holds float64 on {self.device}")
        if self.device == "meta":
            return module.to(self.device)
        for part in module.modules():
            for name, p in part._parameters.items():
                if p is not None:
                    part._parameters[name] = nn.Parameter(self._like(p), requires_grad=p.requires_grad)
            part._buffers |= {name: self._like(b) for name, b in part._buffers.items() if b is not None}
        return module

    def zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor on the device."""
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def _like(self, tensor: Tensor) -> Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=self.device)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        here = [tensor for tensor in given if tensor.device.type == self.device]
        if function in (COPY, COPY_INTO):
            if (source := self._copied_from(function, args, kwargs)) is not None:
                self._wait(f"{function} copies from {source} beside {self.device}")
                if source == "meta":
                    return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        elif here:
            for tensor in given:
                if tensor.device.type != self.device:
                    shape = list(tensor.shape)
                    raise Elsewhere(f"{function} takes a tensor {shape} on {tensor.device} beside one on {self.device}")
            dtypes = {tensor.dtype for tensor in given if tensor.is_floating_point()}
            if len(dtypes) > 1 and function.overloadpacket in PRODUCTS:
                raise Mixed(f"{function} takes {' and '.join(sorted(map(str, dtypes)))} on {self.device}")
            if _asks_for_values(function, given):
                self._wait(f"{function} asks for values on {self.device}", possible=function is SCALAR)
                return _one(given[0].dtype)
        result = function(*args, **kwargs)
        if not self.wide and function not in CONVERSIONS:
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor) and leaf.device.type == self.device and leaf.dtype is torch.float64:
                    raise TooWide(f"{function} makes float64 on {self.device}")
        return result

    def _wait(self, why: str, *, possible: bool = True) -> None:
        self.waited += 1
        if not (self.patient and possible):
            raise Waits(why)

    def _copied_from(self, function: Any, args: Any, kwargs: Any) -> str | None:
        """Where a copy starts that the host waits for: from the device always, to it unless it is not blocking."""
        if function is COPY:
            source, target, free = args[0].device, kwargs.get("device") or args[0].device, kwargs.get("non_blocking")
        else:
            source, target, free = args[1].device, args[0].device, args[2] if len(args) > 2 else False
        start, end = source.type, torch.device(target).type
        waiting = start == self.device or (end == self.device and not free)
        return start if start != end and waiting else None


def _one(dtype: torch.dtype) -> float | bool:
    """What the patient host is told."""
    return True if dtype is torch.bool else 1.0 if dtype.is_floating_point else 1


def _asks_for_values(function: Any, given: list[Tensor]) -> bool:
    if function in MASKED:
        return any(tensor.dtype in (torch.bool, torch.uint8) for tensor in given[1:])
    return any(tag in function.tags for tag in VALUES)


@contextmanager
def pretended(device: str, *, wide: bool = True, patient: bool = False) -> Iterator[Pretended]:
    """A device, `"meta"` or `"cuda"`, that is there while the context is; what happens on it is watched while *it* is.

    with pretended("cuda") as device:
        X = device.module(lambda: LearnedMap(MLP(2)))
        with device:
            X(0.0, 1.0, device.zeros(5, 2))

    Raises:
        RuntimeError: for CUDA with a torch that was built without it, which would end the process.
    """
    if device == "cuda" and not torch.backends.cuda.is_built():
        raise RuntimeError("CUDA can only be pretended with a torch that was built for it; install another one.")
    with ExitStack() as stack:
        stack.enter_context(mock.patch("torch.Generator", _Generator))
        stack.enter_context(mock.patch.object(torch.autocast, "__init__", _autocast))
        stack.enter_context(mock.patch("torch.is_autocast_enabled", _is_autocast_enabled))
        if device == "cuda":
            stack.enter_context(mock.patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False))
            stack.enter_context(mock.patch("torch.cuda.is_bf16_supported", return_value=True))
            stack.enter_context(mock.patch.object(FakeTensor, "__deepcopy__", _copied))
            stack.enter_context(FakeTensorMode())
        else:
            stack.enter_context(mock.patch("torch.optim.optimizer._get_fused_kernels_supported_devices", _fused))
        if not wide:  # flowops knows such a device by its name
            stack.enter_context(mock.patch("flowops.training.telemetry.wide", return_value=torch.float32))
        yield Pretended(device, wide=wide, patient=patient)


GENERATOR, AUTOCAST, IS_AUTOCAST_ENABLED = torch.Generator, torch.autocast.__init__, torch.is_autocast_enabled


class _OnTheCPU(type):
    def __call__(cls, device: object = "cpu") -> torch.Generator:
        return GENERATOR()

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, GENERATOR)


class _Generator(metaclass=_OnTheCPU):
    """In the place of `torch.Generator`: torch draws with one of the CPU on these devices."""


def _autocast(self: torch.autocast, device_type: str, *arguments: Any, **options: Any) -> None:
    """In the place of the constructor of `torch.autocast`: on `meta` nothing is cast."""
    if device_type == "meta":
        AUTOCAST(self, "cpu", enabled=False)
    else:
        AUTOCAST(self, device_type, *arguments, **options)


def _copied(self: FakeTensor, _memo: object) -> Tensor:
    """In the place of a deep copy, which would copy the device as well."""
    made = self.detach().clone()
    return nn.Parameter(made, self.requires_grad) if isinstance(self, nn.Parameter) else made


def _fused() -> list[str]:
    """The devices with fused optimizers, and `meta`."""
    return ["cuda", "meta"]


def _is_autocast_enabled(device_type: str) -> bool:
    return device_type != "meta" and IS_AUTOCAST_ENABLED(device_type)

r"""Kernels of torch for tangents that know to be zero, which forward mode meets in most lines of a field.

Of a layer $Wx$ whose weights stay, forward mode computes $W\dot x+\dot Wx$ with $\dot W=0$, a `ZeroTensor`: one that
knows to be zero and has no memory. torch has no product of it, writes the zeros down and multiplies, here and once
more in the gradient. The kernels here are those products. They are registered for every device when `_derivatives` is
imported, and act where an operand is a `ZeroTensor`, which nothing but forward mode makes. The numbers are the same
unless the other operand is not finite.

Of sums, entrywise products and quotients with such a zero torch asks its Python rules for the shape, which takes a
hundred times as long as the operation on a small state; each has one in most lines of a field under forward mode. Here
the shape is asked for directly, and the values are torch's.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

_convolve = torch.ops.aten.convolution.default
_pull_back = torch.ops.aten.convolution_backward.default
_copy = torch.ops.aten._to_copy.default


def _matrices(a: Tensor, b: Tensor) -> Tensor:
    """Of `mm` and `bmm`."""
    return torch.zeros((*a.shape[:-1], b.shape[-1]), dtype=a.dtype, device=a.device)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    """Of a convolution, in the memory format that it would have."""
    bias = None if bias is not None and bias._is_zerotensor() else bias
    if not (x._is_zerotensor() or weight._is_zerotensor()):
        return _convolve(x, weight, bias, *options)
    shape = _convolve(_shape(x), _shape(weight), None, *options)
    zeros = torch.zeros_like(shape, device=x.device, memory_format=_format(x, weight))
    return zeros if bias is None else zeros + bias.reshape(-1, *[1] * (x.ndim - 2))


def _convolution_gradients(
    w: Tensor, x: Tensor, weight: Tensor, sizes: Any, *options: Any
) -> tuple[Tensor | None, ...]:
    """Of the gradients in `x`, the weight and the bias those that are zero; the others are computed."""
    *rest, wanted = options
    zero = [w._is_zerotensor() or own for own in (weight._is_zerotensor(), x._is_zerotensor(), False)]
    w, x, weight = _dense(w), _dense(x), _dense(weight)
    found: list[Tensor | None] = [None] * 3
    if any(left := [want and not none for want, none in zip(wanted, zero, strict=True)]):
        found = list(_pull_back(w, x, weight, sizes, *rest, left))
    zeros = (lambda: torch.zeros_like(x), lambda: torch.zeros_like(weight), lambda: w.new_zeros(sizes))
    return tuple(zeros[k]() if wanted[k] and zero[k] else found[k] for k in range(3))


def _dense(x: Tensor) -> Tensor:
    """With its zeros written down."""
    return torch.zeros(x.shape, dtype=x.dtype, device=x.device) if x._is_zerotensor() else x


def _shape(x: Tensor) -> Tensor:
    """A tensor of the same shape without numbers."""
    return torch.empty(x.shape, dtype=x.dtype, device="meta")


def _format(x: Tensor, weight: Tensor) -> torch.memory_format:
    """Channels last if one of both is, as convolutions have it."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim, torch.contiguous_format)
    moved = any(not p.is_contiguous() and p.is_contiguous(memory_format=last) for p in (x, weight))
    return last if moved else torch.contiguous_format


Number = Tensor | complex  # an operand: torch hands numbers over as such


def _result(a: Number, b: Number) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The shape, dtype and device of an entrywise operation; of two devices, that which is not the CPU."""
    tensors = [p for p in (a, b) if isinstance(p, Tensor)]
    shape = tensors[0].shape if len(tensors) == 1 else _common(tensors[0].shape, tensors[1].shape)
    device = next((p.device for p in tensors if p.device.type != "cpu"), tensors[0].device)
    return shape, {"dtype": _promoted(a, b, tensors), "device": device}


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that two shapes expand to: `torch.broadcast_shapes` at a fifth of its time, which sees to the rest."""
    if one == other:
        return one
    if not all(m == n or m == 1 or n == 1 for m, n in zip(reversed(one), reversed(other), strict=False)):
        return torch.broadcast_shapes(one, other)  # says what is wrong
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    own = len(longer) - len(shorter)
    return (*longer[:own], *(n if m == 1 else m for m, n in zip(longer[own:], shorter, strict=True)))


def _promoted(a: Number, b: Number, tensors: list[Tensor]) -> torch.dtype:
    """The dtype of the result; torch is asked where numbers and 0-d tensors may count, since modes see the question."""
    dtypes = {p.dtype for p in tensors if p.ndim} or {p.dtype for p in tensors}
    if any(isinstance(p, complex) or (isinstance(p, Tensor) and p.is_complex()) for p in (a, b)):
        return torch.result_type(a, b)
    one = dtypes.pop()
    return torch.result_type(a, b) if dtypes or not one.is_floating_point else one


def _is_zero(p: Number) -> bool:
    return isinstance(p, Tensor) and p._is_zerotensor()


def _times(a: Number, b: Number) -> Tensor:
    """Of `mul`: no entry is looked at."""
    shape, options = _result(a, b)
    return torch._efficientzerotensor(shape, **options)


def _plus(a: Number, b: Number, *, alpha: complex = 1) -> Tensor:
    """Of `add`: a copy of the other term."""
    shape, options = _result(a, b)
    if _is_zero(a) and _is_zero(b):
        return torch._efficientzerotensor(shape, **options)
    term = torch.as_tensor(b if _is_zero(a) else a)
    copy = _copy(term if term.shape == shape else term.expand(shape), **options)
    return copy * alpha if _is_zero(a) and alpha != 1 else copy


def _minus(a: Number, b: Number, *, alpha: complex = 1) -> Tensor:
    """Of `sub`."""
    return _plus(a, b, alpha=-alpha)


def _over(a: Number, b: Number) -> Tensor:
    """Of `div`: also what has no value, or none that is finite."""
    shape, options = _result(a, b)
    if not (options["dtype"].is_floating_point or options["dtype"].is_complex):
        options["dtype"] = torch.get_default_dtype()
    if _is_zero(b):
        return torch.full(shape, torch.nan if _is_zero(a) else torch.inf, **options)
    return torch._efficientzerotensor(shape, **options)


KERNELS = torch.library.Library("aten", "IMPL", "ZeroTensor")
"""Kept as long as the module, since what it registers goes with it."""
PRODUCTS = {"mm": _matrices, "bmm": _matrices, "convolution": _convolution}
PRODUCTS["convolution_backward"] = _convolution_gradients
ENTRYWISE = {"mul.Tensor": _times, "add.Tensor": _plus, "sub.Tensor": _minus, "div.Tensor": _over}


def register() -> None:
    """Register the kernels, unless an earlier import did: in place of torch's own those of `ENTRYWISE` alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks that its own kernel is replaced
        for name, kernel in {**PRODUCTS, **ENTRYWISE}.items():
            known = torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "ZeroTensor")
            if f"aten/{name}/ZeroTensor" not in torch.library._impls and (name in ENTRYWISE or not known):
                KERNELS.impl(name, kernel)

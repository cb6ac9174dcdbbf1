r"""Products with the zero tangents of forward mode, which torch multiplies out; here they are zeros at once.

Of a layer $Wx$ whose weights stay, forward mode computes $W\dot x+\dot Wx$ with $\dot W=0$, a `ZeroTensor`: one that
knows to be zero and has no memory. torch has no product of it, writes the zeros down and multiplies, here and once
more in the gradient. The kernels below are those products. They are registered for every device when the module is
imported, and act where an operand is a `ZeroTensor`, which nothing but forward mode makes. The numbers are the same
unless the other operand is not finite.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_convolve = torch.ops.aten.convolution.default
_pull_back = torch.ops.aten.convolution_backward.default


def _matrices(a: Tensor, b: Tensor) -> Tensor:
    """Of `mm` and `bmm`."""
    return torch.zeros((*a.shape[:-1], b.shape[-1]), dtype=a.dtype, device=a.device)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    """Of a convolution, in the memory format that it would have."""
    bias = None if bias is not None and bias._is_zerotensor() else bias
    if not (x._is_zerotensor() or weight._is_zerotensor()):
        return _convolve(x, weight, bias, *options)
    zeros = torch.zeros_like(_convolve(_shape(x), _shape(weight), None, *options), device=x.device)
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
    """A tensor of the same shape and strides without numbers."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


KERNELS = torch.library.Library("aten", "IMPL", "ZeroTensor")
"""Kept as long as the module, since what it registers goes with it."""
for _name, _kernel in (
    ("mm", _matrices),
    ("bmm", _matrices),
    ("convolution", _convolution),
    ("convolution_backward", _convolution_gradients),
):
    KERNELS.impl(_name, _kernel)

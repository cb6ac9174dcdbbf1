r"""Derivatives of batched functions whose samples do not interact: the only place that calls `torch.func`.

The primal of a forward-mode pass is cloned, since views (an expanded time, a
slice) are refused by `torch.compile` (pytorch issue "tangent have the same layout as primal").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from flowops._zero_tangents import register

register()  # forward mode meets these zeros


def value_and_jvp(
    f: Callable[..., Tensor], primals: tuple[Tensor, ...], tangents: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    r"""Value and directional derivative $f(p),\ \nabla f(p)\,\dot p$ in one forward-mode pass."""
    directions = tuple([dp.to(p.dtype) for p, dp in zip(primals, tangents, strict=True)])
    value, tangent = torch.func.jvp(f, tuple(map(torch.clone, primals)), directions)[:2]
    return value, tangent.to(value.dtype)  # torch gives a wider tangent for a number times a 0-d tensor


def value_and_slope(path: Callable[[Tensor], Tensor], h: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    r"""Value and slope at 0 of a path `a -> [batch, *event]`, by three of its values, to $O(h^2)$.

    Args:
        path: takes offsets `[batch]`.
        h: the step, `[batch]`.
        t: the time at offset 0, `[batch]`: where $t\pm h$ would leave $[0,1]$ the values are on one side.
    """
    right, left = t < h, t > 1 - h
    one = torch.where(right, h, -h)
    other = torch.where(right, 2 * h, torch.where(left, -2 * h, h))
    value, first, second = path(torch.zeros_like(h)), path(one), path(other)
    shape = h.shape + (1,) * (value.ndim - 1)
    sided = right | left
    sign = torch.where(right, 1.0, -1.0).to(h.dtype)
    weights = (torch.where(sided, -3 * sign, 0), torch.where(sided, 4 * sign, -1), torch.where(sided, -sign, 1))
    a, b, c = ((w / (2 * h)).reshape(shape) for w in weights)
    return value, (a * value + b * first + c * second).to(value.dtype)


def value_and_vjp(f: Callable[[Tensor], Tensor], x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    r"""Value and pulled-back cotangent $f(x),\ w^\top\nabla f(x)$ in one forward and one reverse pass."""
    value, pull_back = torch.func.vjp(f, x)[:2]
    return value, pull_back(w.to(value.dtype))[0]


def draws_masks(module: nn.Module) -> bool:
    """Whether two calls of a module have different masks of dropout."""
    return any(isinstance(m, nn.modules.dropout._DropoutNd) and m.training and m.p > 0 for m in module.modules())


def records(wanted: bool) -> bool:
    """Whether a graph is recorded: if `wanted`, unless none is recorded outside; for `torch.set_grad_enabled`.

    That is written where it is entered. A function that makes the context takes effect when it is called, and a
    compiler that sees this function alone loses what was before.
    """
    return torch.is_grad_enabled() and wanted


DIRECTIONS = 64  # that are pushed together: memory grows with them


def push_basis(push: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    r"""Per-sample matrix of the linear map `push`, applied to every basis direction of the event.

    Returns `[batch, *event, *event]`; the last axes number the directions.
    """
    event = x.shape[1:]
    size = event.numel()
    basis = torch.eye(size, dtype=x.dtype, device=x.device).reshape(size, *event)
    columns = torch.func.vmap(lambda e: push(e.expand(x.shape)), chunk_size=DIRECTIONS)(basis)
    return columns.movedim(0, -1).reshape(x.shape + event)


def push_columns(push: Callable[[Tensor], Tensor], x: Tensor, columns: Tensor) -> Tensor:
    """The linear map `push` applied to per-sample matrices `[batch, *event, *event]`, column by column."""
    directions = columns.reshape(*x.shape, x.shape[1:].numel()).movedim(-1, 0)
    pushed = torch.func.vmap(push, chunk_size=DIRECTIONS)(directions)
    return pushed.movedim(0, -1).reshape(columns.shape)


def partials(f: Callable[[Tensor, Tensor], Tensor], t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""$\partial_tf$, `[batch, n]`, and $\partial_xf$, `[batch, n, n]`, of `f(t, x)` for times and states `[batch, n]`.

    Both come from $n$ covectors that are pulled back at once: one direction fewer than forward mode has, and far less
    overhead for a field of few numbers.
    """
    value, pull = torch.func.vjp(f, t, x)[:2]
    covectors = torch.eye(x.shape[1], dtype=value.dtype, device=x.device)
    dt, dx = torch.func.vmap(lambda w: pull(w.expand(value.shape)))(covectors)
    return dt.T.to(value.dtype), dx.movedim(0, 1)


def numbers_of_partials(f: Callable[[Tensor, Tensor], Tensor], t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """`partials` without derivatives of their own, at half the overhead where no transform is under way."""
    if is_transformed() or torch.is_inference_mode_enabled():
        return partials(f, t, x)
    with torch.enable_grad():
        t, x = t.detach().requires_grad_(), x.detach().requires_grad_()
        value = f(t, x)
        covectors = torch.eye(x.shape[1], dtype=value.dtype, device=x.device)[:, None].expand(-1, *value.shape)
        dt, dx = None, None
        if value.requires_grad:
            dt, dx = torch.autograd.grad(value, (t, x), covectors, is_grads_batched=True, allow_unused=True)
    drift = torch.zeros_like(value) if dt is None else dt.mT.to(value.dtype)
    return drift.detach(), x.new_zeros(*x.shape, x.shape[1]) if dx is None else dx.movedim(0, 1)


def call_with_constants(module: nn.Module, *arguments: Tensor) -> Any:
    """`module(*arguments)` with its parameters taken as constants: gradients pass through the arguments only."""
    constants = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return torch.func.functional_call(module, constants, arguments)


def held_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def value_and_jvp_of(module: nn.Module, direction: Mapping[str, Tensor], *arguments: Tensor) -> tuple[Tensor, Tensor]:
    """`module(*arguments)` and its derivative when the held tensors named by `direction` move along it."""
    held = held_tensors(module)

    def value(*tensors: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(direction, tensors, strict=True)), arguments)

    return value_and_jvp(value, tuple(held[name] for name in direction), tuple(direction.values()))


def is_transformed() -> bool:
    """Whether a transform of `torch.func` or a level of forward mode is under way."""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def is_concrete(x: Tensor) -> bool:
    """Whether a look at the values of `x` is possible and free: on the CPU, under no transform, mode or compiler.

    Modes that see every operation may have tensors without values (FakeTensorMode) or refuse the look (`make_fx`).
    """
    traced = (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() > 0
    )
    return not traced and x.device.type == "cpu" and not is_transformed()


def is_tracked(x: Tensor) -> bool:
    """Whether a derivative with respect to `x` may be wanted; inside a transform that is not known, so it may."""
    return (torch.is_grad_enabled() and x.requires_grad) or is_transformed()


def inside_vmap(*tensors: Tensor) -> bool:
    """Whether one of these is mapped over by `vmap`."""
    inner = torch._C._functorch
    for x in tensors:
        while inner.is_functorch_wrapped_tensor(x):
            if inner.is_batchedtensor(x):
                return True
            x = inner.get_unwrapped(x)
    return False

r"""Derivatives of batched functions whose samples do not interact: the only place that calls `torch.func`.

The primal of a forward-mode pass is cloned, since views (an expanded time, a
slice) are refused by `torch.compile` (pytorch issue "tangent have the same layout as primal").

Of a layer $Wx$ whose weights stay, forward mode computes $W\dot x+\dot Wx$ with $\dot W=0$, a `ZeroTensor`: one that
knows to be zero and has no memory. torch has no product of it, writes the zeros down and multiplies, here and once
more in the gradient. The kernels at the end are those products. They are registered for every device when the module
is imported, and act where an operand is a `ZeroTensor`, which nothing but forward mode makes. The numbers are the same
unless the other operand is not finite.

Of sums, entrywise products and quotients with such a zero torch asks its Python rules for the shape, which takes a
hundred times as long as the operation on a small state; each has one in most lines of a field under forward mode. Here
the shape is asked for directly, and the values are torch's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


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
    """Whether a look at the values of `x` is possible and free: on the CPU, under no transform and no compiler."""
    return not torch.compiler.is_compiling() and x.device.type == "cpu" and not is_transformed()


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


def _register() -> None:
    """Register the kernels, unless an earlier import did: in place of torch's own those of `ENTRYWISE` alone."""
    for name, kernel in {**PRODUCTS, **ENTRYWISE}.items():
        known = torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "ZeroTensor")
        if f"aten/{name}/ZeroTensor" not in torch.library._impls and (name in ENTRYWISE or not known):
            KERNELS.impl(name, kernel)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch remarks that its own kernel is replaced
    _register()

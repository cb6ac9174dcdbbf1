"""What a caller may pass as a time or a state, and the one place where times are reshaped.

A state has shape `[batch, *event]` and a floating dtype. A time is a number, a 0-d tensor, or has shape `[batch]`.
Python numbers take the state's device and the wider of its dtype and float32; a tensor keeps its own dtype, which must
not be less precise than the state's. Nothing here looks at values, so everything works inside `vmap`, `jvp` and
`torch.compile`.
"""

from __future__ import annotations

import math
import numbers
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from flowops._types import TimeLike

_HINTS: dict[Any, Mapping[str, Any]] = {}


def check_state(x: Tensor, name: str = "x") -> None:
    """Refuse anything that is not a floating tensor of shape `[batch, *event]`."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"`{name}` must be a torch.Tensor of shape [batch, *event], got {type(x).__name__}; "
            f"convert it with torch.as_tensor."
        )
    if not x.is_floating_point():
        raise TypeError(f"`{name}` must have a floating dtype, got {x.dtype}; pass {name}.float() or {name}.double().")
    if x.ndim == 0:
        raise ValueError(f"`{name}` must have shape [batch, *event], got a 0-d tensor; pass {name}[None].")


def check_like(value: Tensor, x: Tensor, name: str, reference: str = "x") -> None:
    """Refuse a companion of `x` (a direction, a second endpoint) whose shape, dtype or device differs from it."""
    check_state(value, name)
    if value.shape != x.shape:
        raise ValueError(
            f"`{name}` must have the shape of `{reference}`, {list(x.shape)}, got {list(value.shape)}; "
            f"expand it to that shape."
        )
    if value.dtype != x.dtype:
        raise TypeError(
            f"`{name}` must have the dtype of `{reference}`, {x.dtype}, got {value.dtype}; pass {name}.to({reference})."
        )
    if value.device != x.device:
        raise ValueError(
            f"`{name}` must be on the device of `{reference}`, {x.device}, got {value.device}; "
            f"pass {name}.to({reference})."
        )


def check_labels(labels: Tensor | None, x0: Tensor, name: str) -> None:
    """Refuse labels that do not belong to the rows of `x0`; None is none."""
    if labels is None:
        return
    if not isinstance(labels, Tensor):
        raise TypeError(f"`{name}` must be a tensor with one entry per sample, got {type(labels).__name__}.")
    if labels.ndim == 0 or labels.shape[0] != x0.shape[0]:
        raise ValueError(f"`{name}` must hold one entry per sample, {x0.shape[0]}, got shape {list(labels.shape)}.")
    if labels.device != x0.device:
        raise ValueError(f"`{name}` must be on the device of `x0`, {x0.device}, got {labels.device}.")


def expand_time(t: TimeLike, x: Tensor, name: str = "t") -> Tensor:
    """The time `t` as one time per sample of `x`, shape `[batch]`."""
    if not isinstance(t, Tensor):
        return torch.full(
            x.shape[:1], number(t, name), dtype=torch.promote_types(x.dtype, torch.float32), device=x.device
        )
    batch = x.shape[0]
    if not t.is_floating_point():
        raise TypeError(f"`{name}` must have a floating dtype, got {t.dtype}; pass {name}.to(x.dtype).")
    if t.dtype != x.dtype and torch.finfo(t.dtype).eps > torch.finfo(x.dtype).eps:
        raise TypeError(
            f"`{name}` must be at least as precise as the state, got {t.dtype} times with {x.dtype} states; "
            f"pass {name}.to(x.dtype)."
        )
    if t.device != x.device:
        raise ValueError(
            f"`{name}` must be on the state's device, {x.device}, got {t.device}; pass {name}.to(x.device)."
        )
    if t.ndim == 0:
        return t.expand(batch)
    if t.shape != x.shape[:1]:
        remedy = f"; pass {name}.reshape(-1)" if t.numel() == batch else ""
        raise ValueError(f"`{name}` must be a scalar or have shape [batch] = [{batch}], got {list(t.shape)}{remedy}.")
    return t


def expand_times(s: TimeLike, t: TimeLike, x: Tensor) -> tuple[Tensor, Tensor]:
    """Both times of a map as one time per sample, in the wider of their two dtypes."""
    s, t = expand_time(s, x, "s"), expand_time(t, x, "t")
    wider = torch.promote_types(s.dtype, t.dtype)
    return s.to(wider), t.to(wider)


def number(value: object, name: str) -> float:
    """A finite Python or NumPy number as a float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{name}` must be a number or a tensor, got {type(value).__name__}; pass a float.")
    result = float(value)
    if not math.isfinite(result):
        raise ValueError(f"`{name}` must be finite, got {result}; pass a finite number.")
    return result


def whole(value: object, name: str, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value!r}; pass {least} or more.")
    return value


def per_event(values: Tensor, x: Tensor) -> Tensor:
    """Per-sample numbers `[*more, batch]` as `[*more, batch, 1, ..., 1]`, ready to multiply states like `x`."""
    return values.reshape(values.shape + (1,) * (x.ndim - 1))


def check_result(result: Tensor, x: Tensor, *times: Tensor, name: str) -> Tensor:
    """Refuse a result that is no state like `x`; undo the promotion that times wider than the state bring about."""
    if not isinstance(result, Tensor):
        raise TypeError(
            f"{name} must return a tensor of the shape of the state, {list(x.shape)}, got {type(result).__name__}; "
            f"return the state alone from its forward."
        )
    if result.shape != x.shape:
        raise ValueError(
            f"{name} must return the shape of the state, {list(x.shape)}, got {list(result.shape)}; "
            f"check the reshapes and broadcasts of its forward."
        )
    if result.dtype == x.dtype:
        return result
    promoted = x.dtype
    for t in times:
        promoted = torch.promote_types(promoted, t.dtype)
    if result.dtype == promoted or torch.is_autocast_enabled(x.device.type):
        return result.to(x.dtype)
    raise TypeError(
        f"{name} must return the dtype of the state, {x.dtype}, got {result.dtype}; "
        f"move its parameters with .to({x.dtype}) or convert the state."
    )


def check_per_sample(value: object, x: Tensor, name: str) -> Tensor:
    """The value that a functional has at the states `x`, refused unless it is one number per sample."""
    if isinstance(value, Tensor) and value.shape == x.shape[:1]:
        return value
    given = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise ValueError(f"`{name}` must give one number per sample, [{len(x)}], got {given}; reduce over the event.")


def hints_of(kind: Any) -> Mapping[str, Any]:
    """The types of the fields of a dataclass, worked out once."""
    if kind not in _HINTS:
        _HINTS[kind] = get_type_hints(kind)
    return _HINTS[kind]


def fits(kind: Any, value: Any) -> bool:
    """Whether a value is of the kind that the annotation of a setting names; a whole number is a number too."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(one, value) for one in inner)
    if origin is Literal:
        return any(value == known and type(value) is type(known) for known in inner)
    if origin is tuple:
        return isinstance(value, tuple | list) and all(fits(inner[0], item) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, types.NoneType if kind is None else kind)


def words(kind: Any) -> str:
    """What a kind is called."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(words(one) for one in get_args(kind) if get_origin(one) is not Mapping)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list of {words(get_args(kind)[0])}"
    if is_dataclass(kind):
        return "a group of settings"
    known = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", types.NoneType: "none"}
    return known.get(kind, str(kind))

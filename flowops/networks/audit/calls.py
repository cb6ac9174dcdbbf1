"""The calls of the modules of a network, recorded while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Call:
    """One call of a module: copies of what it was given and of what it returned."""

    name: str
    module: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    result: Any

    def inputs(self) -> list[Tensor]:
        """The floating tensors it was given."""
        return floats([*self.arguments, *self.keywords.values()])

    def outputs(self) -> list[Tensor]:
        """The floating tensors it returned."""
        return floats(self.result if isinstance(self.result, tuple | list) else [self.result])

    def again(self, *inputs: Tensor) -> Tensor:
        """What the module makes of other floating tensors in the same places, as one vector."""
        rest = list(inputs)
        arguments = [rest.pop(0) if _floating(value) else value for value in self.arguments]
        keywords = {key: rest.pop(0) if _floating(value) else value for key, value in self.keywords.items()}
        return flattened(self.module(*arguments, **keywords))


@dataclass(frozen=True)
class Recording:
    """The calls in the order in which they ended, and the result, or the error with the module that raised it."""

    calls: list[Call]
    result: Any = None
    error: Exception | None = None
    raised_in: str = ""


def record(network: nn.Module, run: Callable[[], Any]) -> Recording:
    """What happens within `network` during `run()`, without a graph."""
    calls: list[Call] = []
    open_calls: list[Call] = []

    def before(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            copies = tuple(_copy(value) for value in arguments), {key: _copy(value) for key, value in keywords.items()}
            open_calls.append(Call(name, module, *copies, None))

        return hook

    def after(*passed: Any) -> None:
        call, result = open_calls.pop(), passed[-1]
        copy = tuple(_copy(value) for value in result) if isinstance(result, tuple | list) else _copy(result)
        calls.append(Call(call.name, call.module, call.arguments, call.keywords, copy))

    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
        hooks.append(module.register_forward_hook(after, with_kwargs=True))
    try:
        with torch.no_grad():
            result = run()
    except Exception as error:  # whatever a network raises is what the audit is to name
        return Recording(calls, None, error, open_calls[-1].name if open_calls else "")
    finally:
        for hook in hooks:
            hook.remove()
    return Recording(calls, result)


def floats(values: Any) -> list[Tensor]:
    """The floating tensors among `values`."""
    return [value for value in values if _floating(value)]


def flattened(result: Any) -> Tensor:
    """The floating tensors of a result as one vector."""
    tensors = floats(result if isinstance(result, tuple | list) else [result])
    return torch.cat([tensor.reshape(-1) for tensor in tensors]) if tensors else torch.zeros(0)


def _floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value

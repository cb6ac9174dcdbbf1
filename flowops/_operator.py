"""What fields and maps share: conditioning by currying, and one way to reach every operator inside an operator.

Packages that make operators of operators use five members beside the call, and nothing else of an operator:

* `given(**conditions)`: the same operator with conditions fixed, wherever one inside takes them;
* `subset(rows)`: the same operator for some rows of the batch, with conditions per sample indexed alike;
* `takes(name)`: whether `given` would find a place for a condition of that name;
* `dependencies()`: what gradients can flow to besides the arguments;
* `check_conditions(x)`: refuses conditions of another batch size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final, Self

from torch import Tensor, nn

NO_CONDITIONS: Final[Mapping[str, Any]] = {}  # replaced, never changed; no mapping proxy, which no compiler reads


class Operator(nn.Module):
    """A module whose calls check their arguments once, and whose conditioning is currying.

    `given(label=y)` is the same operator with `label=y` passed to every `forward` inside it that takes a `label`. The
    result shares parameters with the original. Conditions are held as they were given: `.to()` does not move them, and
    a tensor condition with at least one axis holds one entry per sample.
    """

    _unconditioned: ClassVar[tuple[str, ...]] = ()  # operators inside that `given` does not reach, by attribute name
    _held: ClassVar[
        tuple[str, ...]
    ] = ()  # keyword arguments of `forward` that belong to the operator: `subset` indexes
    # them like conditions, `given` cannot replace them
    _conditions: Mapping[str, Any] = NO_CONDITIONS

    def given(self, **conditions: Any) -> Self:
        """The operator with these conditions fixed; a condition given before is replaced.

        Raises:
            TypeError: if no `forward` in the operator takes a condition of that name.
        """
        taken: set[str] = set()

        def bind(operator: Operator) -> None:
            accepted = {name: value for name, value in conditions.items() if operator._accepts(name)}
            operator._conditions = {**operator._conditions, **accepted}
            taken.update(accepted)

        result = self._rebuild(bind, conditioned_only=True)
        if unknown := sorted(set(conditions) - taken):
            raise TypeError(
                f"`{unknown[0]}` must be a condition that the forward of {type(self).__name__} takes, and none does; "
                f"add it to the signature of that forward as a keyword argument."
            )
        return result

    def subset(self, rows: Tensor) -> Self:
        """The operator for a subset of the batch: per-sample conditions are indexed by `rows`."""

        def select(operator: Operator) -> None:
            operator._conditions = {
                name: value[rows] if isinstance(value, Tensor) and value.ndim else value
                for name, value in operator._conditions.items()
            }

        return self._rebuild(select)

    def takes(self, name: str) -> bool:
        """Whether the operator, or one inside it, takes a condition of this name."""
        return any(isinstance(m, Operator) and m._accepts(name) for m in self.modules())

    def _accepts(self, name: str) -> bool:
        """Whether the `forward` of this operator itself takes a condition of this name."""
        return name not in self._held and takes(self.forward, name)

    def dependencies(self) -> tuple[Tensor, ...]:
        """What a value depends on besides its arguments: parameters, and conditions that require a gradient."""
        operators = [m for m in self.modules() if isinstance(m, Operator)]
        conditions = [value for operator in operators for value in operator._conditions.values()]
        return (*self.parameters(), *(c for c in conditions if isinstance(c, Tensor) and c.requires_grad))

    def _rebuild(self, change: Callable[[Operator], None], conditioned_only: bool = False) -> Self:
        """A copy that shares parameters, with `change` applied to it and to every operator inside it."""
        result = _copy(self, change, conditioned_only)
        change(result)
        return result

    def check_conditions(self, x: Tensor) -> None:
        """Refuse a condition per sample that is not one of the batch `x`."""
        for name, value in self._conditions.items():
            if isinstance(value, Tensor) and value.ndim and value.shape[0] != x.shape[0]:
                raise ValueError(
                    f"`{name}` must be a scalar or hold one entry per sample, {x.shape[0]}, got shape "
                    f"{list(value.shape)}; pass a condition of the batch's size to given()."
                )


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether `function` has a keyword argument of this name (or takes any).

    A network whose signature says more than it was built for names its conditions in `accepted_conditions`.
    """
    if isinstance(function, Operator):  # it holds its conditions itself
        return False
    if (accepted := getattr(function, "accepted_conditions", None)) is not None:
        return name in accepted
    try:
        parameters = inspect.signature(function.forward if isinstance(function, nn.Module) else function).parameters
    except ValueError:  # a builtin without a signature
        return False
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    operands = ("s", "t", "x")
    return any(
        p.kind is p.VAR_KEYWORD or (p.name == name not in operands and p.kind in named) for p in parameters.values()
    )


def hidden_module(function: Callable[..., Any]) -> nn.Module | None:
    """The module whose parameters a method of it hides, or a partial application; None for the module and others.

    One with operators inside stays hidden: `given` and `subset` copy operators, and the function knows the first ones.
    """
    if isinstance(function, nn.Module):
        return None
    while isinstance(function, partial):
        function = function.func
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    if not isinstance(owner, nn.Module) or any(isinstance(m, Operator) for m in owner.modules()):
        return None
    return owner


def condition_of(operator: Operator, labels: Tensor) -> str:
    """The name by which an operator takes the labels of samples: `condition` for floating ones, if it knows that."""
    return "condition" if labels.is_floating_point() and operator.takes("condition") else "label"


def _copy(module: nn.Module, change: Callable[[Operator], None], conditioned_only: bool) -> Any:
    """A shallow copy sharing parameters; modules that hold operators are copied too, all others are shared."""
    result = module.__class__.__new__(module.__class__)
    result.__dict__.update(module.__dict__)
    kept = module._unconditioned if conditioned_only and isinstance(module, Operator) else ()
    result._modules = {
        name: child
        if child is None or name in kept
        else child._rebuild(change, conditioned_only)
        if isinstance(child, Operator)
        else _copy(child, change, conditioned_only)
        if any(isinstance(m, Operator) for m in child.modules())
        else child
        for name, child in module._modules.items()
    }
    return result

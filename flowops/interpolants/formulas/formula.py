r"""A coefficient given by a formula: its value, its square and their derivatives as tapes of torch operations."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from flowops.interpolants.coefficient import Coefficient
from flowops.interpolants.formulas.expressions import derivatives, parse
from flowops.interpolants.formulas.grammar import read
from flowops.interpolants.formulas.lowering import Step, lower

TORCH: Final[dict[str, Callable[..., Tensor]]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "neg": torch.neg,
    "square": torch.square,
    "full_like": torch.full_like,
    "sign": torch.sign,
    "abs": torch.abs,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class Tape:
    """A function of one tensor as elementwise steps (operation, operands); see `lower`.

    Constants are Python floats, so the result has the shape, dtype and device of $t$, and every step is an elementwise
    torch operation, so tapes run inside `vmap`, `jvp` and `torch.compile`.
    """

    steps: tuple[Step, ...]
    result: int

    def __call__(self, t: Tensor) -> Tensor:
        """The value at `t`, of its shape, dtype and device; never `t` itself."""
        registers = [t]
        for name, operands in self.steps:
            values: list[Tensor | float] = []
            for a in operands:
                values.append(registers[a] if isinstance(a, int) else a)  # noqa: PERF401  (every step of a loss comes by)
            registers.append(TORCH[name](*values))
        return registers[self.result] if self.result else t.clone()


class Formula(Coefficient):
    """A coefficient given by an expression in `t`; its derivatives are symbolic.

    Raises:
        TypeError, ValueError: for an expression outside the grammar (see `flowops.interpolants.parse`).
    """

    def __init__(self, expression: str, name: str) -> None:
        super().__init__()
        if not isinstance(expression, str):
            read(expression, name)  # says so; the cache wants a hashable argument
        self.expression = expression
        self.rules = _tapes(expression, name)

    @property
    def text(self) -> str:
        return self.expression


@functools.lru_cache(maxsize=256)
def _tapes(expression: str, name: str) -> dict[str, Tape]:
    """The rules of a coefficient."""
    value = parse(expression, name)
    square, derivative, half_square_derivative = derivatives(value)
    rules = {"value": value, "square": square, "derivative": derivative}
    rules["half_square_derivative"] = half_square_derivative
    return {rule: Tape(*lower(f, name)) for rule, f in rules.items()}

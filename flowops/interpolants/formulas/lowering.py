r"""Sympy expressions lowered to a flat list of elementwise operations.

The list holds no sympy objects: strings, register numbers and floats only. Register 0 is $t$, each step writes the next
one. Equal subexpressions share a register.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from flowops.interpolants.formulas.grammar import MAX_CONSTANT, refuse

if TYPE_CHECKING:
    import sympy

Operand = int | float
"""A register (int) or a constant (float)."""
Step = tuple[str, tuple[Operand, ...]]
"""The name of an operation and what it is applied to."""
OPERATIONS: Final = frozenset(
    ("add", "sub", "mul", "div", "pow", "neg", "square", "full_like", "sign", "abs", "sqrt", "exp", "expm1", "log")
    + ("log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh")
)


def lower(f: sympy.Expr, name: str = "expression") -> tuple[tuple[Step, ...], int]:
    """The steps of a sympy expression in one symbol, and the register of its value.

    Raises:
        ValueError: if a constant of it is not finite and real, or a function of it has no torch counterpart.
    """
    from sympy.core.parameters import distribute

    lowering = _Lowering(name)
    with distribute(False):
        result = lowering.operand(f)
    if isinstance(result, float):
        result = lowering.step("full_like", 0, result)
    return tuple(lowering.steps), int(result)


class _Lowering:
    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[Step] = []
        self.registers: dict[Any, Operand] = {}

    def step(self, operation: str, *operands: Operand) -> Operand:
        """The register of an operation, computed once."""
        key = (operation, *((type(a), a) for a in operands))
        if key not in self.registers:
            self.steps.append((operation, operands))
            self.registers[key] = len(self.steps)
        return self.registers[key]

    def operand(self, f: sympy.Expr) -> Operand:
        if not f.free_symbols:
            return self.constant(f)
        if f not in self.registers:
            self.registers[f] = self.register(f)
        return self.registers[f]

    def register(self, f: sympy.Expr) -> Operand:
        if f.is_Symbol:
            return 0
        if f.is_Add:
            return self.total(f)
        if f.is_Mul:
            return self.product(f)
        if f.is_Pow:
            return self.power(f.base, f.exp)
        operation = f.func.__name__.lower()  # sympy's Abs, for the square root of a square
        if operation not in OPERATIONS or len(f.args) != 1:
            refuse(self.name, "have a derivative in elementary functions", f"one with {f.func}", "write it otherwise")
        return self.step(operation, self.operand(f.args[0]))

    def constant(self, f: sympy.Expr) -> float:
        value = f.evalf(25)
        try:
            number = float(value) if value.is_Float or value.is_Rational else math.nan
        except OverflowError:
            number = math.inf
        if not abs(number) <= MAX_CONSTANT:
            refuse(
                self.name,
                f"hold finite real constants only, and so must its derivative (up to {MAX_CONSTANT:.0e})",
                f"{str(f)[:60]!a}",
                "write it in another form, or pass a callable to Interpolant",
            )
        return number

    def total(self, f: sympy.Expr) -> Operand:
        """A sum, constant first; terms with a minus sign are subtracted."""
        constant, varying = f.as_independent(*f.free_symbols, as_Add=True)
        terms = varying.as_ordered_terms() if varying.is_Add else [varying]
        positive = [self.operand(g) for g in terms if not g.as_coeff_Mul()[0].is_negative]
        negative = [self.operand(-g) for g in terms if g.as_coeff_Mul()[0].is_negative]
        if constant != 0:
            positive.insert(0, self.operand(constant))
        first = positive.pop(0) if positive else self.step("neg", negative.pop(0))
        return self.fold("sub", self.fold("add", first, positive), negative)

    def product(self, f: sympy.Expr) -> Operand:
        """A product as numerator / denominator * constant, so that a vanishing denominator gives its infinity."""
        constant, varying = f.as_independent(*f.free_symbols, as_Add=False)
        factors = varying.args if varying.is_Mul else (varying,)
        above = [g for g in factors if not _is_inverse(g)]
        below = [self.operand(1 / g) for g in factors if _is_inverse(g)]
        scale = self.constant(constant)
        if not above:
            return self.step("div", scale, self.fold("mul", below[0], below[1:]))
        numerators = [self.operand(g) for g in above]
        result = self.fold("mul", numerators[0], numerators[1:])
        if below:
            result = self.step("div", result, self.fold("mul", below[0], below[1:]))
        if scale == 1:
            return result
        return self.step("neg", result) if scale == -1 else self.step("mul", result, scale)

    def fold(self, operation: str, first: Operand, others: list[Operand]) -> Operand:
        """`first` combined with each of the others in turn."""
        result = first
        for other in others:
            result = self.step(operation, result, other)
        return result

    def power(self, base: sympy.Expr, exponent: sympy.Expr) -> Operand:
        value = self.operand(exponent)
        if isinstance(value, float) and value < 0:
            return self.step("div", 1.0, self.operand(base**-exponent))
        operation = {2.0: "square", 0.5: "sqrt"}.get(value)
        if isinstance(value, float) and operation:
            return self.step(operation, self.operand(base))
        return self.step("pow", self.operand(base), value)


def _is_inverse(f: sympy.Expr) -> bool:
    return f.is_Pow and f.exp.is_Number and f.exp.is_negative

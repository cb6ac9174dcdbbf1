r"""Expressions in $t$ as sympy expressions, and their derivatives, exact and in closed form.

The syntax tree comes from `grammar.read`. Numbers become exact rationals and $t$ is a nonnegative real symbol. What is
written is what is computed: sums are not multiplied out, since $\tfrac1{10}(1-t)$ keeps its digits near $t=1$ and
$\tfrac1{10}-\tfrac1{10}t$ does not. Constants that appear only by cancellation (`t-t`) are checked after every step.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowops.interpolants.formulas.grammar import MAX_CONSTANT, MAX_EXPONENT, quote, read, refuse

if TYPE_CHECKING:
    import sympy

_MAX_BITS = 2048


def parse(expression: str, name: str = "expression") -> sympy.Expr:
    r"""The sympy expression of a string in the grammar of `grammar.read`, in the symbol `symbol()`.

    `expm1`, `log1p` and `abs` are functions of their own (accurate, and real-valued with derivative `sign`); `.doit()`
    turns them into sympy's.

    Raises:
        TypeError: if `expression` is no string.
        ValueError: if it lies outside the grammar, or simplifies to a constant that is not finite and real.
    """
    tree = read(expression, name)
    from sympy.core.parameters import distribute

    try:
        with distribute(False):
            return _Builder(expression, name).build(tree)
    except (ArithmeticError, RecursionError, MemoryError):
        refuse(
            name,
            "be an expression that can be simplified",
            quote(expression),
            "write it in a simpler form, or a callable",
        )


def derivatives(value: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr, sympy.Expr]:
    r"""$f^2$, $\dot f$ and $f\dot f=\tfrac12\tfrac{d}{dt}f^2$.

    The last is the derivative of the square, so it stays finite where $f$ vanishes like a square root.
    """
    from sympy.core.parameters import distribute

    with distribute(False):
        return value**2, _derivative(value, {}), _derivative(value**2, {}) / 2


def symbol() -> sympy.Symbol:
    """The symbol of time."""
    import sympy

    return sympy.Symbol("t", nonnegative=True)


def _derivative(f: sympy.Expr, known: dict[sympy.Expr, sympy.Expr]) -> sympy.Expr:
    r"""$\dot f$ by the rules of calculus, with $\tfrac{d}{dt}g^n=n\,g^{n-1}\dot g$ for every $g$.

    `sympy.diff` writes it as $g^n\,n\dot g/g$, which is $0/0$ where a product $g$ vanishes.
    """
    import sympy

    if f in known:
        return known[f]
    if not f.free_symbols:
        result = sympy.Integer(0)
    elif f.is_Symbol:
        result = sympy.Integer(1)
    elif f.is_Add:
        result = sympy.Add(*(_derivative(g, known) for g in f.args))
    elif f.is_Mul:
        varying = [g for g in f.args if g.free_symbols]
        result = sympy.Add(
            *(sympy.Mul(_derivative(g, known), *(h for h in f.args if h is not g)) for g in varying),
        )
    elif f.is_Pow and not f.exp.free_symbols:
        result = f.exp * f.base ** (f.exp - 1) * _derivative(f.base, known)
    elif f.is_Pow:
        base, exponent = f.args
        rate = _derivative(exponent, known) * sympy.log(base)
        result = f * (rate + (exponent * _derivative(base, known) / base if base.free_symbols else 0))
    else:
        result = f.fdiff(1) * _derivative(f.args[0], known)
    known[f] = result
    return result


class _Builder:
    """Builds a checked syntax tree in sympy, step by step, and looks at the constants that each step leaves."""

    def __init__(self, expression: str, name: str) -> None:
        self.given, self.name = quote(expression), name

    def build(self, node: ast.expr) -> sympy.Expr:
        import sympy

        match node:
            case ast.Constant(value=value):
                return sympy.Rational(str(value))
            case ast.Name(id=identifier):
                return symbol() if identifier == "t" else sympy.pi
            case ast.UnaryOp(op=op, operand=operand):
                result = self.build(operand)
                return -result if isinstance(op, ast.USub) else result
            case ast.BinOp(left=left, op=op, right=right):
                return self.checked(self.combine(op, self.build(left), self.build(right)))
            case ast.Call(func=ast.Name(id=function), args=[argument]):
                operand = self.build(argument)
                if function in ("exp", "expm1"):
                    self.check_exponent(operand)
                return self.checked(functions()[function](operand))
        raise AssertionError(f"{ast.dump(node)} is outside the grammar")

    def combine(self, op: ast.operator, a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
        match op:
            case ast.Add():
                return a + b
            case ast.Sub():
                return a - b
            case ast.Mult():
                return a * b
            case ast.Div():
                return a / b
        self.check_exponent(b)
        if b.is_number and not abs(b.evalf(15)) <= MAX_EXPONENT:
            self.refuse_exponent()
        return a**b

    def check_exponent(self, exponent: sympy.Expr) -> None:
        r"""Refuse $e^{c\log n}$ with a large $c$, which sympy turns into the exact number $n^c$."""
        import sympy

        if exponent.has(sympy.log) and any(abs(c) > MAX_EXPONENT for c in exponent.atoms(sympy.Rational)):
            self.refuse_exponent()

    def refuse_exponent(self) -> None:
        refuse(
            self.name,
            f"have constant exponents up to {MAX_EXPONENT}",
            f"a larger one in {self.given}",
            "write it in another form, or a callable",
        )

    def checked(self, result: sympy.Expr) -> sympy.Expr:
        import sympy

        undefined = result.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I)
        large = any(max(int(c.p).bit_length(), int(c.q).bit_length()) > _MAX_BITS for c in result.atoms(sympy.Rational))
        if undefined or large or (result.is_number and not abs(result.evalf(15)) <= MAX_CONSTANT):
            refuse(
                self.name,
                "hold finite real constants only",
                f"an undefined or very large one in {self.given}",
                "replace it by a finite number",
            )
        return result


@functools.cache
def functions() -> dict[str, Callable[[Any], Any]]:
    """The functions of the grammar in sympy, and `sign`, which is not in the grammar but in derivatives."""
    import sympy

    def function(name: str, slope: Callable[[Any], Any], constant: Callable[[Any], Any]) -> Any:
        """A function that stays as it is written, except of a constant."""
        members = {
            "nargs": 1,
            "eval": classmethod(lambda _, u: constant(u) if u.is_number else None),
            "fdiff": lambda self, _=1: slope(self.args[0]),
            "doit": lambda self, **hints: constant(self.args[0].doit(**hints)),
        }
        return type(name, (sympy.Function,), members)

    sign = function("sign", lambda _: sympy.Integer(0), sympy.sign)
    names = ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "sqrt")
    return {
        **{name: getattr(sympy, name) for name in names},
        "expm1": function("expm1", sympy.exp, lambda u: sympy.exp(u) - 1),
        "log1p": function("log1p", lambda u: 1 / (1 + u), lambda u: sympy.log(1 + u)),
        "abs": function("abs", sign, sympy.Abs),
        "sign": sign,
    }

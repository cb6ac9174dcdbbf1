r"""The grammar of expressions in $t$: a whitelist over Python's `ast`, checked in full before anything is built.

Numbers, `t`, `pi`, `+ - * / **`, signs and elementary functions of one argument. Text outside it is refused with a
sentence that says what to write instead. Constants are evaluated here in floats, so that no later stage meets an
undefined or an astronomically large one; nothing is ever evaluated as Python.
"""

from __future__ import annotations

import ast
import math
import operator
import string
import warnings
from collections.abc import Callable
from typing import Final, NoReturn

FUNCTIONS: Final[dict[str, Callable[[float], float]]] = {
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh")},
    **{name: getattr(math, name) for name in ("exp", "expm1", "log", "log1p", "sqrt")},
    "abs": abs,
}
OPERATORS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
MAX_LENGTH: Final = 500
MAX_NODES: Final = 400
MAX_DEPTH: Final = 40
MAX_INTEGER: Final = 10**15
MAX_EXPONENT: Final = 64
MAX_CONSTANT: Final = 1e38
"""Constants stay finite in float32."""

_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_+-*/()., ")
_HINTS = {
    "^": "write powers with **",
    "e": "write exp(1)",
    "ln": "write log",
    "π": "write pi",
    "arcsin": "write asin",
    "arccos": "write acos",
    "arctan": "write atan",
}


def refuse(name: str, wanted: str, given: str, remedy: str) -> NoReturn:
    """Raise the one sentence with which an expression is turned down."""
    raise ValueError(f"`{name}` must {wanted}, got {given}; {remedy}.")


def read(expression: object, name: str = "expression") -> ast.expr:
    """The syntax tree of an expression, every node of which belongs to the grammar.

    Raises:
        TypeError: if `expression` is no string.
        ValueError: if it is empty, too long, malformed, too deep, uses anything outside the grammar, raises to a
        constant
            power beyond 64 (nested powers multiplied), or holds a constant that is not finite.
    """
    if not isinstance(expression, str):
        raise TypeError(
            f'`{name}` must be a string such as "1-t", got {type(expression).__name__}; '
            f"pass callables to Interpolant(alpha, beta) instead."
        )
    _check_text(expression, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply"
        raise ValueError(
            f"`{name}` must be a well-formed expression in t, got {quote(expression)} ({reason}); check its "
            f"operators and parentheses."
        ) from None
    _check_size(tree, name)
    _Checker(name).measure(tree)
    return tree


def quote(expression: str) -> str:
    """The expression, shortened and escaped for a message."""
    return ascii(expression if len(expression) <= 60 else expression[:57] + "...")


def _check_text(expression: str, name: str) -> None:
    if not expression.strip():
        refuse(name, "be an expression in t", "an empty string", 'write one, for example "1-t"')
    if len(expression) > MAX_LENGTH:
        refuse(
            name,
            f"have at most {MAX_LENGTH} characters",
            str(len(expression)),
            "shorten it, or pass a callable to Interpolant",
        )
    foreign = next((c for c in expression.strip() if c not in _CHARACTERS), None)
    if foreign is not None:
        refuse(
            name,
            "hold only numbers, t, pi, functions and + - * / ** ( )",
            f"the character {foreign!a} in {quote(expression)}",
            _HINTS.get(foreign, "remove it"),
        )


def _check_size(tree: ast.expr, name: str) -> None:
    level: list[ast.AST] = [tree]
    depth = nodes = 0
    while level:
        depth, nodes = depth + 1, nodes + len(level)
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            refuse(
                name,
                f"have at most {MAX_NODES} parts nested at most {MAX_DEPTH} deep",
                "a larger expression",
                "simplify it, or pass a callable to Interpolant",
            )
        level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


class _Checker:
    """Checks every node, and measures it: its value if it is constant, and its degree.

    The degree is the largest product of exponents on a path to a leaf; it bounds the digits of every exact constant.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def measure(self, node: ast.expr) -> tuple[float | None, float]:
        match node:
            case ast.Constant(value=value):
                return self.literal(node, value), 1.0
            case ast.Name(id=identifier):
                return self.identifier(identifier), 1.0
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                value, degree = self.measure(operand)
                return (-value if value is not None and isinstance(sign, ast.USub) else value), degree
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return self.power(node, left, right)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                (a, a_degree), (b, b_degree) = self.measure(left), self.measure(right)
                value = None if a is None or b is None else self.finite(node, OPERATORS[type(op)], a, b)
                return value, max(a_degree, b_degree)
            case ast.Call():
                return self.call(node)
        refuse(
            self.name,
            "hold only numbers, t, pi, + - * / ** and functions of one argument",
            f"{ast.unparse(node)!a} ({_KINDS.get(type(node), type(node).__name__)})",
            "remove it",
        )

    def literal(self, node: ast.expr, value: object) -> float:
        if type(value) not in (int, float):
            refuse(self.name, "hold real numbers only", f"{value!a}", "write an integer or a decimal number")
        if isinstance(value, int) and value > MAX_INTEGER:
            refuse(
                self.name,
                f"hold integers up to {MAX_INTEGER:.0e}",
                f"one of {len(str(value))} digits",
                "write it as a decimal number such as 1.5e20",
            )
        return self.finite(node, float, value)

    def identifier(self, identifier: str) -> float | None:
        if identifier == "t":
            return None
        if identifier == "pi":
            return math.pi
        if identifier in FUNCTIONS:
            refuse(self.name, "call its functions", f"{identifier!a} alone", f"write {identifier}(...)")
        hint = _HINTS.get(identifier)
        refuse(
            self.name,
            f"use the names t, pi, {', '.join(FUNCTIONS)} only",
            f"the unknown name {identifier!a}",
            hint or "replace it by one of these or by its value",
        )

    def power(self, node: ast.expr, left: ast.expr, right: ast.expr) -> tuple[float | None, float]:
        (base, degree), (exponent, exponent_degree) = self.measure(left), self.measure(right)
        if exponent is None:
            return None, max(degree, exponent_degree)
        degree *= max(abs(exponent), 1.0)
        if degree > MAX_EXPONENT:
            refuse(
                self.name,
                f"have constant exponents up to {MAX_EXPONENT} (nested ones multiplied)",
                f"{quote(ast.unparse(node))} with {degree:.4g}",
                "write exp(...) of a product, or a callable",
            )
        return (None if base is None else self.finite(node, math.pow, base, exponent)), degree

    def call(self, node: ast.Call) -> tuple[float | None, float]:
        text = quote(ast.unparse(node))
        if not isinstance(node.func, ast.Name) or node.func.id in ("t", "pi"):
            refuse(
                self.name,
                f"call only {', '.join(FUNCTIONS)}",
                text,
                "call functions by their plain names, and write products with *",
            )
        if node.func.id not in FUNCTIONS:
            self.identifier(node.func.id)
        if node.keywords or len(node.args) != 1 or isinstance(node.args[0], ast.Starred):
            refuse(self.name, "give each function one argument", text, f"write {node.func.id}(...) of one expression")
        argument, degree = self.measure(node.args[0])
        return (None if argument is None else self.finite(node, FUNCTIONS[node.func.id], argument)), degree

    def finite(self, node: ast.expr, function: Callable[..., float], *arguments: object) -> float:
        try:
            value = float(function(*arguments))
        except OverflowError:
            value = math.inf
        except (ValueError, ZeroDivisionError):
            value = math.nan
        if not abs(value) <= MAX_CONSTANT:
            fault = "is undefined" if math.isnan(value) else "overflows"
            refuse(
                self.name,
                f"hold finite constants only (up to {MAX_CONSTANT:.0e})",
                f"{quote(ast.unparse(node))}, which {fault}",
                "replace it by a finite number",
            )
        return value


_KINDS: dict[type[ast.AST], str] = {
    ast.Attribute: "attribute access",
    ast.Subscript: "a subscript",
    ast.Compare: "a comparison",
    ast.BoolOp: "a logical operation",
    ast.UnaryOp: "a logical operation",
    ast.BinOp: "another operator",
    ast.IfExp: "a condition",
    ast.Tuple: "a tuple",
    ast.Lambda: "a function definition",
    ast.Starred: "an unpacking",
}

"""The small errors that are made in formulas, as changes of one expression or statement of a syntax tree.

Left out are docstrings, annotations, decorators, imports, `repr`s, messages, and the checks of arguments: whether a
refusal is worded and placed right is what `tests/` assert sentence by sentence. Two arguments of a call are swapped
where they are of one sort, two times or two states, so that only the numbers can tell.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
ARITHMETIC |= {ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv}
BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OPPOSITE = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
OPPOSITE |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
PAIRS = "sin cos, min max, minimum maximum, amin amax, dt ds, jvp vjp, sum mean, sqrt square, rand randn, alpha beta"
OTHER = {a: b for pair in PAIRS.split(", ") for a, b in (pair.split(), reversed(pair.split()))}
OTHER |= {"exp": "expm1", "log": "log1p", "alpha_dot": "beta_dot", "beta_dot": "alpha_dot"}
REMOVED = {"abs", "sqrt", "square", "log", "exp", "detach", "sigmoid", "sin", "cos", "cumsum", "flip", "reciprocal"}
REMOVED |= {"clamp", "clamp_min", "clamp_max", "nan_to_num", "transpose", "roll"}
ALIKE = (
    "s t u sigma tau start stop end middle, x y z x0 x1 left right, alpha beta gamma, low high, mean std, rtol atol, "
)
ALIKE += "old new, first second, fine coarse, c_s c_t, a b, own other, source target"
SORT = {name: i for i, group in enumerate(ALIKE.split(", ")) for name in group.split()}
CHECKS = re.compile(r"^(_?check\w*|whole|number|__init__|manual_seed)$")
SPOKEN = {"__repr__", "__str__", "extra_repr"}
NUMBERS = re.compile(r"^[\d\s./e+-]*\d[\d\s./e+-]*$")


class Change(NamedTuple):
    """A node of the tree and what takes its place."""

    kind: str
    node: ast.expr | ast.stmt
    new: ast.expr | ast.stmt


def changes(tree: ast.Module) -> Iterator[Change]:
    """Every change of a module, in the order of its text."""
    for statement in tree.body:
        yield from _of_statement(statement)


def _of_statement(node: ast.stmt) -> Iterator[Change]:
    """Those of a statement and of what it holds."""
    if isinstance(node, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom) or _is_text(node):
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in SPOKEN:
        return
    if isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise):
        yield from _of_body(node.orelse)
        return
    if isinstance(node, ast.If):
        yield Change("condition", node.test, _not(node.test))
    if isinstance(node, ast.AugAssign) or isinstance(node, ast.Expr) and not _is_check(node.value):
        yield Change("dropped statement", node, ast.Pass())
    if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield Change("arithmetic", node, _with(node, op=ARITHMETIC[type(node.op)]()))
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "keywords", "targets", "target"):
            continue
        if name == "args":
            value = [default for default in (*value.defaults, *value.kw_defaults) if default is not None]
        yield from _of_body(value if isinstance(value, list) else [value])


def _of_body(nodes: list[Any]) -> Iterator[Change]:
    for node in nodes:
        if isinstance(node, ast.stmt):
            yield from _of_statement(node)
        elif isinstance(node, ast.expr):
            yield from _of_expression(node)
        elif isinstance(node, ast.AST):  # the cases of a match, the items of a with, the handlers of a try
            yield from _of_body([field for _, value in ast.iter_fields(node) for field in _listed(value)])


def _of_expression(node: ast.expr) -> Iterator[Change]:
    """Those of an expression and of its parts."""
    if isinstance(node, ast.JoinedStr) or isinstance(node, ast.BinOp) and isinstance(node.left, ast.JoinedStr):
        return
    for kind, new in _replacements(node):
        yield Change(kind, node, new)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.keyword) and child.arg in ("strict", "out"):
            continue
        if isinstance(child, ast.arguments):
            continue
        inner = child.value if isinstance(child, ast.keyword) else child
        yield from _of_body([inner])


def _replacements(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """What may stand in the place of an expression, with the kind of the change."""
    if isinstance(node, ast.BinOp):
        yield from _of_operation(node)
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
        yield "sign" if isinstance(node.op, ast.USub) else "condition", node.operand
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, ast.Compare):
        for kind, table in (("boundary", BOUNDARY), ("comparison", OPPOSITE)):
            if type(node.ops[0]) in table:
                yield kind, _with(node, ops=[table[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.BoolOp):
        yield "condition", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.IfExp):
        yield "condition", _with(node, test=_not(node.test))
    elif isinstance(node, ast.Call):
        yield from _of_call(node)


def _of_operation(node: ast.BinOp) -> Iterator[tuple[str, ast.expr]]:
    if type(node.op) in ARITHMETIC:
        yield "arithmetic", _with(node, op=ARITHMETIC[type(node.op)]())
    if isinstance(node.op, ast.Add | ast.Mult):
        yield "dropped term", node.left
        yield "dropped term", node.right
    elif isinstance(node.op, ast.Sub | ast.Div):
        yield "dropped term", node.left
    if isinstance(node.op, ast.Mult | ast.Div):
        yield "sign", ast.UnaryOp(ast.USub(), node)
    if isinstance(node.op, ast.BitAnd | ast.BitOr) and isinstance(node.left, ast.Compare | ast.Call | ast.UnaryOp):
        yield "condition", _with(node, op=ast.BitOr() if isinstance(node.op, ast.BitAnd) else ast.BitAnd())


def _of_constant(node: ast.Constant) -> Iterator[tuple[str, ast.expr]]:
    value = node.value
    if isinstance(value, bool):
        yield "switch", ast.Constant(not value)
    elif isinstance(value, int):
        yield "constant", ast.Constant(value + 1)
    elif isinstance(value, float):
        yield "constant", ast.Constant(value * 1.1 if value else 0.1)
    elif isinstance(value, str) and NUMBERS.match(value):
        words = value.split()
        places = [i for i, word in enumerate(words) if word != "0"]
        middle, last = places[len(places) // 2], places[-1]
        yield "constant", ast.Constant(_said(words, middle, "1" + words[middle].removeprefix("-")))
        yield "sign", ast.Constant(_said(words, last, f"-{words[last]}".removeprefix("--")))


def _of_call(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    for i, (first, second) in enumerate(zip(node.args, node.args[1:], strict=False)):
        sorts = {SORT.get(_last_name(a)) for a in (first, second)}
        if len(sorts) == 1 and None not in sorts and ast.dump(first) != ast.dump(second):
            yield "swapped", _with(node, args=[*node.args[:i], second, first, *node.args[i + 2 :]])
    if isinstance(node.func, ast.Attribute):
        name = node.func.attr
        if name in OTHER:
            yield "other function", _with(node, func=_with(node.func, attr=OTHER[name]))
        on_module = isinstance(node.func.value, ast.Name) and node.func.value.id in ("torch", "math", "np")
        if name in REMOVED:
            yield "dropped function", node.args[0] if on_module and node.args else node.func.value


def _with(node: Any, **fields: Any) -> Any:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _not(node: ast.expr) -> ast.expr:
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return node.operand if negated else ast.UnaryOp(ast.Not(), node)  # type: ignore[attr-defined]


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_check(node: ast.expr) -> bool:
    """Whether a call refuses an argument, or is no call."""
    return not isinstance(node, ast.Call) or bool(CHECKS.match(_last_name(node.func)))


def _said(words: list[str], place: int, word: str) -> str:
    return " ".join([*words[:place], word, *words[place + 1 :]])


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]

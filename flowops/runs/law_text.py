"""A law of times as text: the call that makes it, never evaluated as Python, or where one of your own is."""

from __future__ import annotations

import ast
from typing import Any

from flowops import times
from flowops._named import load


def parse_law(text: str) -> times.TimeLaw | None:
    """A law from the text of the call that makes it: names of `flowops.times`, numbers and keywords only.

    `package.module:factory` is a law of one's own, or what makes it without arguments.

    Raises:
        ValueError: for anything else.
    """

    def read(node: ast.expr) -> Any:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in times.__all__:
            keywords = {str(k.arg): read(k.value) for k in node.keywords}
            return getattr(times, node.func.id)(*map(read, node.args), **keywords)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -read(node.operand)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            return node.value
        raise ValueError

    if text.lower() == "none":
        return None
    if ":" in text:
        return _checked(_loaded(text), text)
    try:
        law = read(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        detail = f" ({error})" if str(error) else ""
        raise ValueError(
            f"`law` must be a law of flowops.times with numbers, such as UpperTriangle(), got {text[:80]!r}{detail}."
        ) from None
    return _checked(law, text)


def _loaded(text: str) -> Any:
    found = load(text, "law")
    return found() if callable(found) and not isinstance(found, times.TimeLaw) else found


def _checked(law: Any, text: str) -> times.TimeLaw:
    if not isinstance(law, times.TimeLaw):
        raise ValueError(f"`law` must be a law of pairs of times, such as UpperTriangle(), got {text!r}.")
    return law

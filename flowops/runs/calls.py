"""Values of options as text: the call that makes one, never evaluated as Python, or where one of your own is.

A law of times is written `UpperTriangle(LogitNormal(-0.4, 1.0))`, a norm `Lp(2.0)`, a weight `TimePower(2)`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from flowops import methods, times
from flowops._named import load, parse_values
from flowops.methods import Annealing, Norm, Weight

LAWS: Mapping[str, Any] = {name: getattr(times, name) for name in times.__all__}
NORMS: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (methods.Squared, methods.MeanSquared, methods.PseudoHuber, methods.Lp, methods.Laplace)
}
ANNEALINGS: Mapping[str, Any] = {kind.__name__: kind for kind in (methods.Sigmoid, methods.Exponential)}
WEIGHTS: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (
        methods.Constant,
        methods.TimePower,
        methods.Adaptive,
        methods.InverseSpeed,
        methods.InverseStep,
        methods.TruncatedSNR,
        methods.InverseGuidance,
        methods.Denoising,
        methods.ShiftedSNR,
        methods.LearnedPositional,
    )
}
GUIDANCE: Mapping[str, Any] = {kind.__name__: kind for kind in (methods.PowerLaw, methods.RandomInterval)}


def parse_law(text: str) -> times.TimeLaw | None:
    """A law of pairs of times, or None.

    Raises:
        ValueError: for anything else.
    """
    law: times.TimeLaw | None = _parse_time(
        text, "law", times.TimeLaw, "a law of pairs of times, such as UpperTriangle()"
    )
    return law


def parse_one_time(text: str) -> times.OneTime | None:
    """A law of one time, or None.

    Raises:
        ValueError: for anything else.
    """
    law: times.OneTime | None = _parse_time(
        text, "diagonal", times.OneTime, "a law of one time, such as UniformAngle()"
    )
    return law


def _parse_time(text: str, setting: str, kind: type, wanted: str) -> Any:
    if text.lower() == "none":
        return None
    law = parse_call(text, setting, LAWS, "a law of flowops.times with numbers, such as UpperTriangle(UniformAngle())")
    if not isinstance(law, kind):
        raise ValueError(f"`{setting}` must be {wanted}, got {text!r}.")
    return law


def parse_norm(text: str) -> str | Norm:
    """A norm, or the name of one; see `parse_call`."""
    if "(" not in text and ":" not in text:
        return text
    norm: str | Norm = parse_call(text, "norm", NORMS, "a norm of flowops.methods with numbers, such as Lp(2.0)")
    return norm


def parse_weight(text: str) -> float | str | Weight | Callable[..., Any]:
    """A number, `learned`, a weight or a function of (s, t); see `parse_call`."""
    if text == "learned":
        return text
    if "(" not in text and ":" not in text:
        try:
            return float(text)
        except ValueError:
            raise ValueError(
                f"`weight` must be a number, learned, a weight such as TimePower(2), or package.module:name, got "
                f"{text!r}; pass one of them."
            ) from None
    made: Weight = parse_call(text, "weight", WEIGHTS, "a weight of flowops.methods with numbers, such as TimePower(2)")
    return made


def parse_guidance(text: str, setting: str = "guidance") -> Any:
    """A scale, two numbers with a comma between them, or what draws either; see `parse_call`."""
    if "(" not in text and ":" not in text:
        return parse_values([f"{setting}={text}"], "options")[setting]
    return parse_call(text, setting, GUIDANCE, "a law of flowops.methods with numbers, such as PowerLaw(1, 8, 1)")


def parse_annealing(text: str) -> str | tuple[Any, ...] | Annealing:
    """An annealing, the name of one, or two numbers of steps; see `parse_call`."""
    if "(" in text or ":" in text:
        wanted = "an annealing of flowops.methods with numbers, such as Exponential(0, 100000)"
        found: Annealing = parse_call(text, "anneal", ANNEALINGS, wanted)
        return found
    return tuple(_as_number(part) for part in text.split(",")) if "," in text else text


def _as_number(text: str) -> int | str:
    """A whole number, or the text for the option to refuse."""
    return int(text) if text.strip().isdecimal() else text


def parse_call(text: str, setting: str, offered: Mapping[str, Any], wanted: str) -> Any:
    """What the text of a call makes: names that are offered, numbers, None and keywords only.

    `package.module:name` is an object of one's own; a function that takes no arguments is called.

    Args:
        text: the call.
        setting: what it is given as, for messages.
        offered: what may be called, by name.
        wanted: what it should be, in words.

    Raises:
        ValueError: for anything else.
    """

    def read(node: ast.expr) -> Any:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in offered:
            keywords = {str(k.arg): read(k.value) for k in node.keywords}
            return offered[node.func.id](*map(read, node.args), **keywords)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -read(node.operand)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
            return node.value
        raise ValueError

    if ":" in text and "(" not in text:
        found = load(text, setting)
        return found() if _makes_one(found) else found
    try:
        return read(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        detail = f" ({error})" if str(error) else ""
        raise ValueError(f"`{setting}` must be {wanted}, got {text[:80]!r}{detail}.") from None


def _makes_one(found: Any) -> bool:
    """Whether it is a factory rather than the thing itself, which may be a function of the times."""
    if isinstance(found, times.Law | Norm | Weight | Annealing) or not callable(found):
        return False
    try:
        signature(found).bind()
    except (TypeError, ValueError):
        return False
    return True

"""Options of a method as text, `name=value`: numbers, words, pairs and laws of times, never evaluated as Python."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import torch

from flowops import times
from flowops.methods.weights import Learned
from flowops.networks import LearnedWeight

WORDS = {"true": True, "false": False, "none": None}


def parse_options(texts: Sequence[str], generator: torch.Generator) -> dict[str, Any]:
    """The options by name.

    A value is a number, true, false, none, a word, numbers with commas between them, a law of times such as
    `UpperTriangle()`, or `learned` for a weight that is trained beside the network.

    Args:
        texts: as in `["eta=0.5", "guidance=1,4", "law=Step(0.5)"]`.
        generator: where the parameters of a learned weight are drawn from.

    Raises:
        ValueError: for a text that is none of these, and a name given twice.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"`options` must be name=value, got {text!r}; write eta=0.5, say.")
        if name in options:
            raise ValueError(f"`options` must name each option once, got {name} twice; drop one of them.")
        options[name] = _value(name, value)
        if name == "weight" and value == "learned":
            options[name] = Learned(LearnedWeight(128, generator=generator))
    return options


def _value(name: str, text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        return _number(text)
    except ValueError:
        pass
    if name == "law":
        return _law(text)
    if "," in text:
        try:
            return tuple(_number(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"`options` must hold numbers between commas, got {name}={text}; write 1,4.") from None
    return text


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _law(text: str) -> times.TimeLaw:
    """A law from the text of the call that makes it: names of `flowops.times`, numbers and keywords only."""

    def read(node: ast.expr) -> Any:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in times.__all__:
            keywords = {k.arg: read(k.value) for k in node.keywords if k.arg is not None}
            return getattr(times, node.func.id)(*map(read, node.args), **keywords)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -read(node.operand)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        raise ValueError

    try:
        law = read(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        detail = f" ({error})" if str(error) else ""
        raise ValueError(
            f"`law` must be a law of flowops.times with numbers, such as UpperTriangle(), got {text!r}{detail}."
        ) from None
    if not isinstance(law, times.TimeLaw):
        raise ValueError(f"`law` must be a law of pairs of times, such as UpperTriangle(), got {text!r}.")
    return law

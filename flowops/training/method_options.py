"""Options of a method as text: values, laws of times, and a weight that is trained beside the network."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import torch

from flowops import times
from flowops.methods.weights import Learned
from flowops.networks import LearnedWeight
from flowops.training.text_values import parse_values


def parse_options(texts: Sequence[str], generator: torch.Generator) -> dict[str, Any]:
    """The options by name.

    Args:
        texts: as in `["eta=0.5", "guidance=1,4", "law=Step(0.5)", "weight=learned"]`; see `parse_values`.
        generator: where the parameters of a learned weight are drawn from.

    Raises:
        ValueError: for a text that is no option, and a name given twice.
    """
    options = parse_values(texts, "options", {"law": _law})
    if options.get("weight") == "learned":
        options["weight"] = Learned(LearnedWeight(128, generator=generator))
    return options


def _law(text: str) -> times.TimeLaw | None:
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

    if text.lower() == "none":
        return None
    try:
        law = read(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        detail = f" ({error})" if str(error) else ""
        raise ValueError(
            f"`law` must be a law of flowops.times with numbers, such as UpperTriangle(), got {text[:80]!r}{detail}."
        ) from None
    if not isinstance(law, times.TimeLaw):
        raise ValueError(f"`law` must be a law of pairs of times, such as UpperTriangle(), got {text!r}.")
    return law

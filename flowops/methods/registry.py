"""The table of methods: one entry per row, found by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from flowops.methods.method import Method, Row
from flowops.methods.term import Term

METHODS: dict[str, Method] = {}
"""Every row with its default options, by name."""


def row(
    name: str,
    *terms: Term,
    forms: Mapping[str, tuple[Term, ...]] | None = None,
    teacher: str = "",
    source: str,
    summary: str,
    paper: Mapping[str, Any] | None = None,
    **defaults: Any,
) -> Method:
    r"""Add a method to `METHODS` and return it.

    Args:
        name: how it is called.
        *terms: its terms.
        forms: terms by the value of the option `form`, in place of `terms`; the first is the default.
        teacher: kind of teacher, as in `Row`.
        source: papers and equations.
        summary: one or two sentences, with the translation of the paper's clock and letters.
        paper: the options of the paper where they differ from the defaults.
        **defaults: its options beside the shared ones, with their defaults.

    Raises:
        ValueError: if the name is taken.
    """
    if name in METHODS:
        raise ValueError(f"`name` must be new, got {name!r}, which is taken; choose another name for the row.")
    if forms:
        defaults["form"] = next(iter(forms))
    METHODS[name] = Method(Row(name, forms or {"": terms}, defaults, paper or {}, teacher, source, summary))
    return METHODS[name]


def get_method(name: str, **options: Any) -> Method:
    """The method `name` with these options; `METHODS[name].row.paper` holds those of its paper.

    Raises:
        ValueError: for an unknown name, or a value that an option cannot have.
        TypeError: for an unknown option.
    """
    if name not in METHODS:
        close = difflib.get_close_matches(str(name), METHODS, 1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"`name` must be one of {', '.join(METHODS)}, got {name!r}{hint}")
    return METHODS[name].with_options(**options)


def table() -> str:
    """The rows as a Markdown table: terms, velocity source, what is under the stop-gradient, law, source."""
    lines = ["| name | term | velocity | stop-gradient | law of the times | source |", "|---|---|---|---|---|---|"]
    for name, method in METHODS.items():
        for form, terms in method.row.forms.items():
            for i, term in enumerate(terms):
                label = f"`{name}`" + (f" ({form})" if form else "")
                velocity = term.velocity.name if term.velocity else ""
                term_name = (term.sides.__doc__ or term.sides.__name__).splitlines()[0].rstrip(".")
                columns = (label if i == 0 else "", term_name, velocity, term.stop, f"`{_brief(term.law)}`")
                lines.append("| " + " | ".join((*columns, method.row.source if i == 0 else "")) + " |")
    return "\n".join(lines)


def _brief(value: Any) -> str:
    """A law as the call that makes it, without the arguments that have their defaults."""
    if not is_dataclass(value):
        return repr(value)
    given = ((f, getattr(value, f.name)) for f in fields(value))
    defaults = ((f, held, f.default if f.default_factory is MISSING else f.default_factory()) for f, held in given)
    arguments = (f"{f.name}={_brief(held)}" for f, held, default in defaults if held != default)
    return f"{type(value).__name__}({', '.join(arguments)})"

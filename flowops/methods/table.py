"""The table of methods: every row of the literature by name, and the rows of a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import MappingProxyType
from typing import Any

from flowops._named import load, meant
from flowops.methods.method import Method
from flowops.methods.rows import FAMILIES

METHODS: Mapping[str, Method] = MappingProxyType(
    {method.name: method for family in FAMILIES for method in vars(family).values() if isinstance(method, Method)}
)
"""Every row with its default options, by name, in the order in which the modules of `rows` declare them."""


def get_method(name: str | Method, **options: Any) -> Method:
    """The method of that name with these options; `paper=True` takes those of its paper where no other is given.

    Args:
        name: an entry of `METHODS`, `package.module:row` for a row that `row` made, or such a row itself.
        **options: of the row.

    Raises:
        ValueError: for an unknown name, or a value that an option cannot have.
        TypeError: for an unknown option, and for something that is no row.
    """
    if isinstance(name, str) and name not in METHODS and ":" not in name:
        raise ValueError(
            f"`method` must be one of {', '.join(METHODS)} or package.module:row, got {name!r}{meant(name, METHODS)}"
        )
    found = METHODS.get(name) or load(name, "method") if isinstance(name, str) else name
    if not isinstance(found, Method):
        raise TypeError(f"`method` must be a row, got {name!r}, which is a {type(found).__name__}; make it with `row`.")
    return found.with_options(**options)


def table() -> str:
    """The rows as a Markdown table: terms, velocity source, what is under the stop-gradient, law, source."""
    lines = ["| name | term | velocity | stop-gradient | law of the times | source |", "|---|---|---|---|---|---|"]
    for name, method in METHODS.items():
        row = method.row
        if row.preset_of:
            lines.append(f"| `{name}` | `{row.preset_of}`, {row.settings} | | | `{_law(row.forms)}` | {row.source} |")
            continue
        for form, terms in row.forms.items():
            for i, term in enumerate(terms):
                label = f"`{name}`" + (f" ({form})" if form else "")
                velocity = term.velocity.name if term.velocity else ""
                constant = term.constant + ("" if method.options.stop_gradient else " (option)") * bool(term.constant)
                law = f"`{brief(term.law)}`" if term.law else "that of the last term"
                columns = (label if i == 0 else "", term.statement, velocity, constant, law)
                lines.append("| " + " | ".join((*columns, row.source if i == 0 else "")) + " |")
    return "\n".join(lines)


def _law(forms: Mapping[str, Any]) -> str:
    return brief(next(iter(forms.values()))[-1].law)


def brief(value: Any) -> str:
    """A law as the call that makes it, without the arguments that have their defaults."""
    if not is_dataclass(value):
        return repr(value)
    given = ((f, getattr(value, f.name)) for f in fields(value))
    defaults = ((f, held, f.default if f.default_factory is MISSING else f.default_factory()) for f, held in given)
    arguments = (f"{f.name}={brief(held)}" for f, held, default in defaults if held != default)
    return f"{type(value).__name__}({', '.join(arguments)})"

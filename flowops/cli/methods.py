"""`flowops methods`: the table of training methods, one row with its options, or how the rows are related."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from flowops._named import meant, written
from flowops.cli.console import to_stdout
from flowops.cli.parsing import Flag, parse
from flowops.methods import METHODS, Method, Option, Term, atlas, get_method
from flowops.methods.options import SHARED

WIDTH = 100
PLAIN = (  # formulas of docstrings, in plain letters
    (r"\\partial_(\w)\s*", r"d_\1 "),
    (r"\\dot (\w)", r"\1'"),
    (r"\\bar (\w)", r"\1bar"),
    (r"\\(?:nabla) ?", "grad "),
    (r"_\{(\w+),(\w+)\}", r"_\1\2"),
    (r"\\cdot ?", "."),
    (r"\\[,;!]", " "),
    (r"\\([a-zA-Z]+)", r"\1"),
)


@dataclass(frozen=True)
class Methods:
    """The training methods, one of them with its options, or their relations.

    Attributes:
        name: name of a method or package.module:row, whose terms, options and settings are shown; all methods in brief
            if left out.
        atlas: show instead which published methods are which row, and which rows tend to which.
    """

    name: str | None = None
    atlas: bool = False


def run(args: Sequence[str]) -> int:
    """Print the table, a row of it, or the atlas."""
    given = parse(Methods, args, "methods", flags={"name": Flag(positional=True)}, also={"method": "NAME"})
    if given.atlas:
        lines = graph(given.name)
    else:
        lines = overview() if given.name is None else details(get_method(given.name))
    to_stdout("\n".join(lines))
    return 0


def graph(name: str | None = None) -> Iterator[str]:
    """The relations between methods under the row that they lead to; those of one method if it is named.

    Raises:
        ValueError: for a name that no relation has.
    """
    relations = [relation for relation in atlas() if name in (None, relation.name, relation.of)]
    if not relations:
        known = sorted({name for relation in atlas() for name in (relation.name, relation.of)})
        raise ValueError(
            f"`NAME` must be one of {', '.join(known)} with --atlas, got {name!r}{meant(str(name), known)}"
        )
    for row, group in groupby(relations, key=lambda relation: relation.of):
        yield row
        for relation in group:
            options = ", ".join(f"{key}={written(value)}" for key, value in relation.options.items())
            how = "; ".join(part for part in (options, relation.how) if part)
            sign = "=" if relation.order is None else "~"
            yield from _wrapped(f"{sign} {relation.name}: {how}. {relation.source}", 2, 4)
            if relation.lacking:
                yield from _wrapped(f"without {relation.lacking}", 6, 2)
            yield from _wrapped(f"theory_checks/test_{relation.check}.py", 6)
    yield ""
    yield "= has the gradient of the row above it; ~ tends to it at first order in its step."


def overview() -> Iterator[str]:
    """Every method with its source, and its terms with the velocity they follow and what is held constant."""
    width = 2 + max(map(len, METHODS))
    for name, method in METHODS.items():
        yield from _wrapped(f"{name:<{width}}{method.row.source}", 0, width)
        if method.row.preset_of:
            yield from _wrapped(f"is {method.row.preset_of}: {method.row.settings}", width, 2)
            continue
        for term in method.terms:
            yield from _wrapped(_term(term), width, 2)
    yield ""
    yield "flowops methods NAME explains a method and its options, --atlas how methods are related."


def details(method: Method) -> Iterator[str]:
    """One method: summary, terms, options, the settings of its paper."""
    row = method.row
    yield from _wrapped(f"{row.name}: {row.summary}")
    yield from _wrapped(f"Source: {row.source}.")
    if row.preset_of:
        yield from _wrapped(f"It is {row.preset_of} under other settings: {row.settings}.")
    if row.teacher:
        yield from _wrapped(f"Teacher: {row.teacher}, the run given by --teacher.")
    for form, terms in row.forms.items():
        yield ""
        yield f"Terms with form={form}" if len(row.forms) > 1 else "Terms"
        for term in terms:
            yield from _wrapped(_term(term), 2, 2)
    yield from _options("Its own options", [option for option in row.options if option not in SHARED])
    yield from _options("Options of every method", [option for option in row.options if option in SHARED])
    if row.paper or row.lacking is not None:
        yield ""
        yield "As in its paper, as --options paper=true"
        settings = ", ".join(f"{name}={written(value)}" for name, value in row.paper.items())
        yield from _wrapped(settings or "the defaults", 2)
    if row.lacking:
        yield from _wrapped(f"What is lacking: {row.lacking}.", 2)


def _term(term: Term) -> str:
    """What a term compares, along which velocity, and what of it is a constant in the loss."""
    velocity = f"; velocity: {term.velocity.name}" if term.velocity else ""
    return term.statement + velocity + (f"; constant: {term.constant}" if term.constant else "")


def _options(title: str, options: Sequence[Option]) -> Iterator[str]:
    if not options:
        return
    yield ""
    yield f"{title}, as --options NAME=VALUE"
    texts = [f"{option.name}={written(option.default)}" for option in options]
    width = max(map(len, texts))
    for text, option in zip(texts, options, strict=True):
        yield from textwrap.wrap(f"  {text:<{width}}  {option.meaning}", WIDTH, subsequent_indent=" " * (width + 4))


def _wrapped(text: str, indent: int = 0, hanging: int = 0) -> list[str]:
    """Lines with formulas in plain letters, the later ones indented by `hanging` more."""
    first, rest = " " * indent, " " * (indent + hanging)
    return textwrap.wrap(plain(text), WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def plain(text: str) -> str:
    r"""A text with formulas as it can be read in a terminal: `$\\partial_tX_{s,t}(x)$` is `d_t X_st(x)`."""
    for pattern, replacement in PLAIN:
        text = re.sub(pattern, replacement, text)
    return text.replace("$", "")

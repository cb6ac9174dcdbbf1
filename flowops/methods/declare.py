"""How a row is declared: `row` for an idea, `preset` for another row under other settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flowops._named import meant
from flowops.methods.method import Method
from flowops.methods.options import OF_AVERAGES, OF_SHARES, SHARED, Option, form_option
from flowops.methods.row import TEACHERS, Row
from flowops.methods.term import Term


def row(
    name: str,
    *terms: Term,
    forms: Mapping[str, tuple[Term, ...]] | None = None,
    options: tuple[Option, ...] = (),
    teacher: str = "",
    paper: Mapping[str, Any] | None = None,
    lacking: str | None = None,
    source: str,
    summary: str,
    alpha: Callable[[Any, int | None], float | None] | None = None,
) -> Method:
    r"""A method with its default options. It can be called; `--method package.module:row` names it to the command line.

    Args:
        name: how it is called.
        *terms: its terms.
        forms: terms by the value of the option `form`, in place of `terms`; the first is the default.
        options: what it offers beside the options of every row; one of these with another default takes its place.
        teacher: kind of teacher, as in `Row`.
        paper: the options of the paper where they differ from the defaults.
        lacking: as in `Row`.
        source: papers and equations.
        summary: one or two sentences, with the translation of the paper's clock and letters.
        alpha: as in `Row`.

    Raises:
        ValueError: for a row without terms, with a single form or with forms beside `terms`, whose terms want an option
            that it does not offer, or whose teacher is of no kind.
    """
    if teacher and teacher.removeprefix("optional ") not in TEACHERS:
        raise ValueError(
            f"`teacher` of {name} must be one of {', '.join(TEACHERS)}, each also as optional ..., got {teacher!r}"
            f"{meant(teacher, TEACHERS)}"
        )
    if forms and (terms or (len(forms) == 1 and "" not in forms)):
        raise ValueError(
            f"`forms` of {name} must be several in place of `terms`, got {', '.join(forms)} beside {len(terms)} terms; "
            f"pass either several forms or terms alone."
        )
    forms = dict(forms or {"": terms})
    own = (*options, *([form_option(forms)] if len(forms) > 1 else []))
    own = _with(own, OF_SHARES if any(term.share == "eta" for some in forms.values() for term in some) else ())
    own = _with(own, OF_AVERAGES if any(option.name == "ema_teacher" for option in own) else ())
    offered = _with(own, SHARED)
    names = {option.name for option in offered}
    for term in (term for some in forms.values() for term in some):
        for wanted in (*(["eta"] if term.share != "all" else []), *([term.fraction] if term.fraction else [])):
            if wanted not in names:
                raise ValueError(f"`options` of {name} must hold {wanted}, which its terms want; add the option.")
    if not all(forms.values()):
        raise ValueError(f"`terms` of {name} must hold at least one term, got none; write one.")
    return Method(Row(name, forms, offered, paper or {}, teacher, source, summary, lacking, alpha=alpha))


def preset(
    name: str,
    of: Method,
    settings: str,
    *terms: Term,
    forms: Mapping[str, tuple[Term, ...]] | None = None,
    options: tuple[Option, ...] | None = None,
    teacher: str | None = None,
    paper: Mapping[str, Any] | None = None,
    lacking: str | None = None,
    source: str,
    summary: str,
) -> Method:
    """A row that is another one under other settings, as a theory check executes it.

    Args:
        name: how it is called.
        of: the other row.
        settings: what is set how, in words for the table.
        *terms: its terms, made from those of the other row with `replaced`; the same if there are none.
        forms: terms by the value of the option `form`, in place of `terms`; the first is the preset, the default.
        options: what it offers beside the options of every row, which keep the defaults of the other row; all those of
            the other row if None.
        teacher: kind of teacher, that of the other row if None.
        paper: the options of the paper where they differ from the defaults.
        lacking: as in `Row`.
        source: papers and equations.
        summary: one or two sentences.
    """
    made_by_row = {"form", *(option.name for option in (*OF_SHARES, *OF_AVERAGES))}
    inherited = tuple(option for option in of.row.options if option not in SHARED and option.name not in made_by_row)
    if options is not None:
        shared = {option.name for option in SHARED}
        inherited = _with(options, [option for option in inherited if option.name in shared])
    made = row(
        name,
        *terms,
        forms=forms or (None if terms else of.row.forms),
        options=inherited,
        teacher=of.row.teacher if teacher is None else teacher,
        paper=paper,
        lacking=lacking,
        source=source,
        summary=summary,
        alpha=of.row.alpha,
    )
    return Method(replace(made.row, preset_of=of.name, settings=settings))


def _with(own: Sequence[Option], others: Sequence[Option]) -> tuple[Option, ...]:
    """Some options, and those of the others that have other names."""
    names = {option.name for option in own}
    return (*own, *(option for option in others if option.name not in names))


def replaced(of: Method, *, form: str = "", **changes: Any) -> Term:
    """The last term of a row with some of its fields changed."""
    return replace(of.row.forms[form][-1], **changes)

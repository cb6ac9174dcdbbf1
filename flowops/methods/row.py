"""What a method is, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.methods.options import Option
from flowops.methods.term import Term

TEACHERS = {"field": (VelocityField,), "map": (FlowMap,), "field or map": (VelocityField, FlowMap)}


@dataclass(frozen=True)
class Row:
    """What a method is, without the values of its options.

    Attributes:
        name: as in `METHODS`.
        forms: its terms, one entry for each value of the option `form`; a single one under the empty name.
        options: those that it offers, with their defaults; the ones that every row has come last.
        paper: the options under which the paper ran it, where they differ from the defaults; `paper=True` takes them.
        teacher: `""`, or the kind of teacher: `"field"`, `"map"`, `"field or map"`, each also as `"optional ..."`.
        source: papers and equations.
        summary: what it does, with the translation of the paper's clock and letters.
        lacking: what the paper has besides that no option gives; empty for nothing, None where nobody said.
        preset_of: the row that this one is with other settings, empty for an idea of its own.
        settings: which settings these are, in words.
        alpha: the step of `alpha-flow` from the options and the training step; None for other rows.
    """

    name: str
    forms: Mapping[str, tuple[Term, ...]]
    options: tuple[Option, ...]
    paper: Mapping[str, Any]
    teacher: str
    source: str
    summary: str
    lacking: str | None = None
    preset_of: str = ""
    settings: str = ""
    alpha: Callable[[Any, int | None], float | None] | None = None

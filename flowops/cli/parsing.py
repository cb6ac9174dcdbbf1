"""Flags from a dataclass: names, types and defaults from its fields, the help from its docstring."""

from __future__ import annotations

import os
import shutil
import types
from collections import abc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from flowops._named import require
from flowops.cli.console import is_first, speak

T = TypeVar("T")
FORMULA = "FORMULA"  # what stands for a value that may begin with a minus sign
WIDTH = 100  # columns of a help page, fewer where the terminal has fewer


@dataclass(frozen=True)
class Flag:
    """How a field is written where it is not `--field VALUE`.

    Attributes:
        name: name of the flag; None for that of the field.
        shown: what stands for the value in the help; None for its type.
        positional: whether the value stands alone.
        absent: whether there is no such flag, and the field keeps its default.
    """

    name: str | None = None
    shown: str | None = None
    positional: bool = False
    absent: bool = False


def parse(
    kind: type[T],
    args: Sequence[str],
    command: str,
    *,
    flags: Mapping[str, Flag] | None = None,
    default: T | None = None,
    also: Mapping[str, str] | None = None,
) -> T:
    """The dataclass `kind` from the words of a command line.

    Args:
        kind: a frozen dataclass with a section "Attributes:" in its docstring.
        args: the words after the command.
        command: its name; the whole beginning of the line where that is not flowops.
        flags: how fields are written that are special.
        default: values of what is not given; those of the class if None.
        also: further names of the library, and the flags that stand for them.

    Raises:
        SystemExit: after the help page (0), and after words that do not fit (2), which are explained.
    """
    tyro = require("tyro", "train")
    words = _joined(args, [f"--{name}" for name, flag in (flags or {}).items() if flag.shown == FORMULA])
    speak({**dict(_written(kind, flags or {})), **(also or {})})
    written = _annotated(tyro, kind, flags or {})
    start = tyro.MISSING_NONPROP if default is None else written(**_values(default))
    with _width():
        parsed = tyro.cli(
            written, prog=command if " " in command else f"flowops {command}", description=description(kind),
            args=words, default=start, console_outputs=is_first(),
        )  # fmt: skip
    return kind(**_values(parsed))


def _joined(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The words, a formula such as -t+1 joined to its flag, since it would be taken for a flag itself."""
    result: list[str] = []
    for word in words:
        if result and result[-1] in flags and word.startswith("-") and not word.startswith("--"):
            result[-1] += f"={word}"
        else:
            result.append(word)
    return result


def description(kind: type) -> str:
    """The docstring of a class up to its section of attributes, a line for each paragraph."""
    text = (kind.__doc__ or "").partition("Attributes:")[0].strip()
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _written(kind: type, flags: Mapping[str, Flag], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every setting with the flag that stands for it."""
    hints = get_type_hints(kind)
    for f in fields(kind):
        flag, name = flags.get(f.name, Flag()), f"{prefix}{f.name}"
        if flag.absent:
            continue
        if is_dataclass(hints[f.name]):
            yield name, f"--{name}"
            yield from _written(hints[f.name], {}, f"{name}.")
        else:
            yield name, f.name.upper() if flag.positional else f"--{flag.name or name.replace('_', '-')}"


def _annotated(tyro: Any, kind: type, flags: Mapping[str, Flag]) -> Any:
    """A subclass of `kind` whose fields carry the notes of tyro."""
    hints, noted = get_type_hints(kind), []
    for f in fields(kind):
        if f.default_factory is not MISSING or is_dataclass(hints[f.name]):
            continue
        flag, hint = flags.get(f.name, Flag()), _written_in_words(hints[f.name])
        shown = flag.shown or (f.name.upper() if flag.positional else _without_none(hint))
        notes = [tyro.conf.arg(name=flag.name, metavar=shown)] + [tyro.conf.Positional] * flag.positional
        notes += [tyro.conf.Fixed, tyro.conf.Suppress] * flag.absent
        noted.append((f.name, Annotated[(hint, *notes)]))
    made = make_dataclass(kind.__name__, noted, bases=(kind,), frozen=True)
    made.__doc__ = kind.__doc__
    return made


def _written_in_words(hint: Any) -> Any:
    """A type without the mapping that may be given in its place in Python."""
    kinds = get_args(hint)
    return kinds[0] if any(get_origin(kind) is abc.Mapping for kind in kinds) else hint


def _without_none(hint: Any) -> str | None:
    """What stands for the value of an optional field; None leaves it to tyro."""
    if get_origin(hint) not in (Union, types.UnionType):
        return None
    inner = next(arg for arg in get_args(hint) if arg is not type(None))
    return str(getattr(inner, "__name__", inner)).upper()


def _values(held: Any) -> dict[str, Any]:
    return {f.name: getattr(held, f.name) for f in fields(held)}


@contextmanager
def _width() -> Iterator[None]:
    """Help pages of at most `WIDTH` columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before

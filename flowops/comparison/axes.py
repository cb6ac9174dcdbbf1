"""What a comparison varies: rows with options, schedules, couplings; each from one word of a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowops._named import texts
from flowops.methods import METHODS, Method, get_method
from flowops.methods.rows import FAMILIES

ALL = "all"
YOURS = "Rows of your own"


@dataclass(frozen=True)
class Variant:
    """A row with options.

    Attributes:
        method: name of the row, or `package.module:row`.
        options: texts `name=value`.
    """

    method: str
    options: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """As it stands in the table."""
        return " ".join((self.method, *self.options))

    @property
    def family(self) -> str:
        """The family that it belongs to, in words."""
        return family_of(self.method)


@dataclass(frozen=True)
class Schedule:
    """A schedule by name, or by formulas in t between semicolons: `cos(pi*t/2);sin(pi*t/2)`."""

    label: str

    @property
    def settings(self) -> dict[str, str | None]:
        """The settings of a run that stand for it.

        Raises:
            ValueError: for a number of formulas other than two or three.
        """
        parts = [part.strip() for part in self.label.split(";")]
        if len(parts) == 1:
            return {"interpolant": self.label, "alpha": None, "beta": None, "gamma": None}
        if len(parts) > 3 or not all(parts):
            raise ValueError(
                f"`schedules` must be names, or two or three formulas between semicolons, got {self.label!r}; write "
                f'"1-t;t", say.'
            )
        return {"interpolant": None, **dict(zip(("alpha", "beta", "gamma"), [*parts, None][:3], strict=True))}


@dataclass(frozen=True)
class Pairing:
    """A coupling by name, with its options behind it: `optimal-transport block=256`."""

    label: str

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a run that stand for it."""
        name, *options = self.label.split()
        return {"coupling": name, "coupling_options": tuple(options)}


def split_words(words: Iterable[str]) -> list[str]:
    """Words that hold several between commas as several; commas in parentheses and between options stay.

    >>> split_words(["lsd,meanflow", "max(t,1-t);t", "sinkhorn steps=1,2"])
    ['lsd', 'meanflow', 'max(t,1-t);t', 'sinkhorn steps=1,2']
    """
    found: list[str] = []
    for word in words:
        if "=" in word:
            found.append(word.strip())
            continue
        part, depth = "", 0
        for letter in f"{word},":
            depth += (letter == "(") - (letter == ")")
            if letter == "," and depth == 0:
                found.append(part.strip())
                part = ""
            else:
                part += letter
    return [word for word in found if word]


def variants(methods: Sequence[str], settings: Sequence[str] = (), *, presets: bool = False) -> tuple[Variant, ...]:
    """The rows that are meant, each with every set of options that is given for it.

    Args:
        methods: names; `all` for every row but those that another one with its defaults is.
        settings: texts `row:name=value name=value`, each a variant of that row in place of its defaults; `row:` alone
            stands for these.
        presets: whether `all` holds rows that are another one with the same settings too.

    Raises:
        ValueError: without a row, for one that does not exist or is named twice, and for settings of none of them.
        TypeError, ValueError: for options that a row does not have, or cannot have; the sentence names it.
    """
    names = [name for word in split_words(methods) for name in (every(presets) if word == ALL else [word])]
    if not names:
        raise ValueError("`methods` must name at least one row, got none; pass all for every one of the table.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"`methods` must name every row once, got {twice[0]} more than once; drop one.")
    for name in names:
        get_method(name)
    given: dict[str, list[tuple[str, ...]]] = {}
    for text in settings:
        name, options = _setting(text, names)
        given.setdefault(name, []).append(options)
    return tuple(Variant(name, options) for name in names for options in given.get(name, [()]))


def every(presets: bool = False) -> list[str]:
    """The rows of the table; unless `presets`, without those whose terms and options are those of an earlier row.

    >>> set(every(presets=True)) - set(every())
    {'split-meanflow'}
    """
    seen, names = set[Any](), []
    for name, method in METHODS.items():
        what = (method.terms, _values(method))
        if presets or what not in seen:
            names.append(name)
        seen.add(what)
    return names


def _values(method: Method) -> tuple[tuple[str, str], ...]:
    """The options of a method that decide its loss, as texts."""
    told = ("paper", "form")  # the terms have them in them
    values: Mapping[str, Any] = vars(method.options)
    return tuple(sorted((name, repr(held)) for name, held in values.items() if held is not None and name not in told))


def _setting(text: str, names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The row that a text is for, and its options."""
    meant = [name for name in names if text.startswith(f"{name}:")]
    if not meant:
        raise ValueError(
            f"`set` must be a row of the comparison, a colon and options, such as lsd:eta=0.5, got {text!r}; the rows "
            f"are {', '.join(names)}."
        )
    name = max(meant, key=len)
    return name, texts(text[len(name) + 1 :].split())


def family_of(name: str) -> str:
    """The family of a row, in words."""
    for family in FAMILIES:
        if any(isinstance(held, Method) and held.name == name for held in vars(family).values()):
            return (family.__doc__ or "").splitlines()[0].rstrip(".").partition(":")[0]
    return YOURS


def schedules(words: Sequence[str]) -> tuple[Schedule, ...]:
    """The schedules that are meant."""
    return tuple(map(Schedule, _once(words, "schedules")))


def pairings(words: Sequence[str]) -> tuple[Pairing, ...]:
    """The couplings that are meant."""
    return tuple(map(Pairing, _once(words, "couplings")))


def _once(words: Sequence[str], setting: str) -> Iterator[str]:
    found = split_words(words)
    if not found:
        raise ValueError(f"`{setting}` must name at least one, got none; leave it out for the usual one.")
    yield from dict.fromkeys(found)


def with_axes(variant: Variant, schedule: Schedule, pairing: Pairing) -> dict[str, Any]:
    """The settings of a run that the three stand for."""
    return {"method": variant.method, "options": variant.options, **schedule.settings, **pairing.settings}


def slug(text: str) -> str:
    """A part of the name of a folder.

    >>> slug("lsd"), slug("lsd eta=0.5")
    ('lsd', 'lsd-eta=0.5')
    """
    return re.sub(r"[^A-Za-z0-9._=+]+", "-", text).strip("-.")

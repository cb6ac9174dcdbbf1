"""Things by name: an entry of a registry, `package.module:factory` of a user's own, an optional package."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def require(module: str, extra: str) -> ModuleType:
    """The module of that name, imported where it is needed.

    Raises:
        ImportError: if it is not installed; the message names the extra of flowops that brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        raise ImportError(
            f"`{error.name}` must be installed for this, and it is not; run pip install 'flowops[{extra}]'."
        ) from error


def meant(name: object, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known: the closest one that is, if any is close."""
    close = difflib.get_close_matches(str(name), list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else "."


def load(text: str, setting: str) -> Any:
    """The object that `package.module:name` stands for.

    Raises:
        ValueError: if there is none that can be imported; `setting` says what the text was given as.
    """
    module, _, name = text.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # a relative name is a TypeError
        raise ValueError(
            f"`{setting}` must name something to import, package.module:name, got {text!r} ({error}); check that it "
            f"can be imported from here."
        ) from error
    return found


def options_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """The keyword options of a factory with their defaults; what has no default is an argument, not an option."""
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


class Registry(Mapping[str, Callable[..., T]], Generic[T]):
    """Factories of one kind of object by name.

    Wherever one of its names is accepted, so are `package.module:factory` and an object of the kind.

    Args:
        setting: what a name of it is called in messages, such as "coupling".
        kind: class of what the factories return.
        entries: the factories.
        passed: keyword arguments that the caller passes and no user; they are no options.
        takes: the arguments of a factory of a user's own, for messages.
        adapt: makes an object of the kind of what such a factory returns, as far as it can.
    """

    def __init__(
        self,
        setting: str,
        kind: type[Any],
        entries: Mapping[str, Callable[..., T]],
        *,
        passed: tuple[str, ...] = (),
        takes: tuple[str, ...] = (),
        adapt: Callable[[Any], Any] = lambda made: made,
    ) -> None:
        self.setting, self.kind, self.passed, self.takes, self.adapt = setting, kind, passed, takes, adapt
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Callable[..., T]:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, name: str, factory: Callable[..., T]) -> None:
        """Enter a factory."""
        self._entries[name] = factory

    def factory(self, name: str) -> Callable[..., T]:
        """The factory of that name.

        Raises:
            ValueError: for a name that is neither an entry nor a function to import.
        """
        if name in self._entries:
            return self._entries[name]
        if ":" not in str(name):
            raise ValueError(
                f"`{self.setting}` must be one of {', '.join(self)} or package.module:factory, got {name!r}"
                f"{meant(name, self)}"
            )
        found = load(name, self.setting)
        if not callable(found):
            raise ValueError(
                f"`{self.setting}` must name a function that returns {self.kind.__name__}, got {name!r}, which is "
                f"{type(found).__name__}; write one around it."
            )
        return found

    def options(self, name: str) -> dict[str, Any]:
        """The options of an entry with their defaults."""
        return {key: value for key, value in options_of(self.factory(name)).items() if key not in self.passed}

    def make(self, name: str | T, *arguments: Any, options: Mapping[str, Any] | None = None, **passed: Any) -> T:
        """What the factory of that name returns; an object of the kind is returned as it is.

        Args:
            name: the name, or an object.
            *arguments: of the factory.
            options: chosen by a user, which are checked against its signature.
            **passed: keyword arguments, given as far as the factory has them.

        Raises:
            ValueError: for an unknown name.
            TypeError: for an unknown option, any option beside an object, and a factory that returns something else.
        """
        if not isinstance(name, self.kind) and str(name) not in self and ":" in str(name):
            found = load(str(name), self.setting)
            name = found if isinstance(found, self.kind) else name
        if isinstance(name, self.kind):
            check_options(options or {}, {}, f"the {type(name).__name__} given")
            return name
        factory = self.factory(str(name))
        signature = inspect.signature(factory)
        parameters = signature.parameters
        every = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        placed = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY][: len(arguments)]
        known = {key: p for key, p in parameters.items() if key not in (*placed, *self.passed)}
        check_options(options or {}, known, str(name), every)
        given = {key: value for key, value in passed.items() if every or key in parameters}
        try:
            signature.bind(*arguments, **given, **(options or {}))
        except TypeError as error:
            raise TypeError(
                f"`{self.setting}` must name a function of ({', '.join(self.takes)}), got {name!r}: {error}; mend it."
            ) from None
        made = self.adapt(factory(*arguments, **given, **(options or {})))
        if not isinstance(made, self.kind):
            raise TypeError(
                f"`{self.setting}` must name a function that returns {self.kind.__name__}, got {name!r}, which "
                f"returned {type(made).__name__}; mend it."
            )
        return made


def check_options(options: Mapping[str, Any], known: Mapping[str, Any], owner: str, every: bool = False) -> None:
    """Refuse options that their owner does not have; `every` if it takes any.

    Raises:
        TypeError: naming the first of them, and those that there are.
    """
    for key in options if not every else ():
        if key not in known:
            offered = ", ".join(known) or "none"
            raise TypeError(f"`{key}` must be an option of {owner}, which has {offered}{meant(key, known)}")


WORDS = {"true": True, "false": False, "none": None}


def parse_values(
    given: Iterable[str], setting: str, readers: Mapping[str, Callable[[str], Any]] | None = None
) -> dict[str, Any]:
    """The values by name.

    Nothing is evaluated as Python. A value is a number, true, false, none, numbers with commas between them (and one at
    the end where there is at most one of them), or else the text itself.

    Args:
        given: as in `["eta=0.5", "guidance=1,4"]`.
        setting: what they are called in messages.
        readers: functions that read the values of some names in another way.

    Raises:
        ValueError: for a text without a name or a value, a name given twice, and words between commas.
    """
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"`{setting}` must be name=value, got {text!r}; write eta=0.5, say.")
        if name in values:
            raise ValueError(f"`{setting}` must name each option once, got {name} twice; drop one of them.")
        values[name] = readers[name](value) if readers and name in readers else _value(value, setting)
    return values


def _value(text: str, setting: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        parts = [_number(part) for part in text.removesuffix(",").split(",")] if text != "," else []
    except ValueError:
        if "," in text:
            raise ValueError(f"`{setting}` must hold numbers between commas, got {text}; write 1,4.") from None
        return text
    return parts[0] if "," not in text else tuple(parts)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def texts(options: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """Options as texts `name=value`; a mapping of values may be given in their place, one text alone is a slip."""
    if isinstance(options, str):
        raise TypeError(f"Options must be a mapping or texts name=value, got the text {options!r}; put it into a list.")
    if not isinstance(options, Mapping):
        return tuple(options)
    return tuple(f"{name}={written(value)}" for name, value in options.items())


def written(value: Any) -> str:
    """A value as `parse_values` reads it: lists between commas, with one at the end of at most one entry."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) + ("," if len(value) < 2 else "")
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def bare_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as the network itself has it, without wrappers: `_orig_mod` anywhere, `module` where all begin with it.

    Raises:
        ValueError: if two names are one without them.
    """
    found = {name: ".".join(part for part in name.split(".") if part != "_orig_mod") for name in names}
    while found and all(name.startswith("module.") for name in found.values()):
        found = {old: name.removeprefix("module.") for old, name in found.items()}
    if len(set(found.values())) < len(found):
        raise ValueError(
            "`weights` must have names that differ without the prefixes of wrappers; pass the network's own."
        )
    return found

"""Configurations as YAML: written with their version, read with every name and type checked."""

from __future__ import annotations

import difflib
import types
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from flowops._extras import require
from flowops._files import write_text
from flowops.training.config import VERSION, TrainConfig

T = TypeVar("T")


def save_config(path: Path, config: TrainConfig) -> None:
    """Write every value, with the version of the layout, whole or not at all."""
    yaml = require("yaml", "train")
    write_text(path, yaml.safe_dump({"version": VERSION, **_plain(asdict(config))}, sort_keys=False))


def load_config(path: Path | str) -> TrainConfig:
    """The configuration in a file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for a file that is no configuration, of another version, with an unknown name, or a wrong type.
    """
    yaml, path = require("yaml", "train"), Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`{path}` must be a configuration file, and there is none; check the path.")
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"`{path}` must be YAML, and reading it failed: {' '.join(str(error).split())}.") from error
    if not isinstance(held, dict):
        raise ValueError(f"`{path}` must hold names and values, got {type(held).__name__}; see config.yaml of a run.")
    version = held.pop("version", VERSION)
    if version != VERSION:
        raise ValueError(
            f"`{path}` must be a configuration of version {VERSION}, got version {version!r}; read it with the flowops "
            f"that wrote it, or train again."
        )
    return from_plain(TrainConfig, held, str(path))


def from_plain(kind: type[T], held: dict[str, Any], origin: str, prefix: str = "") -> T:
    """A dataclass from names and values; `origin` says in messages where they come from.

    Raises:
        ValueError: for an unknown or a missing name, and a value of another type.
    """
    known, values = get_type_hints(kind), {}
    for name, value in held.items():
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean `{prefix}{close[0]}`?" if close else f"known are {', '.join(known)}."
            raise ValueError(f"`{prefix}{name}` must be the name of a setting, and `{origin}` has none of it; {hint}")
        values[name] = _value(known[name], value, origin, prefix + name)
    for f in fields(kind):  # type: ignore[arg-type]
        if f.name not in values and f.name == "dataset":
            raise ValueError(f"`{origin}` must name a `dataset`, and it does not; add one, such as dataset: digits.")
    return kind(**values)


def _value(kind: Any, value: Any, origin: str, name: str) -> Any:
    """`value` as `kind`, without any conversion but that of a list into a tuple and of a whole number into a float."""
    if is_dataclass(kind):
        if isinstance(value, dict):
            return from_plain(kind, value, origin, f"{name}.")  # type: ignore[arg-type]
    elif get_origin(kind) in (Union, types.UnionType):
        return None if value is None else _value(get_args(kind)[0], value, origin, name)
    elif get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
    elif get_origin(kind) is tuple:
        if isinstance(value, list | tuple):
            return tuple(_value(get_args(kind)[0], item, origin, name) for item in value)
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif type(value) is kind:
        return value
    raise ValueError(f"`{name}` in `{origin}` must be {_named(kind)}, got {value!r}.")


def _named(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list of {_named(get_args(kind)[0])}"
    if is_dataclass(kind):
        return "a group of settings"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(kind, str(kind))


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML writes without tags."""
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    return [_plain(held) for held in value] if isinstance(value, tuple) else value

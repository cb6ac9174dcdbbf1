"""The folder of a run: what lies where, when it may be written, and the settings in its `config.yaml`.

Settings are written with the version of their layout, and read with every name and type checked.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from flowops._files import write_text
from flowops._named import meant, require
from flowops.runs.settings import VERSION, TrainConfig, check_same

T = TypeVar("T")


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting."""
        return self.path / "config.yaml"

    @property
    def facts(self) -> Path:
        """What the settings do not say: versions, device, commit, the data and their shape."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """The loss by step."""
        return self.path / "metrics.csv"

    @property
    def telemetry(self) -> Path:
        """Loss and tangent by cell of $(s,t)$."""
        return self.path / "telemetry.csv"

    @property
    def checkpoints(self) -> Path:
        """One folder for each step."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Pictures of samples."""
        return self.path / "samples"

    @property
    def logs(self) -> Path:
        """Event files of TensorBoard."""
        return self.path / "logs"

    def check(self, *, resume: bool) -> None:
        """Refuse to write over another run.

        Raises:
            FileExistsError: if there is something in the folder and the run is not resumed.
            NotADirectoryError: if the path is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"`out` must be a folder, and {self.path} is a file; choose another.")
        if not resume and self.path.is_dir() and any(self.path.iterdir()):
            raise FileExistsError(
                f"`out` must be a new folder, and {self.path} holds something already; pass resume=True to go on "
                f"with that run, or choose another folder."
            )

    def check_same(self, config: TrainConfig) -> None:
        """Refuse to go on under other settings than those in the folder; `config` is complete.

        Raises:
            ValueError: naming the first of them.
        """
        if self.config.is_file():
            check_same(config, load_config(self.config))


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
            hint = meant(name, known)
            hint = f"; known are {', '.join(known)}." if hint == "." else hint
            raise ValueError(f"`{prefix}{name}` must be the name of a setting, and `{origin}` has none of it{hint}")
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
        kinds = get_args(kind)
        by_name = isinstance(value, dict) and any(get_origin(other) is Mapping for other in kinds)
        if by_name or (value is None and types.NoneType in kinds):
            return value
        return _value(kinds[0], value, origin, name)
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
    raise ValueError(f"`{name}` in `{origin}` must be {_kind(kind)}, got {value!r}.")


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list of {_kind(get_args(kind)[0])}"
    if is_dataclass(kind):
        return "a group of settings"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(kind, str(kind))


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML writes without tags."""
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    return [_plain(held) for held in value] if isinstance(value, tuple) else value

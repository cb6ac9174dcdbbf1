"""The folder of a run: what lies where, when it may be written, and the settings in its `config.yaml`.

Settings are written with the version of their layout, and read with every name and type checked.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from flowops import _files
from flowops._arguments import hints_of, words
from flowops._files import write_text
from flowops._named import meant, require
from flowops.runs.settings import GENERAL, VERSION, TrainConfig, get

T = TypeVar("T")
LOCK = ".lock"
PATIENCE = 0.5  # seconds, for a run that is about to end
ASIDE = ".replaced"  # behind the name of a checkpoint, while another takes its place
MODEL, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"
STAMP = "# settings as flowops wrote them: "  # the first line of a file, and the hash of the others


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
    def best(self) -> Path:
        """The average that evaluations of the training found best, in a folder of its step."""
        return self.path / "best"

    @property
    def averages(self) -> Path:
        """The power-function averages of every checkpoint there was, one folder for each step."""
        return self.path / "averages"

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
        if not resume and self.path.is_dir() and any(path.name != LOCK for path in self.path.iterdir()):
            raise FileExistsError(
                f"`out` must be a new folder, and {self.path} holds something already; pass resume=True to go on "
                f"with that run, or choose another folder."
            )

    def forget(self) -> None:
        """Remove what a run wrote that ended before its first step, unless there is a checkpoint."""
        if not self.checkpoints.exists():
            for file in (self.config, self.facts, self.metrics, self.telemetry):
                file.unlink(missing_ok=True)
            shutil.rmtree(self.logs, ignore_errors=True)

    def settings(self, report: Callable[[str], None] = lambda _: None) -> TrainConfig:
        """The settings of the run, which are complete; `report` is told if they are not as they were written.

        Raises:
            FileNotFoundError: if there are none.
            ValueError: for a file that does not hold the settings of a run.
        """
        config = load_config(self.config)
        if absent := [name for name in GENERAL if get(config, name) is None]:
            raise ValueError(f"`{self.config}` must hold every setting of a run, and lacks {absent[0]}; restore it.")
        first, _, rest = self.config.read_text(encoding="utf-8").partition("\n")
        if first.startswith(STAMP) and first != STAMP + _stamp(rest):
            report(f"{self.config} is not as the run wrote it: it was edited, or is damaged.")
        return config


def save_config(path: Path, config: TrainConfig) -> None:
    """Write every value, with the version of the layout, whole or not at all."""
    yaml = require("yaml", "train")
    text = yaml.safe_dump({"version": VERSION, **_plain(asdict(config))}, sort_keys=False)
    write_text(path, f"{STAMP}{_stamp(text)}\n{text}")


def _stamp(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


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
        text, loader = path.read_text(encoding="utf-8"), yaml.SafeLoader
        if text.startswith(
            STAMP
        ):  # libyaml, if PyYAML has it, is six times as fast, but ends the process on deep nests
            loader = getattr(yaml, "CSafeLoader", loader)
        held = yaml.load(text, loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
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
    known, values = hints_of(kind), {}
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
    """`value` as `kind`: a list as a tuple, a number as a float, yes, no and 32 as the texts that they stand for."""
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
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
        if text in get_args(kind):
            return text
    elif get_origin(kind) is tuple:
        if isinstance(value, list | tuple):
            return tuple(_value(get_args(kind)[0], item, origin, name) for item in value)
    elif kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError):  # 1e-3 is a text in YAML
            return float(value)
    elif type(value) is kind:
        return value
    raise ValueError(f"`{name}` in `{origin}` must be {words(kind)}, got {value!r}.")


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML writes without tags."""
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    return [_plain(held) for held in value] if isinstance(value, tuple) else value


def file_of(average: str | None) -> str:
    """The name of the file of an average, or of the weights themselves."""
    return MODEL if average is None else f"ema-{average}.safetensors"


def average_names(config: TrainConfig) -> list[str]:
    """The names of the averages of a run, the one that samples come from first."""
    return [f"{decay:g}" for decay in config.averages or ()] + power_names(config)


def power_names(config: TrainConfig) -> list[str]:
    """The names of the power-function averages among them."""
    return [f"power-{width:g}" for width in config.power]


def candidates(folder: Path) -> dict[int, Path]:
    """The checkpoints by step, newest first: folders named by it, and those set aside whose place is still empty."""
    found: dict[int, Path] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        name = path.name.removesuffix(ASIDE)
        if not _is_step(name) or not path.is_dir():
            continue
        if name == path.name or not (folder / name).is_dir():
            found[int(name)] = path
    return {step: found[step] for step in sorted(found, reverse=True)}


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name


class Locked(OSError):
    """Another run lives in the folder."""


@contextmanager
def locked(folder: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a folder, which is created, and removed again if nothing was written.

    Args:
        folder: of a run.
        report: is told where the disk knows no locks, on which the run goes on without.

    Raises:
        Locked: naming the process that holds it.
        OSError: for a folder that cannot be made.
    """
    path, new = folder / LOCK, not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if new:
            stack.callback(_remove, folder.rmdir)
        try:
            held = stack.enter_context(_files.locked(path, PATIENCE))
        except TimeoutError:
            raise Locked(
                f"`out` must be a folder in which no run lives, and {folder} is held by {_holder(path)}; wait for its "
                f"end, or choose another folder."
            ) from None
        if held:
            stack.callback(_remove, path.unlink)  # while it is held: who has opened it finds it gone, and makes it anew
            with suppress(OSError):  # a full disk
                path.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
        else:
            report(f"{folder} cannot be locked: see to it that no other run writes there.")
        yield


def _remove(remove: Callable[[], None]) -> None:
    with suppress(OSError):
        remove()


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, ValueError):
        return "another process"

"""What a command says: results on the standard output, the rest on the standard error, from the first process only."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # as torchrun, SLURM and lightning number processes


def is_first() -> bool:
    """Whether this process is the only one or the first of several."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def to_stdout(text: str) -> None:
    """A result, on the standard output."""
    if is_first():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def to_stderr(text: str) -> None:
    """Something beside the results, in one line on the standard error."""
    if is_first():
        sys.stderr.write(f"{' '.join(text.split())}\n")
        sys.stderr.flush()


_FLAGS: dict[str, str] = {}  # of the command that runs: a name of the library, and how it is written in the shell


def speak(flags: Mapping[str, str]) -> None:
    """From now on `in_shell` writes these names of the library as these flags."""
    _FLAGS.clear()
    _FLAGS.update(flags)


def in_shell(text: str) -> str:
    """A sentence of the library, which speaks Python, for a reader in the shell: names and `steps=4` as flags."""

    def passed(found: re.Match[str]) -> str:
        if found[1] not in _FLAGS:
            return found[0]
        value = " ".join(found[2].strip("()").replace(",", " ").split())
        return _FLAGS[found[1]] + ("" if value == "True" else f" {value}")

    def flag(found: re.Match[str]) -> str:
        setting, _, option = found[1].rpartition(".")
        return _FLAGS.get(found[1]) or (f"{_FLAGS[setting]} {option}" if setting in _FLAGS else found[0])

    text = re.sub(r"`([A-Za-z_][\w.]*)`", flag, text)
    return re.sub(r"(?<![\w`.-])([a-z_][\w.]*)=(\([^)]*\)|\.\.\.|[^\s,;)]*[^\s,;.)])", passed, text)


@contextmanager
def brief_warnings() -> Iterator[None]:
    """Warnings as one line each, without those that torch gives of itself."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        to_stderr(f"flowops: warning: {message}")

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
        warnings.showwarning = show
        yield

"""What a command says: results on the standard output, the rest on the standard error, from the first process only."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # as torchrun, SLURM and lightning number processes


def is_first() -> bool:
    """Whether this process is the only one or the first of several."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def say(text: str) -> None:
    """A result, on the standard output."""
    if is_first():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def tell(text: str) -> None:
    """Something beside the results, in one line on the standard error."""
    if is_first():
        sys.stderr.write(f"{' '.join(text.split())}\n")
        sys.stderr.flush()


@contextmanager
def brief_warnings() -> Iterator[None]:
    """Warnings as one line each, without those that torch gives of itself."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        tell(f"flowops: warning: {message}")

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
        warnings.showwarning = show
        yield

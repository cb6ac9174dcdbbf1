"""Pickles of plain arrays, read without letting them run anything.

A pickle is a program that may call whatever it can import. This reader lets it reach what the arrays, lists, numbers
and strings of a batch file need, and nothing else.
"""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ARRAYS = {
    ("_reconstruct", "multiarray"),
    ("scalar", "multiarray"),
    ("_frombuffer", "numeric"),
}


def read_pickle(path: Path) -> Any:
    """The content of a pickle of plain arrays; the strings of Python 2 are read as Latin-1.

    Raises:
        ValueError: for a pickle that asks for anything else, naming it, and for a broken file.
    """
    try:
        with path.open("rb") as file:
            return _Plain(file, encoding="latin1").load()
    except _ForbiddenError as error:
        raise ValueError(
            f"`path` must hold pickles of plain arrays, got {path}, which asks for {error} and was not read further; "
            f"fetch it from its publisher."
        ) from None
    except Exception as error:  # a broken pickle raises whatever its instructions run into
        raise ValueError(f"`path` must hold pickled batches, got {path}, which cannot be read ({error}).") from error


class _ForbiddenError(Exception):
    """Names what a pickle asked for."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        package, _, inner = module.rpartition(".")
        if package in ("numpy.core", "numpy._core") and (name, inner) in _ARRAYS:
            return _array_maker(inner, name)
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: _bytes(text, encoding)
        raise _ForbiddenError(f"{module}.{name}")


def _array_maker(inner: str, name: str) -> Callable[..., Any]:
    """A function of NumPy's own, which moved from `numpy.core` to `numpy._core` in version 2."""
    import importlib

    import numpy as np

    package = "numpy._core" if hasattr(np, "_core") else "numpy.core"
    make = getattr(importlib.import_module(f"{package}.{inner}"), name)
    return lambda *arguments: make(*arguments)  # a new function: a pickle may set attributes on what it is given


def _bytes(text: str, encoding: str) -> bytes:
    """How Python 3 pickles bytes for Python 2; other codecs would be looked up by name, as modules are."""
    if encoding not in ("latin1", "latin-1"):
        raise _ForbiddenError(f"the codec {encoding}")
    return codecs.latin_1_encode(text)[0]

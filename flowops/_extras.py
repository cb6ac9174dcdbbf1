"""Optional packages: imported where they are needed, with a sentence that says how to get a missing one."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """The module of that name.

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

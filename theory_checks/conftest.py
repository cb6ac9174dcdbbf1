"""What the theory checks of this folder run with; options and fixtures are those of `theory_checks.plugin`."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

pytest_plugins = ["theory_checks.plugin"]
YOURS = "test_your_object.py"
gc.disable()  # until the checks are collected


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of these files an object of the user's wants one, or all with `--all`; a file that is named is collected."""
    from theory_checks.plugin import CHECKS  # once it is loaded as a plugin

    if collection_path.parent != Path(__file__).parent or not collection_path.name.startswith("test_"):
        return None
    if collection_path.name == YOURS:
        return not config.stash[CHECKS] or None
    return (bool(config.stash[CHECKS]) and not config.getoption("own_all")) or None


def pytest_collection_finish() -> None:
    """What stands now stays until the end: the collector need not go through it again and again."""
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # or compiled modules report at the end what they think has leaked


@pytest.fixture(autouse=True)
def _quick_small_tensors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """More threads, and shape checks of every call (which `tests/` are for), only slow small solves down."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

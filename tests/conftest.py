"""Fixtures of all tests."""

from __future__ import annotations

import atexit
import functools
import gc
import importlib.metadata
import os
from collections.abc import Iterator

import jaxtyping
import pytest
import torch

from tests import shapes

shapes.install()  # before any test imports the library
gc.disable()  # until the tests are collected
patched = pytest.MonkeyPatch()  # for good
# no test cuts the power, and waiting for the disk took a twentieth of the time
patched.setattr(os, "fsync", lambda _: None)
# lightning asks this at every start of a run, and it reads the files of all installed packages
patched.setattr(importlib.metadata, "entry_points", functools.cache(importlib.metadata.entry_points))


def pytest_collection_finish() -> None:
    """What stands now stays until the end: the collector need not go through it again and again."""
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # or compiled modules report at the end what they think has leaked


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of randomness."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """The library as its users run it, without shape checks, which would refuse some bad arguments before it does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors: more threads only slow them down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

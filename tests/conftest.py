"""Fixtures of all tests."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator

import jaxtyping
import pytest
import torch

from tests import shapes

shapes.install()  # before any test imports the library
gc.disable()  # until the tests are collected


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

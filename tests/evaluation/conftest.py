"""Two runs of two steps, which several tests look at."""

from __future__ import annotations

import pytest

from flowops.runs import Run
from flowops.training import train
from tests.runs.small import maker, silent


def _trained(factory: pytest.TempPathFactory, dataset: str) -> Run:
    return train(maker(factory.mktemp("runs"))(dataset, dataset, steps=2, averages=(0.9,)), report=silent)


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """On the checkerboard; tests must not change it."""
    return _trained(tmp_path_factory, "checkerboard")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """On digits, with labels; tests must not change it."""
    return _trained(tmp_path_factory, "digits")

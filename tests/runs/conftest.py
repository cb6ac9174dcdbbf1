"""Small runs, which draw no pictures unless a test looks at them, and where their checkpoints lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowops.runs import Run
from flowops.training import train
from tests.runs.small import Make, maker, silent
from tests.runs.small import no_pictures as no_pictures
from tests.runs.small import operations as operations
from tests.runs.small import pictures as pictures
from tests.runs.small import small as small


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the checkpoints of a run lie."""
    return tmp_path / "run" / "checkpoints"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Settings of runs that several tests look at."""
    return maker(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def plain(trained: Make) -> Run:
    """A run without labels; tests must not change it."""
    return train(trained("plain", averages=(0.1, 0.9)), report=silent)


@pytest.fixture(scope="module")
def labelled(trained: Make) -> Run:
    """A run with labels; tests must not change it."""
    return train(trained("labelled", "digits", steps=3), report=silent)

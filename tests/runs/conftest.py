"""Small runs, which draw no pictures unless a test looks at them, and where their checkpoints lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.small import no_pictures as no_pictures
from tests.runs.small import pictures as pictures
from tests.runs.small import small as small


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the checkpoints of a run lie."""
    return tmp_path / "run" / "checkpoints"

"""The runs of a recipe draw no pictures and do not count their operations, which takes longer than a few steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def plain() -> Iterator[None]:
    """`tests/training` looks at both; what an experiment draws itself is drawn."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("flowops.training.record.flop_per_sample", lambda *_: 1.0)
        patched.setattr("flowops.training.record.save_comparison", lambda *_: None)
        patched.setattr("flowops.training.record.POINTS", 4)
        yield

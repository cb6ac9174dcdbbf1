"""The runs of a recipe do not count their operations, which takes longer than two steps of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def uncounted() -> Iterator[None]:
    """`tests/training/test_flops.py` counts."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("flowops.training.record.flop_per_sample", lambda *_: 1.0)
        yield

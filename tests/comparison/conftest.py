"""Comparisons of tiny networks on the checkerboard, which take seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowops.comparison import Comparison, Protocol, compare
from flowops.runs import LogConfig, NetworkConfig, TrainConfig

Compare = Callable[..., Comparison]
SMALL = TrainConfig(
    "checkerboard",
    batch=16,
    averages=(0.9,),
    checkpoint_every=2,
    network=NetworkConfig("mlp", width=8, depth=2, octaves=1),
    log=LogConfig(tensorboard=False, progress=False),
)
SHORT = Protocol(steps=(1, 2), n=40)


@pytest.fixture
def pictures() -> None:
    """The curves of a comparison are drawn, which costs as much as a small entry, after each of them."""


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not, unless a test asks for `pictures`; the runs draw none and do not count their operations."""
    monkeypatch.setattr("flowops.training.record.save_comparison", lambda *_: None)
    monkeypatch.setattr("flowops.training.record.POINTS", 4)
    monkeypatch.setattr("flowops.training.record.flop_per_sample", lambda *_: 1.0)
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("flowops.comparison.comparison.save_figure_of", lambda *_: None)


@pytest.fixture
def small(tmp_path: Path) -> Compare:
    """A comparison of 64 samples an entry in this process; anything can be changed."""

    def made(*methods: str, config: TrainConfig = SMALL, **changed: Any) -> Comparison:
        settings = {"samples_seen": 64, "seeds": (0,), "protocol": SHORT, "out": tmp_path / "compare", "jobs": 0}
        return compare(config, methods=methods, report=lambda _: None, **{**settings, **changed})

    return made

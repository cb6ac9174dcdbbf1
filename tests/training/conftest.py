"""Small runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowops.training import LogConfig, NetworkConfig, TrainConfig

Make = Callable[..., TrainConfig]


@pytest.fixture
def small(tmp_path: Path) -> Make:
    """Settings of a run that takes a second: a tiny perceptron on the checkerboard; anything can be changed."""

    def make(name: str = "run", dataset: str = "checkerboard", **changed: Any) -> TrainConfig:
        settings: dict[str, Any] = {
            "steps": 8,
            "batch": 16,
            "checkpoint_every": 4,
            "out": str(tmp_path / name),
            "audit": False,
            "network": NetworkConfig(width=8, depth=2, octaves=1, channels=4, multipliers=(1, 2), blocks=1),
            "log": LogConfig(telemetry_every=4, tensorboard=False, progress=False),
        }
        return TrainConfig(dataset, **{**settings, **changed})

    return make

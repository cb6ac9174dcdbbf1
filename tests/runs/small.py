"""Settings of runs that take a second, for the tests of runs and of the training, as fixtures of both folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flowops.data import Pairs
from flowops.runs import LogConfig, NetworkConfig, TrainConfig

Make = Callable[..., TrainConfig]
PERCEPTRON = NetworkConfig("mlp", width=8, depth=2, octaves=1)
UNET = NetworkConfig("unet", channels=4, multipliers=(1,), blocks=1, attention=())


def maker(folder: Path) -> Make:
    """Makes settings of a tiny network on the checkerboard, in a folder of that name; anything can be changed."""

    def make(name: str = "run", dataset: str = "checkerboard", **changed: Any) -> TrainConfig:
        settings: dict[str, Any] = {
            "steps": 8,
            "batch": 16,
            "checkpoint_every": 4,
            "out": str(folder / name),
            "network": PERCEPTRON if dataset != "digits" else UNET,
            "log": LogConfig(telemetry_every=4, tensorboard=False, progress=False),
        }
        return TrainConfig(dataset, **{**settings, **changed})

    return make


def silent(_: str) -> None:
    """Say nothing."""


@pytest.fixture
def small(tmp_path: Path) -> Make:
    """Settings of a run that takes a second: a tiny network on the checkerboard; anything can be changed."""
    return maker(tmp_path)


@pytest.fixture
def pictures() -> None:
    """Pictures are drawn, which costs most of the time of a small run."""


@pytest.fixture
def operations() -> None:
    """Operations of a step are counted, which calls the network at the first one and takes as long as several."""


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not, unless a test asks for `pictures`; nor are operations counted, unless it asks for `operations`."""
    if not {"operations", "pictures"} & set(request.fixturenames):
        monkeypatch.setattr("flowops.training.record.flop_per_sample", lambda *_: 1.0)
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("flowops.training.record.save_comparison", lambda *_: None)
        monkeypatch.setattr("flowops.training.record.POINTS", 4)  # of which samples are drawn all the same


def pairs() -> Pairs:
    """A data set of pairs."""
    x0 = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return Pairs(x0, x0 + 1)


def normal_pairs() -> Pairs:
    """A data set of pairs whose base is standard normal."""
    x0 = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    return Pairs(x0, x0 + 1, normal_base=True)

"""Runs with networks and teachers of diffusers: trained, resumed, loaded, sampled, and refused in sentences."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowops import Run, TrainConfig, interpolants, train
from flowops.adapters.diffusers import velocity_field
from flowops.runs.settings import LogConfig, NetworkConfig, OptimizerConfig
from tests.cli.commands import TINY, Console
from tests.examples import normal
from tests.pretrained import diffusers, saved, transformer, unet

pytest.importorskip("lightning")
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]


@pytest.fixture
def flowops(capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(capsys)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Pipelines of 8x8 images: a flow-matching U-Net of ten classes and none, and a transformer that predicts noise."""
    top = tmp_path_factory.mktemp("diffusers")
    flow = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    made = {
        "unet": (unet(num_class_embeds=11), flow),
        "transformer": (transformer(), diffusers.DDPMScheduler(prediction_type="v_prediction")),
        "plain": (unet(), flow),
        "coloured": (unet(in_channels=3, out_channels=3), flow),
        "few": (unet(num_class_embeds=3), flow),
    }
    return {name: f"diffusers:{saved(top / name, *parts)}" for name, parts in made.items()}


def config(out: Path, network: str, **settings: Any) -> TrainConfig:
    log = LogConfig(progress=False, tensorboard=False, telemetry_every=0)
    own: dict[str, Any] = {"method": "lmd", "steps": 3, "batch": 4, "averages": (0.9,), "log": log}
    return TrainConfig("digits", network=NetworkConfig(network), out=str(out), **{**own, **settings})


@pytest.mark.parametrize("name", [pytest.param("unet", marks=pytest.mark.slow), "transformer"])
def test_a_run_is_trained_resumed_loaded_and_sampled(name: str, folders: dict[str, str], tmp_path: Path) -> None:
    said: list[str] = []
    whole = train(config(tmp_path / "whole", folders[name], teacher=folders[name]), report=said.append)
    held = [line for line in said if "its clock is held there" in line]
    assert len(held) == (name == "transformer")
    parts = config(tmp_path / "parts", folders[name], teacher=folders[name])
    train(replace(parts, steps=1), report=said.append)
    resumed = train(parts, resume=True, report=said.append)
    weights = whole.X.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in resumed.X.state_dict().items())
    loaded = Run.load(tmp_path / "whole")
    assert loaded.config.network.parameterization == "average-velocity"
    first, second = (run.sample(n=2, steps=2, label=3, seed=1) for run in (whole, loaded))
    assert first.isfinite().all()
    assert torch.equal(first, second)


def test_a_run_that_learns_nothing_is_the_pretrained_field(folders: dict[str, str], tmp_path: Path) -> None:
    still = OptimizerConfig("adam", rate=1e-30)
    run = train(config(tmp_path, folders["unet"], method="lsd", steps=1, optimizer=still), report=lambda _: None)
    b = velocity_field(folders["unet"].removeprefix("diffusers:"), interpolant=interpolants.linear(), classes=10)
    x = normal(2, 1, 8, 8, dtype=torch.float32)
    with torch.no_grad():
        for given in (b.given(label=4), b):
            X = run.X.given(label=4) if given is not b else run.X
            assert_close(X.velocity()(0.3, x), given(0.3, x), rtol=1e-5, atol=1e-6)
            assert_close(X(0.3, 0.8, x), x + 0.5 * given(0.3, x))


def test_a_teacher_of_diffusers_teaches_a_network_of_ours(folders: dict[str, str], tmp_path: Path) -> None:
    small = NetworkConfig("unet", channels=4, multipliers=(1,), blocks=1, attention=())
    settings = config(tmp_path, "unet", teacher=folders["transformer"], interpolant="trigonometric")
    run = train(replace(settings, network=small), report=lambda _: None)
    assert run.sample(n=2, steps=1, label=1).isfinite().all()


@pytest.mark.slow
def test_the_command_line_takes_both(folders: dict[str, str], flowops: Console, tmp_path: Path) -> None:
    words = ("digits", "--method", "lmd", "--teacher", folders["unet"], "--network", folders["unet"], *TINY)
    done = flowops("train", *words, "--network.options", "time_scale=4", "--steps", "2", "--out", str(tmp_path / "run"))
    assert done.code == 0, done.err
    shutil.copytree(tmp_path / "run", tmp_path / "moved")
    assert flowops("sample", str(tmp_path / "moved"), "--n", "2", "--steps", "1", "2").code == 0


def test_what_does_not_fit_a_run_is_one_sentence(folders: dict[str, str], flowops: Console, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    cases: list[tuple[tuple[str, ...], str]] = [
        (("--network", f"diffusers:{tmp_path}/none"), "must be a folder saved by diffusers"),
        (("--network", folders["coloured"]), "`model` must take states of the data's shape [1, 8, 8]"),
        (("--network", folders["few"]), "`model` must know the 10 classes of the data, got one of 3"),
        (("--network", folders["unet"], "--network.parameterization", "edm"), "must be average-velocity"),
        (("--network", folders["unet"], "--network.options", "width=3"), "`width` must be an option of"),
        (
            ("--network", folders["unet"], "--network.options", "attention=flash"),
            'attention must be "written" or "fused"',
        ),
        (("--network", folders["unet"], "--network.options", "attention=fused"), "write_attention_out"),
        (("--method", "lmd", "--teacher", folders["coloured"]), "`model` must take states of the data's shape"),
        (("--method", "lmd", "--teacher", "diffusers:"), "must hold one model"),
    ]
    for words, sentence in cases:
        said = flowops("train", "digits", *words, *TINY, "--steps", "1", "--out", out)
        assert sentence in said.error, said


def test_fused_attention_trains_by_central_differences(folders: dict[str, str], tmp_path: Path) -> None:
    fused = NetworkConfig(folders["plain"], attention="fused")
    settings = replace(config(tmp_path, "unet", method="lsd", options=("derivatives=central",)), network=fused)
    run = train(settings, report=lambda _: None)
    assert run.sample(n=2, steps=1).isfinite().all()


def test_a_run_whose_folder_is_gone_says_so(folders: dict[str, str], tmp_path: Path) -> None:
    place = shutil.copytree(folders["plain"].removeprefix("diffusers:"), tmp_path / "pipeline")
    train(config(tmp_path / "run", f"diffusers:{place}", method="lsd", steps=1), report=lambda _: None)
    shutil.rmtree(place)
    with pytest.raises(FileNotFoundError, match=r"pipeline` must be a folder saved by diffusers"):
        Run.load(tmp_path / "run")

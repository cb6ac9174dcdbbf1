"""The papers' recipes: their constants one by one, that they assemble at full size, and that they train when shrunk."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from experiments.recipes import (
    cifar10_ayf,
    cifar10_cmt,
    cifar10_ect,
    cifar10_lsd,
    cifar10_meanflow,
    cifar10_scm,
    edm_weights,
    table,
)
from experiments.recipes._edm import WEIGHTS, network
from experiments.recipes._recipe import DAY, Stage
from flowops.data import Images, Split
from flowops.fields import VelocityField
from flowops.interpolants import edm
from flowops.networks import DDPMpp
from flowops.runs import Run, TrainConfig
from flowops.runs.assembly import completed, interpolant_of, map_of, method_of, network_of
from flowops.runs.checkpoint import load_checkpoint
from flowops.runs.settings import check_config, get, with_value
from flowops.training import NetworkConfig, OptimizerConfig, train
from tests.runs.small import silent

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
STAGES = [pytest.param(s, id=f"{r.name}-{s.name}") for r in table.RECIPES for s in r.stages]
LSD, MEANFLOW, ECT = cifar10_lsd.RECIPE.stages[0], cifar10_meanflow.RECIPE.stages[0], cifar10_ect.RECIPE.stages[0]
SCT, (MID, POST) = cifar10_scm.RECIPE.stages[0], cifar10_cmt.RECIPE.stages
CONSTANTS: list[tuple[Stage, Mapping[str, Any]]] = [
    (
        LSD,
        {
            "steps": 400_000,
            "batch": 512,
            "optimizer.kind": "radam",
            "optimizer.rate": 1e-2,
            "optimizer.schedule": "inverse-sqrt",
            "optimizer.decay_start": 35_000,
            "optimizer.beta1": 0.9,
            "optimizer.beta2": 0.999,
            "optimizer.warmup": 0,
            "optimizer.clip": 1.0,
            "optimizer.clip_unit": "one",
            "averages": (0.9999, 0.999),
            "hardware.precision": "32",
            "alpha": "(1-t)/2",
            "beta": "t",
            "labels": False,
            "coupling": "independent",
            "network.parameterization": "average-velocity",
            "network.parameterization_options": ("sigma_data=0.5",),
            "data_options": ("flip=false",),
        },
    ),
    (
        MEANFLOW,
        {
            "steps": 800_000,
            "batch": 1024,
            "optimizer.kind": "adam",
            "optimizer.rate": 6e-4,
            "optimizer.schedule": "constant",
            "optimizer.warmup": 200 * 50_000 // 1024,
            "optimizer.beta1": 0.9,
            "optimizer.beta2": 0.999,
            "optimizer.clip": 0.0,
            "averages": (0.9999, 0.99995, 0.9996),
            "augment": 0.12,
            "hardware.precision": "32",
            "interpolant": None,
            "labels": False,
            "data_options": ("flip=false",),
        },
    ),
    (
        ECT,
        {
            "steps": 25_600_000 // 128,
            "batch": 128,
            "optimizer.kind": "radam",
            "optimizer.rate": 1e-4,
            "optimizer.schedule": "constant",
            "optimizer.beta2": 0.999,
            "optimizer.clip": 0.0,
            "averages": (0.9999,),
            "interpolant": "edm",
            "augment": 0.0,
        },
    ),
    (
        SCT,
        {
            "steps": 350_000,
            "batch": 512,
            "optimizer.kind": "radam",
            "optimizer.rate": 1e-4,
            "optimizer.beta2": 0.99,
            "optimizer.clip": 0.0,
            "averages": (0.9999, 0.99995, 0.9996),
        },
    ),
    (
        MID,
        {
            "steps": 38_400_000 // 128,
            "batch": 128 // 16,
            "optimizer.kind": "radam",
            "optimizer.rate": 2e-4,
            "optimizer.schedule": "linear",
            "optimizer.beta2": 0.999,
            "averages": (0.999,),
        },
    ),
    (
        POST,
        {
            "steps": 12_800_000 // 128,
            "batch": 128,
            "optimizer.kind": "radam",
            "optimizer.rate": 1e-4,
            "optimizer.schedule": "linear",
            "averages": (0.9999,),
        },
    ),
]
METHODS: list[tuple[Stage, Mapping[str, str]]] = [
    (LSD, {"eta": "0.75", "dropout": "diagonal", "stop_gradient": "True", "ema_teacher": "False", "balance": "rows"}),
    (LSD, {"law": "None", "form": "map", "norm": "Squared()", "p": "0.0"}),  # None: the row's own, the uniform triangle
    (MEANFLOW, {"eta": "0.25", "p": "0.75", "c": "0.001", "tangent": "1.0", "weight": "None", "norm": "Squared()"}),
    (MEANFLOW, {"law": "StartEnd(start=LogitNormal(mean=0.6, std=1.6), end=LogitNormal(mean=4.0, std=1.6))"}),
    (ECT, {"one_mask": "True", "weight": "InverseStep()", "norm": "PseudoHuber(c=1e-08)"}),
    (
        ECT,
        {"law": "Shrinking(law=LogNoise(mean=-1.1, std=2.0), q=2.0, k=8.0, b=1.0, steps_per_stage=25000, stages=8)"},
    ),
    (SCT, {"form": "trigflow", "normalize": "0.1", "warmup": "10000"}),
    (SCT, {"law": "EndpointFixed(law=LogNoise(mean=-1.0, std=1.4), end=1.0)"}),
    (MID, {"solver": "dpm-solver", "start": "trajectory"}),
    (
        POST,
        {
            "law": "Shrinking(law=LogNoise(mean=-1.1, std=2.0), q=4096.0, k=8.0, b=1.0, "
            "steps_per_stage=1000000000, stages=1)"
        },
    ),
]


@pytest.mark.parametrize(("stage", "constants"), CONSTANTS, ids=lambda value: getattr(value, "name", ""))
def test_a_setting_is_that_of_the_paper(stage: Stage, constants: Mapping[str, Any]) -> None:
    assert {name: get(stage.written(), name) for name in constants} == constants


def plain_norm(config: TrainConfig) -> TrainConfig:
    """Without LPIPS, whose weights a test does not have."""
    return replace(config, options=tuple(text for text in config.options if text != "norm=lpips"))


@pytest.mark.parametrize(("stage", "options"), METHODS, ids=lambda value: getattr(value, "name", ""))
def test_an_option_is_that_of_the_paper(stage: Stage, options: Mapping[str, str]) -> None:
    held = method_of(plain_norm(stage.written())).options
    assert {name: str(getattr(held, name)) for name in options} == options


def test_the_networks_are_those_of_the_papers() -> None:
    def options(stage: Stage) -> dict[str, str]:
        return dict(text.split("=", 1) for text in stage.config.network.options)

    lsd = options(LSD)
    assert (lsd["channels"], lsd["multipliers"], lsd["blocks"], lsd["attention"]) == ("128", "2,2,2", "4", "16,")
    assert (lsd["dropout"], lsd["heads_width"], lsd["time_scale"]) == ("0.13", "64", "1.0")
    assert lsd["forced_normalization"] == lsd["magnitude_preserving"] == "true"
    assert "norm=lpips" in MID.config.options
    weight = method_of(LSD.config).options.weight.network
    assert weight.last.weight.shape == (1, 128)
    assert options(MEANFLOW) == {"dropout": "0.2", "augment": "6", "resample": "1,3,3,1", "features": "2"}
    for stage in (ECT, SCT, MID, POST):
        assert options(stage)["dropout"] == "0.2"
        assert stage.config.network.parameterization == "edm"
        assert stage.config.network.parameterization_options == ("sigma_data=0.5",)


@cache
def size_of(network: NetworkConfig, interpolant: str | None, *formulas: str | None) -> float:
    """Millions of parameters of a network whose map has a derivative: its shape alone is computed, once for all."""
    alpha, beta, gamma = formulas
    config = TrainConfig("cifar10", network=network, interpolant=interpolant, alpha=alpha, beta=beta, gamma=gamma)
    schedule = interpolant_of(config)
    with pytest.MonkeyPatch.context() as patched, torch.device("meta"):
        patched.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none for shapes
        net = network_of(config, (3, 32, 32), None, source=torch.Generator().manual_seed(0))
        X = map_of(config, net, schedule, None).to("meta")
        x, t = torch.empty(2, 3, 32, 32), torch.empty(2)
        assert X.value_and_dt(t, t, x)[1].shape == x.shape
    return sum(p.numel() for p in net.parameters()) / 1e6


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_complete_and_its_network_has_its_size(stage: Stage) -> None:
    config = completed(stage.written(), {}, (3, 32, 32))
    check_config(config)
    size = size_of(config.network, config.interpolant, config.alpha, config.beta, config.gamma)
    assert 54 < size < 58 or stage.name == "weak"


def test_the_noise_level_that_a_network_is_told_is_that_of_its_schedule() -> None:
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    for config in (WEIGHTS, SCT.config, ECT.config, MID.config):
        I = interpolant_of(config)
        text = dict(text.split("=", 1) for text in config.network.options)["noise_level"]
        net = DDPMpp(channels=4, multipliers=(1,), blocks=1, attention=(), noise_level=text)
        assert net.noise is not None
        torch.testing.assert_close(net.noise.alpha(t), I.alpha(t) / I.beta(t), rtol=1e-9, atol=0)
    assert float(edm().alpha(cifar10_ect.MIDDLE)) == pytest.approx(0.821, abs=1e-3)


class TestOneDay:
    def test_a_day_holds_the_samples_that_it_says(self) -> None:
        assert pytest.approx(1024 * 86_400 / 1.68) == DAY
        for recipe in table.RECIPES:
            short = recipe.written(one_day=True)
            spent = sum(
                (short[s.name].steps or 0) * (s.config.batch or 0) * (16 if s.name == "mid" else 1) * s.passes / 4
                for s in recipe.stages
            )
            assert spent <= DAY * 1.001
            assert spent > 0.9 * min(DAY, recipe.samples)

    def test_what_is_counted_in_steps_is_shortened_alike(self) -> None:
        config = cifar10_lsd.RECIPE.written(one_day=True)["lsd"]
        assert config.optimizer.decay_start / 35_000 == pytest.approx((config.steps or 0) / 400_000, rel=0.02)
        config = cifar10_scm.RECIPE.written(one_day=True)["sct"]
        assert method_of(config).options.warmup / 10_000 == pytest.approx((config.steps or 0) / 350_000, rel=0.05)
        assert cifar10_ect.RECIPE.written(one_day=True)["ect"].steps == 200_000


def test_the_stages_read_the_folders_that_others_write() -> None:
    mid, post = cifar10_cmt.RECIPE.written().values()
    assert (mid.init, mid.teacher, post.init) == ("runs/edm_cifar10", "runs/edm_cifar10", mid.out)
    student = cifar10_ayf.RECIPE.written()["student"]
    assert student.init == cifar10_ayf.RECIPE.written()["strong"].out


def test_the_page_is_as_it_would_be_written() -> None:
    assert table.FILE.read_text(encoding="utf-8") == table.text()


def pictures() -> Images:
    """A few pictures of 8 x 8, of one colour each."""
    colours = torch.randint(0, 256, (64, 3, 1, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = colours.expand(64, 3, 8, 8).contiguous()
    return Images("made", {"train": Split(pixels), "test": Split(pixels)}, provenance="made")


SHRUNK = {"channels": "8", "multipliers": "1,2", "blocks": "1", "attention": "4,"}
OF_UNETS = {"heads_width": "8", "conditions_width": "8"}


def shrunk(config: TrainConfig, folder: Path, **changed: Any) -> TrainConfig:
    """The same settings with a small network, for two steps."""
    n = config.network
    given = dict(text.split("=", 1) for text in n.options)
    known = (
        SHRUNK
        if n.kind == "unet"
        else {k: v for k, v in SHRUNK.items() if k not in ("heads_width", "conditions_width")}
    )
    net = replace(n, options=tuple(f"{k}={v}" for k, v in (given | known).items()))
    config = replace(plain_norm(config), network=net, steps=2, batch=16 if config.method != "cmt" else 2, **changed)
    for name, value in (("log.progress", False), ("log.tensorboard", False), ("log.pictures", ()), ("audit", False)):
        config = with_value(config, name, value)
    return replace(config, checkpoint_every=0, out=str(folder))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network in a folder, as those of EDM are; tests must not change it."""
    tmp_path = tmp_path_factory.mktemp("weights")
    config = shrunk(WEIGHTS, tmp_path / "edm")
    options = (*config.options, "weight=Denoising(0.5)")
    taught = replace(
        config, options=options, steps=40, optimizer=OptimizerConfig(rate=1e-2), out=str(tmp_path / "taught")
    )
    train(taught, dataset=pictures(), report=silent)
    held = load_checkpoint(tmp_path / "taught" / "checkpoints" / "40").weights
    torch.save({f"model.{name}": value for name, value in held.items()}, tmp_path / "edm.pt")
    edm_weights.taken(tmp_path / "edm.pt", pictures(), tmp_path / "edm", config)
    return tmp_path / "edm"


@pytest.mark.parametrize("stage", [LSD, MEANFLOW], ids=lambda stage: stage.name)
def test_a_shrunk_one_trains(stage: Stage, tmp_path: Path) -> None:
    run = train(shrunk(stage.written(), tmp_path / "run"), dataset=pictures(), report=silent)
    assert run.step == 2
    assert bool(run.sample(2).isfinite().all())


@pytest.mark.parametrize(
    "stage", [pytest.param(ECT, marks=pytest.mark.slow), SCT, MID, POST], ids=lambda stage: stage.name
)
def test_a_shrunk_one_trains_from_weights(stage: Stage, weights: Path, tmp_path: Path) -> None:
    taught = {"teacher": str(weights)} if stage.teacher else {}
    config = shrunk(stage.written(), tmp_path / "run", init=str(weights), **taught)
    run = train(config, dataset=pictures(), report=silent)
    assert run.step == 2
    assert bool(run.sample(2).isfinite().all())


def test_an_autoguided_teacher_is_distilled(tmp_path: Path) -> None:
    strong, weak, student = cifar10_ayf.RECIPE.stages
    runs = {
        s.name: train(shrunk(s.written(), tmp_path / s.name), dataset=pictures(), report=silent) for s in (strong, weak)
    }
    assert student.guide is not None
    teacher = student.guide(runs)
    assert isinstance(teacher, VelocityField)
    x, t = torch.randn(2, 3, 8, 8), torch.full((2,), 0.4)
    one, other = (runs[name].X.velocity()(t, x) for name in ("strong", "weak"))
    torch.testing.assert_close(teacher(t, x), other + cifar10_ayf.SCALE * (one - other))
    config = shrunk(student.written(), tmp_path / "student", init=str(tmp_path / "strong"))
    assert train(config, dataset=pictures(), teacher=teacher, report=silent).step == 2


class TestWeights:
    def test_they_are_a_run_whose_field_is_edms(self, weights: Path) -> None:
        run = Run.load(weights, dataset=pictures())
        assert run.step == 0
        assert isinstance(run.X.network, DDPMpp)
        assert bool(run.solve(2, method="heun", steps=2).x.isfinite().all())

    def test_such_as_do_not_denoise_are_refused_and_nothing_is_written(self, tmp_path: Path) -> None:
        config = shrunk(WEIGHTS, tmp_path / "edm")
        net = network_of(completed(config, {}, (3, 8, 8)), (3, 8, 8), None, source=torch.Generator().manual_seed(0))
        for parameter in net.parameters():
            nn.init.normal_(parameter)
        torch.save(net.state_dict(), tmp_path / "wrong.pt")
        with pytest.raises(ValueError, match=r"FILE must hold weights that denoise made: .* is left"):
            edm_weights.taken(tmp_path / "wrong.pt", pictures(), tmp_path / "edm", config)
        assert not (tmp_path / "edm" / "checkpoints").exists()

    @pytest.mark.parametrize("content", [b"\x80\x04cos\nsystem\n", b"nothing"])
    def test_a_foreign_file_is_one_line(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "edm.pkl").write_bytes(content)
        with pytest.raises(ValueError, match=r"FILE must be .safetensors or a state dict by torch.save"):
            edm_weights.read(tmp_path / "edm.pkl")

    def test_without_them_a_recipe_says_what_to_fetch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FileNotFoundError, match="runs/edm_cifar10 must hold EDM's published weights, and does"):
            cifar10_ect.RECIPE.train([], one_day=False)


def test_the_settings_of_the_weights_are_those_of_edm() -> None:
    assert network().options[0].startswith("noise_level=")
    assert isinstance(WEIGHTS.network, NetworkConfig)
    assert float(edm().alpha(0.0)) == pytest.approx(80.0)

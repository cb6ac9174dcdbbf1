"""The recipes from their commands to their tables and pictures, cut down to seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import (
    cifar10_cpu,
    cifar10_distill,
    digits_inversion,
    digits_lsd,
    imagenet32_lsd,
    schedule_comparison,
)
from experiments._recipes import configured, recipe, status
from experiments.recipes import cifar10_lsd
from flowops.data import open_dataset
from flowops.runs.assembly import completed
from flowops.runs.settings import check_config
from flowops.training import load_config
from tests.programs import run

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*more samples:UserWarning")
TINY = [
    "--steps", "3", "--batch", "16", "--network.kind", "mlp", "--network.options", "width=8", "depth=1",
    "--log.no-progress", "--no-audit",
]  # fmt: skip


@pytest.mark.parametrize(
    "module",
    [digits_lsd, digits_inversion, cifar10_cpu, cifar10_lsd, imagenet32_lsd, cifar10_distill, schedule_comparison],
)
def test_the_settings_of_every_recipe_are_valid(module: object) -> None:
    check_config(completed(module.CONFIG, {}, (3, 32, 32)))  # type: ignore[attr-defined]


def test_the_digits_are_trained_as_their_data_set_suggests() -> None:
    digits = open_dataset("digits")
    config = completed(digits_lsd.CONFIG, digits.defaults, digits.event)
    assert (config.steps, config.network.kind, config.optimizer.schedule) == (2_600, "mlp", "linear")
    assert (config.optimizer.kind, config.network.parameterization) == ("muon", "edm")
    assert config.options == ("eta=0.5", "law=InsideSteps(3)")


def test_flags_change_the_settings_of_a_recipe_and_nothing_else() -> None:
    config, resume = configured(cifar10_lsd.CONFIG, "cifar10_lsd", ["digits", "--batch", "8", "--resume"])
    assert config == replace(cifar10_lsd.CONFIG, dataset="digits", batch=8)
    assert resume


@pytest.mark.slow
def test_digits_go_to_noise_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits_inversion.invert([*TINY, "--out", str(tmp_path / "square")])
    made = tmp_path / "square" / "inversion"
    assert (made / "errors.md").read_text() in capsys.readouterr().out
    assert {"edits.png", "interpolation.png", "pictures.png"} <= {file.name for file in made.iterdir()}
    assert (made / "shown" / "pictures.png").is_file()


def test_digits_write_a_table_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert recipe(digits_lsd.CONFIG, "digits_lsd", [*TINY, "--out", str(out)], n=80, solver_steps=2) == 0
    text = (out / "evaluation.md").read_text()
    assert all(name in text for name in ("map, 1 step", "map, 8 steps", "dopri5", "Lagrangian", "semigroup"))
    assert text.strip() in capsys.readouterr().out
    assert (out / "samples.png").stat().st_size > 1000
    assert recipe(digits_lsd.CONFIG, "digits_lsd", [*TINY, "--out", str(out), "--resume"], n=80, solver_steps=2) == 0


PROGRAM = """
import os
from pathlib import Path
from experiments import digits_lsd
from experiments._recipes import recipe
from flowops.evaluation import Evaluation

folder, save = Path(__file__).parent, Evaluation.save

def noted(self, path):
    with (folder / "saved.txt").open("a") as file:
        file.write(f"{{os.getpid()}} {{path}}\\n")
    save(self, path)

Evaluation.save = noted
words = [*{words!r}, "--out", str(folder / "run")]
assert recipe(digits_lsd.CONFIG, "digits_lsd", words, n=81, solver_steps=2) == 0
"""


@pytest.mark.slow
@pytest.mark.dist
def test_of_several_processes_each_samples_and_one_writes(tmp_path: Path) -> None:
    words = [*TINY, "--hardware.devices", "2", "--hardware.accelerator", "cpu", "--hardware.strategy", "ddp"]
    printed = run(tmp_path, PROGRAM.format(words=words))
    assert (tmp_path / "saved.txt").read_text().count("\n") == 1
    text = (tmp_path / "run" / "evaluation.md").read_text()
    assert "81 samples of each sampler on cpu, by 2 processes, seed 0." in text
    assert printed.count(text.strip()) == 1


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe(digits_lsd.CONFIG, "digits_lsd", ["--steps", "0", "--out", str(tmp_path / "a")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_a_distillation_trains_the_teacher_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["digits", *TINY, "--out", str(tmp_path), "--hardware.precision", "32"]
    cifar10_distill.distil(words, n=80)
    text = (tmp_path / "distillation.md").read_text()
    assert all(f"{name}, step 3" in text for name in ("fm", "lmd", "emd"))
    for name in ("lmd", "emd"):
        config = load_config(tmp_path / name / "config.yaml")
        assert (config.method, config.teacher) == (name, str(tmp_path / "fm"))

    def retrained(*_: object, **__: object) -> None:
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr("flowops.training.engine.Engine._advance", retrained)
    cifar10_distill.distil(words, n=80)


@pytest.mark.slow
def test_a_long_run_shows_its_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = [*TINY[2:], "--steps", "110", "--checkpoint-every", "50", "--log.telemetry-every", "0"]
    cifar10_cpu.go(["digits", *tiny, "--out", str(tmp_path)])
    assert "| 1 to 50 |" in (tmp_path / "progress.md").read_text()
    assert "| 101 to 110 |" in capsys.readouterr().out
    assert (tmp_path / "progress.png").stat().st_size > 1000


@pytest.mark.slow
def test_five_schedules_are_compared_one_of_them_ones_own(tmp_path: Path) -> None:
    words = [*TINY, "--out", str(tmp_path), "--alpha", "(1-t)**2", "--beta", "1-(1-t)**2"]
    schedule_comparison.compare(words, n=80)
    lines = (tmp_path / "comparison.md").read_text().splitlines()
    trained, losses = "\n".join(lines).split("Flow-matching loss")
    assert trained.count("\n| `") == 5 + 6  # two schedules are trained under three cures as well
    assert losses.count("\n| `") == 4 + 6
    assert any("(1-t)**2" in line for line in lines)
    for name in ("comparison.png", "cures.png"):
        assert (tmp_path / name).stat().st_size > 1000


def test_the_status_of_an_interruption_is_that_of_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    from flowops.training import Interrupted

    def work() -> None:
        raise Interrupted(3, 5, Path("runs/a"), "SIGINT")

    assert status(work, "name") == 130
    assert "after step 3 of 5" in capsys.readouterr().err

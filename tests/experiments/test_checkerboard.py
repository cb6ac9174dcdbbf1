"""The experiments on the checkerboard: what a method is given there, and a training too short to be good."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments import checkerboard, checkerboard_protocol
from experiments._board import kl_48, kl_50, residual_maps
from experiments._recipes import configured, status
from flowops import Run, interpolants, problems
from flowops.methods import get_method
from flowops.training import train

QUICK = [
    "--steps", "3", "--minutes", "0", "--batch", "64", "--checkpoint-every", "0",
    "--network.options", "width=8", "depth=1", "--optimizer.warmup",
    "0", "--hardware.compile", "no", "--log.no-progress",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config, _ = configured(checkerboard.CONFIG, "checkerboard", [*QUICK, "--data-options", "pairs=512"])
    return train(replace(config, out=str(tmp_path_factory.mktemp("board") / "run")), report=lambda _: None)


def test_a_method_that_distils_is_given_the_exact_field_and_independent_pairs() -> None:
    config = checkerboard.settled(replace(checkerboard.CONFIG, method="lmd", data_options=("pairs=512",)))
    assert (config.dataset, config.data_options, config.teacher) == ("checkerboard", (), "problem:checkerboard")
    assert config.options == checkerboard.STEADY["lmd"]
    own = replace(checkerboard.CONFIG, method="lmd", options=("stop_gradient=true",), teacher="somewhere")
    assert checkerboard.settled(own) == own
    assert checkerboard.settled(checkerboard.CONFIG) == replace(checkerboard.CONFIG, options=checkerboard.BEST["lsd"])


def test_exact_samples_score_what_is_known_of_them(generator: torch.Generator) -> None:
    x = problems.checkerboard(interpolants.linear()).sample_data(64_000, generator=generator)
    assert kl_50(x)(x) == pytest.approx(0.065, abs=2e-3)
    assert kl_48(x)(x) == pytest.approx(0.0092, abs=1e-3)
    assert kl_48(x)(x + 0.1) > 0.5


def test_residuals_are_those_of_the_map_that_is_judged(run: Run) -> None:
    maps = residual_maps(run, cells=4, n=8)
    assert all(values.isnan().sum() == 6 for values in maps.values())
    assert all(values.nanmean() > 0 for values in maps.values())
    assert maps["semigroup"].diagonal().max() < 1e-6


def test_the_rows_of_the_protocol_are_those_it_names() -> None:
    for name, method in checkerboard_protocol.ROWS.items():
        assert get_method(method).name == name


def test_a_wrong_argument_gets_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--method", "lds", "--out", str(tmp_path / "run")]
    assert status(lambda: checkerboard.go(words), "checkerboard") == 1
    error = capsys.readouterr().err
    assert "did you mean 'lsd'" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_short_training_writes_its_table_and_its_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkerboard, "SAMPLES", 400)
    out = tmp_path / "run"
    assert status(lambda: checkerboard.go([*QUICK, "--method", "lmd", "--out", str(out)]), "checkerboard") == 0
    assert "wrote" in capsys.readouterr().out
    assert "| map, 16 steps" in (out / "evaluation.md").read_text()
    assert (out / "board.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_short_protocol_has_a_row_for_every_method(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkerboard_protocol, "SAMPLES", 400)
    words = [*QUICK, "--out", str(tmp_path)]
    assert status(lambda: checkerboard_protocol.compare(words), "checkerboard_protocol") == 0
    table = (tmp_path / "protocol.md").read_text()
    for name in ("exact samples", *checkerboard_protocol.ROWS):
        assert table.count(f"| {name} |") == 2
    assert "| *lsd, paper* | 150000 |" in table
    capsys.readouterr()

"""The table of a run from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import Console


def test_the_table_is_printed_and_written(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    out = tmp_path / "table.md"
    words = ("--steps", 1, 2, "--n", 200, "--solver", "heun", "--solver-steps", 3, "--out", out)
    said = flowops("evaluate", board_run, *words)
    assert said.code == 0
    assert out.read_text() == said.out
    rows = [line.split("|")[1].strip() for line in said.out.splitlines() if line.startswith("|")]
    assert rows[2:] == ["map, 1 step", "map, 2 steps", "heun, 3 steps", "data, 200 other draws"]
    held = json.loads((tmp_path / "table.json").read_text())
    assert [row["calls"] for row in held["rows"]] == [1, 2, 6, None]
    assert len(said.err.splitlines()) == 3  # a line for each sampler while it runs


def test_the_table_says_how_the_network_computed(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    out = tmp_path / "table.md"
    words = (
        "--steps",
        1,
        "--n",
        50,
        "--solver",
        "--precision",
        "bf16",
        "--chunk",
        20,
        "--device",
        "auto",
        "--out",
        out,
    )
    said = flowops("evaluate", board_run, *words)
    assert "in bfloat16, seed 0." in said.out.splitlines()[0]
    held = json.loads((tmp_path / "table.json").read_text())
    assert (held["precision"], held["compiled"], held["processes"]) == ("bf16", False, 1)


def test_it_lies_in_the_run_if_nothing_is_said(flowops: Console, board_run: Path) -> None:
    assert flowops("evaluate", board_run, "--steps", 1, "--n", 100, "--solver").code == 0
    for name in ("evaluation.md", "evaluation.json"):
        (board_run / name).unlink()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--n", "5"), "--n must be at least 10 samples to be compared with data, got 5"),
        (("--features", "pixel"), "did you mean 'pixels'?"),
        (("--split", "validation"), "--split must be one of train, test"),
        (("--out", "table.txt"), "--out must end in .md, got table.txt"),
        (("--metrics", "fid"), "--metrics must be among sliced W2, MMD^2, energy distance or package.module:factory"),
        (("--steps", "0", "--n", "100"), "--steps must be a whole number of at least 1, got 0"),
        (("--solver-steps", "0", "--n", "100"), "--solver-steps must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_requests_are_one_sentence(
    flowops: Console, digits_run: Path, words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in flowops("evaluate", digits_run, *words).error


def test_features_need_images(flowops: Console, board_run: Path) -> None:
    said = flowops("evaluate", board_run, "--features", "foo").error
    assert said == "--features must be left out for samples of shape [2], which are no images, got 'foo'; drop it."


def test_guidance_needs_labels(flowops: Console, board_run: Path) -> None:
    assert "--guidance must not be given" in flowops("evaluate", board_run, "--guidance", 2).error

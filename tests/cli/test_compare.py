"""`flowops compare`: its words, its tables, its sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowops.cli.compare import chosen
from flowops.comparison import Comparison
from tests.cli.commands import BOARD, Console


@pytest.fixture
def words(tmp_path: Path) -> tuple[str, ...]:
    board = (*BOARD[:1], "--steps", "1", "2", "--n", "20", "--seeds", "0", "--jobs", "0", *BOARD[1:])
    return (*board, "--samples-seen", "16", "--out", str(tmp_path / "it"))


def test_a_table_and_a_figure(flowops: Console, words: tuple[str, ...], tmp_path: Path) -> None:
    said = flowops("compare", *words, "--methods", "lsd,fm", "--set", "lsd:eta=0.5")
    assert said.code == 0, said.err
    for part in ("`lsd eta=0.5`", "`fm`", "16 images seen by each entry", "At 1 call", "compare.png"):
        assert part in said.out
    assert (tmp_path / "it" / "compare.png").is_file()
    assert len(Comparison.load(tmp_path / "it").rows) == 2
    assert "2 entries, 2 of them finished before" in flowops("compare", *words, "--methods", "fm,lsd", "--set",
                                                             "lsd:eta=0.5").err  # fmt: skip


@pytest.mark.parametrize(
    ("further", "sentence"),
    [
        (("--methods", "lsdd"), "did you mean 'lsd'?"),
        (("--methods", "lsd", "--set", "lsd:K=2"), "`lsd K=2` on linear with independent pairs must be able to run"),
        (("--methods", "lsd", "--set", "fm:eta=1"), "--set must be a row of the comparison"),
        (("--methods", "lmd", "--teacher", "nowhere"), "nowhere"),
        (("--methods", "lsd", "--minutes", "1"), "--samples-seen must be left out beside minutes"),
        (("--methods", "lsd", "--seeds", "1", "1"), "--seeds must be different"),
        (("--methods", "lsd", "--n", "3"), "--n must be at least 10 samples"),
        (("--methods", "lsd", "--schedules", "1-t;t;0;0"), "--schedules must be names, or two or three formulas"),
        (("--methods", "lsd", "--out", "/dev/null/it"), "--out must be a folder that can be written"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    flowops: Console, words: tuple[str, ...], further: tuple[str, ...], sentence: str
) -> None:
    assert sentence in flowops("compare", *words, *further).error


def test_the_flags_of_one_run_are_no_flags_here(flowops: Console, words: tuple[str, ...]) -> None:
    for flag in ("--method", "--seed", "--interpolant"):
        assert flowops("compare", *words, flag, "lsd").code == 2
    said = flowops("compare", "--help")
    assert said.code == 0
    assert "--alpha" not in said.out
    assert "--samples-seen" in said.out


def test_settings_of_a_file_are_shared(board_run: Path) -> None:
    given = chosen(["checkerboard", "--config", str(board_run / "config.yaml"), "--lr", "0.5"], "compare")
    assert given.network.options == ("width=8", "depth=2", "octaves=1")
    assert given.optimizer.rate == 0.5
    assert given.method == "lsd"  # not looked at
    assert given.steps is None
    assert given.out == "runs/compare"

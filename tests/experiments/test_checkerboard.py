"""The experiments on the checkerboard: their command lines, and a training too short to be good."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from experiments import checkerboard, checkerboard_protocol
from experiments._judging import push, residual_maps
from experiments._two_dimensions import board_of, transport_pairs
from flowops import LearnedMap
from flowops.networks import MLP
from flowops.sampling import solve
from tests.programs import run

PROGRAM = """
import sys
from experiments import checkerboard

sys.exit(checkerboard.main(["--steps", "3", "--batch", "64", "--pairs", "0", "--out", {out!r}]))
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "lds"], "did you mean 'lsd'"),
        (["--method", "pfmm"], "--method pfmm needs the map of a previous round"),
        (["--alpha", "1-", "--beta", "t"], "`alpha`"),
        (["--batch", "1"], "--batch must be at least 2, got 1"),
        (["--method", "lmd", "--pairs", "512"], "--pairs must be 0 with lmd"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_argument_gets_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        checkerboard.parse([*arguments, "--out", str(tmp_path)])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_protocol_refuses_what_it_cannot_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        checkerboard_protocol.parse(["--methods", "lsd", "pfmm", "--out", str(tmp_path)])
    assert "map of a previous round" in capsys.readouterr().err


def test_pairs_by_transport_are_shorter_and_keep_both_laws(generator: torch.Generator) -> None:
    board = board_of()
    plain, coupled = (transport_pairs(board, 1024, generator.manual_seed(0), "cpu", rounds=rounds) for rounds in (0, 2))
    for key in ("x0", "x1"):
        one, other = (getattr(pairs, key).sort(0).values for pairs in (plain, coupled))
        assert_close(one, other)
    lengths = [(pairs.x1 - pairs.x0).square().sum(1).mean() for pairs in (plain, coupled)]
    assert lengths[1] < 0.2 * lengths[0]


def test_a_map_is_judged_without_training(generator: torch.Generator) -> None:
    board, X = board_of(), LearnedMap(MLP(2, width=8, depth=1, generator=generator))
    x0 = board.sample(0.0, 512, generator=generator)
    one, many = push(X, x0, 1), push(X, x0, 16)
    assert_close(one, X(0.0, 1.0, x0).detach())
    solved = solve(X.velocity(), x0, "dopri5", tolerance=1e-3)
    assert solved.calls > 6
    assert (many - solved.x).abs().max() < (one - solved.x).abs().max()
    maps = residual_maps(X, board, cells=4, n=8)
    assert all(values.isnan().sum() == 6 for values in maps.values())


@pytest.mark.slow
def test_a_short_training_writes_its_table_and_its_picture(tmp_path: Path) -> None:
    assert "wrote" in run(tmp_path, PROGRAM.format(out=str(tmp_path)))
    assert "| 16 steps | 16 |" in (tmp_path / "checkerboard.md").read_text()
    assert (tmp_path / "checkerboard.png").stat().st_size > 10_000

"""The power-function averages that a run saved: which are found, and which are combined."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flowops.runs import CheckpointError, TrainConfig, save_config, snapshots
from flowops.runs.assembly import completed
from flowops.runs.saving import save_averages
from tests.runs.checkpoints import save, tensors


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run with two widths, of which nothing was saved yet."""
    path = tmp_path / "run"
    path.mkdir()
    save_config(path / "config.yaml", completed(TrainConfig("digits", power=(0.05, 0.1)), {}, (1, 8, 8)))
    return path


def apart(run: Path, step: int, since: dict[str, int] | None = None, *widths: float) -> None:
    """Save averages of a step by themselves; the tensors tell step and width."""
    averages = {f"power-{width:g}": tensors(round(1000 * step + 100 * width)) for width in widths or (0.05, 0.1)}
    save_averages(run / "averages", step, averages, since)


def found(run: Path, *said: str) -> list[tuple[int, float]]:
    """Steps and widths, where these lines are said."""
    told: list[str] = []
    result = snapshots(run, told.append)
    assert len(told) == len(said), told
    assert all(part in line for part, line in zip(said, told, strict=True)), told
    return [(each.step, each.sigma_rel) for each in result]


def test_those_kept_apart_and_those_in_whole_checkpoints_are_found_once(run: Path) -> None:
    save(run / "checkpoints", 4, averages={"power-0.05": tensors(4), "power-0.1": tensors(5), "0.999": tensors(6)})
    save(run / "checkpoints", 8, averages={"power-0.05": tensors(8), "power-0.1": tensors(9)})
    apart(run, 8)
    apart(run, 12)
    assert found(run) == [(4, 0.05), (4, 0.1), (8, 0.05), (8, 0.1), (12, 0.05), (12, 0.1)]
    at_8 = [each for each in snapshots(run) if each.step == 8]
    torch.testing.assert_close(dict(at_8[1].state), tensors(8010), rtol=0, atol=0)


def test_a_damaged_one_is_named_and_left_out_or_taken_from_the_checkpoint(run: Path) -> None:
    for step in (4, 8):
        apart(run, step)
        (run / "averages" / str(step) / "ema-power-0.1.safetensors").write_bytes(b"cut")
    save(run / "checkpoints", 8, averages={"power-0.1": tensors(9)})
    said = ["An average of step 8 is not used: ", "averages/4/ema-power-0.1.safetensors must have"]
    assert found(run, *said) == [(4, 0.05), (8, 0.05), (8, 0.1)]
    (run / "averages" / "4" / "manifest.json").unlink()
    assert found(run, "step 8", "4/manifest.json must be the list of a checkpoint") == [(8, 0.05), (8, 0.1)]


def test_those_added_later_are_not_combined_with_those_from_the_start(run: Path) -> None:
    for step in (4, 8):
        apart(run, step, {"power-0.1": 2})
    assert found(run, "of width 0.1 that begin at step 2 are not used beside those from 0 on") == [(4, 0.05), (8, 0.05)]
    apart(run, 12, {"power-0.1": 2}, 0.1)  # the other one was given up
    assert found(run, "of width 0.05 that begin at step 0 are not used") == [(4, 0.1), (8, 0.1), (12, 0.1)]


def test_a_run_without_any_says_how_to_get_them(run: Path) -> None:
    save(run / "checkpoints", 4, averages={"0.999": tensors(1)})
    with pytest.raises(ValueError, match=r"must have saved power-function averages, .* train with power=\(0.05, 0.1\)"):
        snapshots(run)


def test_if_none_can_be_read_the_newest_is_named(run: Path) -> None:
    for step in (4, 8):
        apart(run, step)
        (run / "averages" / str(step) / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"averages/8/manifest.json"):
        snapshots(run, lambda _: None)

"""A run for elsewhere, from the command line: its sampler as a program, its map as a folder of diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch.testing import assert_close

from flowops.cli import export
from flowops.runs import Run
from flowops.sampling.export import Exported
from tests import programs
from tests.cli.commands import Console


@pytest.mark.slow
def test_the_program_gives_what_the_run_gives(tmp_path: Path, digits_run: Path) -> None:
    program = f"""
import contextlib, io, re
import torch
from flowops.cli import main
from flowops.sampling import load_sampler
from flowops.training import Run
said = io.StringIO()
with contextlib.redirect_stdout(said):
    assert main(["export", {str(digits_run)!r}, "--steps", "2", "--out", {str(tmp_path / "x.pt2")!r}]) == 0
assert "(x0, label) -> x1 in 2 steps" in said.getvalue(), said.getvalue()
sampler = load_sampler({str(tmp_path / "x.pt2")!r}, sha256=re.search('sha256="(.*)"', said.getvalue())[1])
run = Run.load({str(digits_run)!r})
x = sampler(run.base(5), torch.arange(5))
print((x - run.sample(5, steps=2)).abs().max().item())
"""
    assert float(programs.run(tmp_path, program).splitlines()[-1]) < 1e-5


@pytest.mark.parametrize(("steps", "said"), [(1, "1 step,"), (2, "2 steps,")])
def test_one_step_is_no_steps(
    flowops: Console, tmp_path: Path, board_run: Path, monkeypatch: pytest.MonkeyPatch, steps: int, said: str
) -> None:
    out = tmp_path / "x.pt2"
    monkeypatch.setattr(export, "export_sampler", lambda *_, **__: Exported(out, "00", 0.0))
    assert f"{out}: (x0) -> x1 in {said} 0.0e+00" in flowops("export", board_run, "--steps", steps, "--out", out).out


def test_another_name_of_the_file_is_refused(flowops: Console, board_run: Path) -> None:
    assert "--out must end in .pt2" in flowops("export", board_run, "--out", "x.onnx").error


def test_a_folder_of_diffusers_gives_what_the_run_gives(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    out = tmp_path / "pipe"
    said = flowops("export", digits_run, "--to", "diffusers", "--out", out)
    assert said.code == 0
    first, *lines = said.out.splitlines()
    assert first.startswith(f"{out}: a pipeline of diffusers, 0.0e+00 from the map")
    named: dict[str, Any] = {}
    exec("\n".join(lines), named)  # the lines that it says to type next
    assert len(named["images"]) == 16
    run, pipe = Run.load(digits_run), named["pipe"]
    x0 = run.base(3)
    made = pipe(latents=x0, num_inference_steps=2, class_labels=[0, 1, 2], output_type="latent").images
    assert_close(made, run.sample(x0=x0, steps=2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--steps", 2), "--steps must be left out for diffusers"),
        (("--grid", "noise-levels"), "--grid must be left out for diffusers"),
    ],
)
def test_diffusers_is_told_the_steps_when_it_samples(
    flowops: Console, digits_run: Path, words: tuple[object, ...], said: str
) -> None:
    assert said in flowops("export", digits_run, "--to", "diffusers", *words).error


def test_a_program_keeps_the_schedule(flowops: Console, board_run: Path) -> None:
    assert "--truncate must be left out for a program" in flowops("export", board_run, "--truncate").error


def test_points_have_no_pipeline(flowops: Console, board_run: Path) -> None:
    assert "must be of images for diffusers" in flowops("export", board_run, "--to", "diffusers").error
    assert not (board_run / "diffusers").exists()

"""A sampler as a program, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowops.cli import export
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

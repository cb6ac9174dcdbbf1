"""The first word of a command line, exit codes, and errors in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import flowops as library
from flowops.cli.main import COMMANDS
from tests.cli.commands import Console
from tests.programs import ROOT


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_names_every_command(flowops: Console, words: tuple[str, ...]) -> None:
    said = flowops(*words)
    assert said.code == 0
    assert all(f"\n  {name} " in said.out for name in COMMANDS)
    assert said.err == ""


def test_the_version_is_that_of_the_library(flowops: Console) -> None:
    assert flowops("--version").out == f"flowops {library.__version__}\n"


def test_an_unknown_command_is_a_usage_error_with_a_hint(flowops: Console) -> None:
    said = flowops("trian", "digits")
    assert said.code == 2
    assert said.err == "flowops: 'trian' is no command; did you mean 'train'?\n"
    assert "choose one of train" in flowops("qqq").err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_page_of_at_most_100_columns(flowops: Console, command: str) -> None:
    said = flowops(command, "--help")
    assert said.code == 0
    assert said.out.startswith(f"usage: flowops {command}")
    assert max(map(len, said.out.splitlines())) <= 100


def test_an_error_is_one_line_and_exit_code_1(flowops: Console, tmp_path: Path) -> None:
    assert "must be the folder of a run" in flowops("sample", tmp_path / "nothing").error


def test_the_traceback_is_there_for_who_asks(flowops: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWOPS_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        flowops("sample", tmp_path / "nothing")


def test_an_error_inside_torch_keeps_its_traceback(flowops: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("flowops.cli.methods.run", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        flowops("methods")


def test_control_c_is_one_line_and_exit_code_130(flowops: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("flowops.cli.methods.run", stop)
    said = flowops("methods")
    assert (said.code, said.err) == (130, "flowops: interrupted.\n")


@pytest.mark.parametrize(("name", "rank"), [("RANK", "1"), ("SLURM_PROCID", "3"), ("LOCAL_RANK", "1")])
def test_only_the_first_of_several_processes_speaks(
    flowops: Console, monkeypatch: pytest.MonkeyPatch, name: str, rank: str
) -> None:
    monkeypatch.setenv(name, rank)
    assert flowops("methods", "lsd").out == ""
    said = flowops("methods", "lds")
    assert (said.code, said.err) == (1, "")
    monkeypatch.setenv(name, "0")
    assert flowops("methods", "lds").err


def test_global_rank_decides_before_local_rank(flowops: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert flowops("methods", "lsd").out == ""


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, set[str]]:
    """What a reader of one line has of `flowops methods`, its errors, and the modules of a process of commands."""
    folder = tmp_path_factory.mktemp("piped")
    (folder / "program.py").write_text("""
import contextlib, io, json, sys
from flowops.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(["--help"]) == 0 and main(["schedules"]) == 0
code = main(["methods"])
with open(sys.argv[1], "w") as file:
    json.dump(sorted(sys.modules), file)
sys.exit(code)
""")
    command = f"{sys.executable} {folder / 'program.py'} {folder / 'loaded.json'} | head -1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
    return done.stdout, done.stderr, set(json.loads((folder / "loaded.json").read_text()))


@pytest.mark.slow
def test_commands_that_need_no_run_load_nothing_heavy(piped: tuple[str, str, set[str]]) -> None:
    heavy = {"lightning", "torchvision", "matplotlib", "sklearn", "torchmetrics", "tensorboard", "torch._dynamo"}
    assert "flowops.methods.table" in piped[2]
    assert not heavy & piped[2]


@pytest.mark.slow
def test_a_reader_who_has_seen_enough_is_no_error(piped: tuple[str, str, set[str]]) -> None:
    assert piped[0].startswith("fm ")
    assert piped[1] == ""

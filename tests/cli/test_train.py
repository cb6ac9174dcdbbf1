"""Training from the command line: settings, files, resuming, and what is refused."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from flowops.methods import Lp, TimePower
from flowops.networks import MLP
from flowops.runs.assembly import method_of
from flowops.training import Run, load_config, save_config
from tests.cli.commands import BOARD, TINY, Console


def plain(event: tuple[int, ...], classes: int | None) -> nn.Module:
    """A network of one's own that takes no options."""
    return MLP(event, labels=classes, width=4, depth=1)


def test_a_run_ends_with_where_it_is_and_what_comes_next(flowops: Console, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = flowops("train", *BOARD, "--steps", 3, "--out", out)
    assert said.code == 0
    assert re.fullmatch(rf"{re.escape(str(out))}: step 3 of 3, loss [\d.]+\. Next: flowops sample \S+\n", said.out)
    assert Run.load(out).step == 3


def test_every_kind_of_flag_reaches_the_configuration(flowops: Console, tmp_path: Path) -> None:
    words = (
        *("train", "digits", "--method", "esd", "--options", "eta=0.5", "norm=l1", "--alpha", "cos(pi*t/2)"),
        *("--beta=sin(pi*t/2)", "--steps", "1", "--batch", "4", "--network", "unet", "--network.options"),
        *("channels=4", "multipliers=1,2", "attention=,", "blocks=1", "--network.parameterization", "edm"),
        *("--network.parameterization-options", "sigma_data=0.6", "--optimizer.rate", "2e-3", "--minutes", "60"),
        *("--optimizer.kind", "muon", "--optimizer.matrix-rate", "0.02", "--coupling", "sinkhorn"),
        *("--coupling-options", "iterations=50"),
        *("--hardware.precision", "bf16", "--log.every", "1", "--checkpoint_every", "0", "--averages", "0.9", "0.99"),
        *("--no-labels", "--log.no-tensorboard", "--log.no-progress", "--out", tmp_path / "run"),
    )
    said = flowops(*words)
    assert said.code == 0, said.err
    found = load_config(tmp_path / "run" / "config.yaml")
    assert (found.dataset, found.method, found.options) == ("digits", "esd", ("eta=0.5", "norm=l1"))
    assert (found.alpha, found.beta, found.labels) == ("cos(pi*t/2)", "sin(pi*t/2)", False)
    assert found.network.kind == "unet"
    assert found.network.options == ("channels=4", "multipliers=1,2", "attention=,", "blocks=1")
    assert (found.network.parameterization, found.network.parameterization_options) == ("edm", ("sigma_data=0.6",))
    assert (found.optimizer.rate, found.hardware.precision, found.log.every) == (2e-3, "bf16", 1)
    assert (found.optimizer.kind, found.optimizer.matrix_rate, found.minutes) == ("muon", 0.02, 60.0)
    assert (found.coupling, found.coupling_options) == ("sinkhorn", ("iterations=50",))
    assert (found.averages, found.checkpoint_every) == ((0.9, 0.99), 0)


@pytest.mark.parametrize(
    ("short", "long"), [("--network", "--network.kind"), ("--lr", "--optimizer.rate"), ("--batch-size", "--batch")]
)
def test_short_names_stand_for_long_ones(flowops: Console, tmp_path: Path, short: str, long: str) -> None:
    value = {"--network": "mlp", "--lr": "0.125", "--batch-size": "3"}[short]
    for k, flag in enumerate((short, long)):
        words = ("--steps", 1, "--network.options", "width=4", flag, value, "--out", tmp_path / str(k))
        assert flowops("train", "checkerboard", *words).code == 0
    one, two = (load_config(tmp_path / str(k) / "config.yaml") for k in range(2))
    assert replace(one, out="") == replace(two, out="")


def test_what_is_left_out_is_that_of_the_data_set(flowops: Console, tmp_path: Path) -> None:
    words = ("--steps", 1, "--log.no-tensorboard", "--log.no-progress")
    for name, more in (("plain", ()), ("narrow", ("--network.options", "width=16", "--batch", "4"))):
        assert flowops("train", "digits", *words, *more, "--out", tmp_path / name).code == 0
    plain, narrow = (load_config(tmp_path / name / "config.yaml") for name in ("plain", "narrow"))
    assert (plain.network.kind, plain.network.options, plain.batch) == ("mlp", ("width=256", "depth=4"), 256)
    assert (narrow.network.kind, narrow.network.options, narrow.batch) == ("mlp", ("depth=4", "width=16"), 4)
    assert (plain.averages, plain.optimizer.schedule) == ((0.995, 0.999), "linear")


OWN = """
import torch
from torch import nn
from flowops.couplings import Coupling
from flowops.data import Pairs
from flowops.fields import VelocityField
from flowops.methods import METHODS
from flowops.networks import MLP
from flowops.times import EndpointFixed

row = METHODS["lmd"].with_options(p=1.0)
law = EndpointFixed()

def network(event, classes, *, width=4):
    return MLP(event, width=width, depth=1, labels=classes)

class Swap(Coupling):
    def partners(self, samples, generator):
        return torch.arange(len(samples.x0)).flip(0)

class Still(VelocityField):
    def forward(self, t, x):
        return -x

def data():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    return Pairs(x, x + 1, normal_base=True)

def width_of(data):
    return lambda x: float(x.std() / data.std())
"""


def test_what_lies_in_the_current_folder_is_found(
    flowops: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row, a network, a coupling, a law, a teacher, data, a metric: each `module:name`, from the shell."""
    (tmp_path / "brought.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    words = (
        *("train", "brought:data", "--method", "brought:row", "--options", "law=brought:law", "--steps", 2, *TINY),
        *("--network", "brought:network", "--network.options", "width=6", "--coupling", "brought:Swap"),
        *("--teacher", "brought:Still", "--out", "run"),
    )
    said = flowops(*words)
    assert said.code == 0, said.err
    run = Run.load("run")
    assert sorted({p.shape[0] for p in run.X.parameters()}) == [2, 6]
    assert (run.config.method, run.config.coupling) == ("brought:row", "brought:Swap")
    said = flowops("evaluate", "run", "--steps", 1, "--n", 50, "--solver", "--metrics", "brought:width_of")
    assert said.code == 0, said.err
    assert "| width_of |" in said.out
    assert flowops("methods", "brought:row").out.startswith("lmd: ")
    said = flowops("train", "brought:data", "--method", "brought:missing", *TINY, "--out", "other")
    assert "must name something to import, package.module:name, got 'brought:missing'" in said.error


def test_a_file_gives_the_defaults_and_flags_override_it(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    words = ("train", "--config", board_run / "config.yaml", "--steps", 2, "--out", tmp_path / "b")
    assert flowops(*words).code == 0
    before, found = load_config(board_run / "config.yaml"), load_config(tmp_path / "b" / "config.yaml")
    assert found == replace(before, steps=2, out=str(tmp_path / "b"))


def test_the_data_set_of_a_file_can_be_replaced(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    words = ("train", "moons", f"--config={board_run / 'config.yaml'}", "--steps", 1, "--out", tmp_path / "b")
    assert flowops(*words).code == 0
    assert load_config(tmp_path / "b" / "config.yaml").dataset == "moons"


def test_options_of_another_kind_of_network_are_left_behind(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    file, kind = board_run / "config.yaml", "tests.cli.test_train:plain"
    assert load_config(file).network.options
    out = tmp_path / "b"
    assert flowops("train", "--config", file, "--network.kind", kind, "--steps", 1, "--out", out).code == 0
    assert load_config(out / "config.yaml").network == replace(load_config(file).network, kind=kind, options=())
    said = flowops("train", "--config", file, "--network.options", "hidth=3", "--out", tmp_path / "c")
    assert "did you mean 'width'?" in said.error  # those of the same kind are looked at


def test_what_was_an_object_cannot_be_given_in_the_shell(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    out = shutil.copytree(board_run, tmp_path / "own")
    save_config(out / "config.yaml", replace(load_config(out / "config.yaml"), dataset="given", out=str(out)))
    said = flowops("train", "--out", out, "--resume", "--steps", 9)
    assert "DATASET must be given again, for it was an object; pass it to `flowops.train`" in said.error


def test_a_run_goes_on_under_its_settings_as_often_as_wanted(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    out = shutil.copytree(board_run, tmp_path / "moved")
    further = flowops("train", "--out", out, "--resume", "--steps", 7)
    assert further.code == 0
    assert "Going on from step 5 of 7." in further.err
    assert f"{out}: step 7 of 7" in further.out
    for _ in range(2):
        again = flowops("train", "--resume", "--out", out)
        assert again.code == 0
        assert "is finished: step 7 of 7" in again.err
        assert f"{out}: step 7 of 7" in again.out


def test_the_run_that_goes_on_may_lie_in_the_usual_place(
    flowops: Console, tmp_path: Path, board_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(board_run, tmp_path / "runs" / "run")
    monkeypatch.chdir(tmp_path)
    assert flowops("train", "--resume", "--steps", 6).out.startswith("runs/run: step 6 of 6")


def test_resuming_without_a_run_wants_a_data_set(flowops: Console, tmp_path: Path) -> None:
    assert flowops("train", "--resume", "--out", tmp_path / "new").code == 2
    started = flowops("train", *BOARD, "--steps", 1, "--resume", "--out", tmp_path / "new")
    assert started.code == 0
    assert "starting from the first step" in started.err


def test_resuming_refuses_settings_of_another_run(flowops: Console, board_run: Path) -> None:
    said = flowops("train", "--resume", "--out", board_run, "--method", "esd")
    assert "--method must stay 'lsd' to resume this run, got 'esd'" in said.error


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--steps", "0"), "--steps must be a whole number of at least 1 without --minutes, got 0"),
        (("--batch", "-3"), "--batch must be a whole number of at least 1, got -3"),
        (("--method", "lds"), "did you mean 'lsd'?"),
        (("--options", "eat=0.5"), "did you mean 'eta'?"),
        (("--options", "eta"), "--options must be name=value, got 'eta'"),
        (("--alpha", "1-t"), "--alpha and --beta must be given together"),
        (("--alpha", "__import__('os')", "--beta", "t"), "alpha"),
        (("--interpolant", "liner"), "must be one of linear, trigonometric"),
        (("--method", "lmd"), "--teacher must be given for lmd, got none"),
        (("--config", "missing.yaml"), "`missing.yaml` must be a configuration file, and there is none"),
        (
            ("--network", "conv"),
            "--network must be one of mlp, unet, ddpmpp, dit or package.module:factory, got 'conv'",
        ),
        (("--network.options", "widht=3"), "did you mean 'width'?"),
        (("--coupling", "sinkhron"), "did you mean 'sinkhorn'?"),
        (("--network.parameterization", "emd"), "did you mean 'edm'?"),
        (("--optimizer.beta1", "1"), "--optimizer.beta1 must be in [0, 1), got 1.0"),
        (("--minutes", "-1"), "--minutes must be in [0, inf), got -1.0"),
        (
            ("--method", "alpha-flow", "--options", "alpha=2"),
            "--options alpha must be None or a number in [0, 1]",
        ),
        (("--method", "psd-u", "--options", "gamma=2"), "--options gamma must be None or a fraction in [0, 1], got 2"),
        (("--options", "guidance=2"), "--options guidance needs labels, and checkerboard is trained without"),
        (
            ("--options", "norm=l3"),
            "--options norm must be a Norm or one of squared, mean-squared, pseudo-huber, l1, laplace, lpips, got 'l3'",
        ),
        (("--options", "norm=Lp(0.5)"), "--options norm must be a norm of flowops.methods"),
        (("--options", "weight=lerned"), "--options weight must be a number, learned, a weight such as TimePower(2)"),
        (("--coupling", "sinkhorn", "--coupling-options", "steps=2"), "--coupling-options steps must be an option of"),
        (("--alpha", "t", "--beta", "1-t"), "flowops schedules gives the whole report"),
        (("--alpha", "1-2*t", "--beta", "t"), "must have alpha(1) = 0, so that samples are data, got -1"),
        (("--averages", "0.9", "0.9"), "--averages and --power must differ in six digits"),
        (
            ("--batch", "3", "--hardware.accumulate", "2"),
            "--batch must be a multiple of hardware.accumulate = 2",
        ),
    ],
)
def test_bad_settings_are_one_sentence(flowops: Console, tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in flowops("train", *BOARD, "--out", tmp_path / "run", *words).error
    assert not (tmp_path / "run").exists()


def test_norms_and_weights_are_written_as_calls(flowops: Console, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--options", "norm=Lp(1.5)", "weight=TimePower(2.0)", "--steps", "1", "--out", out)
    assert flowops("train", *BOARD, *words).code == 0
    method = method_of(load_config(out / "config.yaml"))
    assert method.options.norm == Lp(1.5)
    assert isinstance(method.options.weight, TimePower)


def test_an_unknown_data_set_has_a_hint(flowops: Console, tmp_path: Path) -> None:
    assert "did you mean 'digits'?" in flowops("train", "digit", "--out", tmp_path / "run").error


def test_a_folder_that_holds_a_run_is_not_written_over(flowops: Console, board_run: Path) -> None:
    said = flowops("train", "checkerboard", "--out", board_run)
    assert "--out must be a new folder" in said.error
    assert "pass --resume" in said.error


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("version: 1", "must be a configuration of version 2, got version 1"),
        ("stesp: 3", "did you mean 'steps'?"),
        ("network: {optons: [width=3]}", "did you mean 'options'?"),
        ("steps: many", "`steps` in"),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(flowops: Console, tmp_path: Path, line: str, sentence: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"dataset: digits\n{line}\n")
    assert sentence in flowops("train", "--config", file, "--out", tmp_path / "run").error


def test_a_file_may_name_the_run_that_goes_on(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    out = shutil.copytree(board_run, tmp_path / "moved")
    save_config(out / "config.yaml", replace(load_config(out / "config.yaml"), out=str(out)))
    said = flowops("train", "--config", out / "config.yaml", "--resume", "--steps", 6)
    assert f"{out}: step 6 of 6" in said.out

"""Pictures and tensors of samples from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from flowops import FlowMap
from flowops.cli.sample import MEASURED
from flowops.data import to_uint8
from flowops.pictures import PictureFolder
from flowops.runs import calibrated
from flowops.sampling import Calibration, gamma_sample, grids, optimal_grids
from flowops.training import Run
from tests.cli.commands import PERCEPTRON, TINY, Console
from tests.images import read

pytest.importorskip("matplotlib")


def test_a_row_for_each_sampler_with_its_calls(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    out, tensors = tmp_path / "x.png", tmp_path / "x.safetensors"
    words = ("--steps", 1, 4, "--n", 6, "--solver", "heun", "dpm-solver", "--solver-steps", 3)
    said = flowops("sample", digits_run, *words, "--out", out, "--tensor", tensors)
    assert said.code == 0
    *rows, last = said.out.splitlines()
    assert last == f"{out}; {tensors}: 6 samples of step 6"
    samplers = ["map, 1 step", "map, 4 steps", "heun, 3 steps", "dpm-solver, 3 steps"]
    assert [row[:22].rstrip() for row in rows] == samplers
    assert [row[22:].split()[0] for row in rows] == ["1", "4", "6", "3"]
    found = load_file(tensors)
    assert set(found) == {"map-1", "map-4", "heun-3", "dpm-solver-3"}
    run = Run.load(digits_run)
    torch.testing.assert_close(found["map-4"], run.sample(6, steps=4))
    torch.testing.assert_close(found["heun-3"], run.solve(6, method="heun", steps=3).x)
    picture = read(out)
    assert picture.shape[0] > 4 * 90  # four rows of pictures, labels between
    assert picture.std() > 10


def test_classes_and_trajectories_are_pictures_of_their_own(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    out = tmp_path / "x.png"
    said = flowops("sample", digits_run, "--show", "classes", "--steps", 1, "--solver", "heun", "--out", out)
    assert (said.code, said.out.strip()) == (0, f"{out}: classes of step 6")
    assert read(out).shape[0] > 10 * 66 * 1.5  # ten rows
    said = flowops("sample", digits_run, "--show", "trajectories", "--class", 3, "--out", out)
    assert (said.code, said.out.strip()) == (0, f"{out}: trajectories of step 6")


def test_what_such_a_picture_does_not_take_is_refused(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    for words, sentence in (
        (("--show", "classes", "--n", 5), "--n must be left out beside --show classes, got 5; drop one of them."),
        (("--show", "trajectories", "--steps", 5), "--steps must be left out beside --show trajectories"),
        (("--show", "classes", "--out", tmp_path / "x.npz"), "--out must end in .png beside --show classes"),
    ):
        said = flowops("sample", digits_run, *words)
        assert said.code == 1
        assert sentence in said.err
    assert not list(tmp_path.iterdir())


def test_one_sampler_is_a_plain_grid(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    out = tmp_path / "x.png"
    assert flowops("sample", digits_run, "--steps", 2, "--n", 9, "--out", out).code == 0
    assert read(out).shape == (3 * 66 + 2, 3 * 66 + 2, 3)


def test_a_picture_shows_the_first_images_only(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    out, tensors = tmp_path / "x.png", tmp_path / "x.safetensors"
    said = flowops("sample", digits_run, "--steps", 1, "--n", 100, "--out", out, "--tensor", tensors)
    assert read(out).shape == (8 * 66 + 2, 8 * 66 + 2, 3)
    assert f"{out}, the first 64 of each; {tensors}: 100 samples of step 6" in said.out
    assert len(load_file(tensors)["map-1"]) == 100


def test_the_picture_lies_in_the_run_if_nothing_is_said(flowops: Console, board_run: Path) -> None:
    said = flowops("sample", board_run, "--steps", 1, "--n", 20)
    assert (board_run / "samples.png").is_file()
    assert str(board_run / "samples.png") in said.out
    (board_run / "samples.png").unlink()


def sampled(flowops: Console, folder: Path, run: Path, *words: object) -> torch.Tensor:
    """The samples of one sampler."""
    tensors = folder / "x.safetensors"
    said = flowops("sample", run, *words, "--out", folder / "x.png", "--tensor", tensors)
    assert said.code == 0, said.err
    return next(iter(load_file(tensors).values()))


def test_class_and_guidance_are_those_of_the_run(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    x = sampled(flowops, tmp_path, digits_run, "--steps", 2, "--n", 4, "--class", 3, "--guidance", 1.5, "--seed", 7)
    wanted = Run.load(digits_run).sample(4, steps=2, label=3, guidance=1.5, seed=7)
    torch.testing.assert_close(x, wanted)
    assert not torch.allclose(x, Run.load(digits_run).sample(4, steps=2, label=3, seed=7))


def test_an_interval_of_guidance_is_that_of_the_run(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    words = ("--guidance", 1.5, "--interval", 0.3, 0.8)
    x = sampled(flowops, tmp_path, digits_run, "--steps", 2, "--n", 4, "--class", 3, *words, "--seed", 7)
    wanted = Run.load(digits_run).sample(4, steps=2, label=3, guidance=1.5, interval=(0.3, 0.8), seed=7)
    torch.testing.assert_close(x, wanted)
    assert not torch.equal(wanted, Run.load(digits_run).sample(4, steps=2, label=3, guidance=1.5, seed=7))
    failed = flowops("sample", digits_run, "--interval", 0.3, 0.8, "--out", tmp_path / "x.png")
    assert "--interval must be None without guidance" in failed.error


def test_optimal_grids_are_those_of_the_guided_map_in_its_interval(
    flowops: Console, tmp_path: Path, digits_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[FlowMap] = []

    def found(X: FlowMap, _x: Tensor, steps: Sequence[int]) -> dict[int, list[float]]:
        measured.append(X)
        return {k: grids.uniform(k) for k in steps}

    monkeypatch.setattr("flowops.cli.sample.optimal_grids", found)
    words = ("--guidance", 1.5, "--interval", 0.3, 0.8, "--n", 2, "--out", tmp_path / "x.png")
    assert flowops("sample", digits_run, "--grid", "optimal", "--steps", 2, "--class", 3, *words).code == 0
    (digits_run / "grids.json").unlink()
    run = Run.load(digits_run)
    x = run.base(MEASURED)
    wanted = run.conditioning(MEASURED, 3, 1.5, (0.3, 0.8)).map()
    torch.testing.assert_close(measured[0](0.1, 0.9, x), wanted(0.1, 0.9, x))


def test_guidance_costs_two_calls_a_step(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    words = ("--steps", 3, "--n", 2, "--guidance", 2.0, "--out", tmp_path / "x.png")
    assert flowops("sample", digits_run, *words).out.split()[:6] == ["map,", "3", "steps", "6", "calls", "per"]


def test_checkpoints_and_averages_are_chosen(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    def one(*words: object) -> torch.Tensor:
        return sampled(flowops, tmp_path, digits_run, "--steps", 1, "--n", 2, *words)

    found = [one(), one("--checkpoint", 2), one("--average", "none"), one("--average", "power-0.1")]
    assert all(not torch.equal(a, b) for k, a in enumerate(found) for b in found[:k])
    torch.testing.assert_close(found[3], Run.load(digits_run, average="power-0.1").sample(2))


def test_weights_of_a_file_replace_those_of_the_run(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    weights = Run.load(digits_run, average="none").X.network.state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    x = sampled(
        flowops, tmp_path, digits_run, "--steps", 1, "--n", 2, "--weights", tmp_path / "w.safetensors"
    )  # fmt: skip
    torch.testing.assert_close(x, Run.load(digits_run, average="none").sample(2))


def test_a_grid_comes_by_name_or_from_a_file(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    file, run = tmp_path / "grid.json", Run.load(board_run)
    file.write_text(json.dumps([0, 0.3, 1]))
    torch.testing.assert_close(
        sampled(flowops, tmp_path, board_run, "--grid", file, "--n", 5), run.sample(5, grid=[0.0, 0.3, 1.0])
    )
    levels = grids.noise_levels(3, run.interpolant)
    torch.testing.assert_close(
        sampled(flowops, tmp_path, board_run, "--grid", "noise-levels", "--steps", 3, "--n", 5),
        run.sample(5, grid=levels),
    )


def test_steps_beside_a_grid_of_others_are_named_as_they_were_given(
    flowops: Console, tmp_path: Path, board_run: Path
) -> None:
    file = tmp_path / "grid.json"
    file.write_text("[0, 0.3, 1]")
    for words in (("--steps", 5), ("--solver", "heun", "--solver-steps", 5)):
        said = flowops("sample", board_run, "--grid", file, *words, "--out", tmp_path / "x.png").error
        assert said == f"{words[-2]} must be left out beside a grid of 2 steps in {file}, got 5."


def test_noise_is_put_back_on_the_way(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    run = Run.load(board_run)
    x = sampled(flowops, tmp_path, board_run, "--steps", 4, "--n", 5, "--gamma", 0.5, "--seed", 1)
    wanted = gamma_sample(run.X, run.interpolant, run.base(5, seed=1), grids.uniform(4), 0.5, seed=1)
    torch.testing.assert_close(x, wanted)
    said = flowops("sample", board_run, "--steps", 4, "--n", 5, "--restart", 0.25, 0.75, 2, "--out", tmp_path / "x.png")
    assert said.out.split()[3] == "8"  # four steps, two of them twice more


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--class", "10"), "--class must be a class between 0 and 9"),
        (("--n", "0"), "--n must be a whole number of at least 1, got 0"),
        (("--steps", "0"), "--steps must be a whole number of at least 1, got 0"),
        (("--steps",), "--steps must hold at least one number of steps, got none"),
        (("--checkpoint", "77"), "must hold a checkpoint of step 77, and does not"),
        (("--average", "0.5"), "--average must be one of 0.9, power-0.05, power-0.1 or none"),
        (("--grid", "nothing.json"), "--grid must name a file with a list of times, and nothing.json is none"),
        (("--grid", "."), "--grid must name a file with a list of times, and . is none"),
        (("--gamma", "2"), "--gamma must lie in [0, 1], got 2"),
        (("--gamma", "0.5", "--restart", "0", "1", "1"), "--gamma and --restart must not be given together"),
        (("--restart", "0.3", "0.5", "1"), "--restart must be two increasing times of the grid"),
        (("--out", "x.jpg"), "--out must end in .png or .npz, or be a folder as in samples/, got x.jpg"),
        (("--out", "x.npz/"), "--out must end in .png or .npz, or be a folder as in samples/, got x.npz/"),
        (("--out", "x.npz"), "--steps and --solver must name one sampler for x.npz, got 0; pass --steps 4, say"),
        (("--out", "x.npz", "--steps", "1", "2"), "must name one sampler for x.npz, got 2"),
        (("--out", "x.npz", "--tensor", "y.npz"), "--tensor must be left out where --out takes all samples"),
        (("--chunk", "0"), "--chunk must be a whole number of at least 1, got 0"),
        (("--tensor", "x.pt"), "--tensor must end in .safetensors or .npz, got x.pt"),
        (("--device", "cpuu"), "--device must be one that is there, such as cpu or cuda, or auto, got 'cpuu'"),
        (
            ("--steps", "1", "--solver", "heun", "--solver-steps", "0"),
            "--solver-steps must be a whole number of at least 1, got 0",
        ),
        (
            ("--out", "x.npz", "--solver", "heun", "--gamma", "0.5"),
            "--gamma must be left out where no sampler takes it, got 0.5; drop it, or sample by --steps 4",
        ),
        (
            ("--out", "x.npz", "--solver", "heun", "--restart", "0.25", "0.75", "2"),
            "--restart must be left out where no sampler takes it, got (0.25, 0.75, 2)",
        ),
        (
            ("--out", "x.npz", "--solver", "dopri5", "--solver-steps", "5"),
            "--solver-steps must be left out where no sampler takes it, got 5; drop it, or sample by --solver heun",
        ),
        (("--steps", "1", "--solver-steps", "5"), "--solver-steps must be left out where no sampler takes it, got 5"),
        (
            ("--out", "x.npz", "--solver", "dopri5", "--grid", "noise-levels"),
            "--grid must be left out where no sampler takes it, got noise-levels",
        ),
        (("--out", "x.npz", "--grid", "noise-levels"), "--steps and --solver must name one sampler for x.npz, got 0"),
        (("--weights", "nothing"), "--weights must be a file of weights, and nothing is none"),
        (
            ("--tolerance", "0.1", "--steps", "2"),
            "--tolerance and --steps must not be given together, since a tolerance",
        ),
        (("--tolerance", "0.1", "--grid", "noise-levels"), "--tolerance and --grid must not be given together"),
        (("--tolerance", "0.1", "--gamma", "0.5"), "--tolerance and --gamma must not be given together"),
        (("--tolerance", "0"), "--tolerance must be positive, got 0"),
        (("--tolerance", "0.1", "--solver", "heun"), "--tolerance must be left out where no sampler takes it, got 0.1"),
        (("--grid", "optimal", "--solver", "heun"), "--grid must not be optimal beside a solver"),
        (("--out", "x.npz", "--grid", "optimal"), "--steps and --solver must name one sampler for x.npz, got 0"),
        (("--grid", "calibrated"), "--tolerance must be given for calibrated steps, which keep it; pass --tolerance"),
        (("--grid", "calibrated", "--tolerance", "1", "--solver", "dopri5"), "--grid must not be calibrated beside a"),
        (("--grid", "calibrated", "--tolerance", "1", "--steps", "2"), "--tolerance and --steps must not be given"),
        (("--grid", "calibrated", "--tolerance", "1", "--condition", "x"), "--condition must be left out for calib"),
    ],
)
def test_bad_requests_are_one_sentence(
    flowops: Console, tmp_path: Path, digits_run: Path, words: tuple[str, ...], sentence: str
) -> None:
    out = () if "--out" in words else ("--out", tmp_path / "x.png")
    assert sentence in flowops("sample", digits_run, *out, *words).error
    assert not (tmp_path / "x.png").exists()
    assert not Path("x.npz").exists()


@pytest.mark.parametrize("flag", ["--guidance", "--class"])
def test_a_run_without_labels_has_no_classes(flowops: Console, board_run: Path, flag: str) -> None:
    said = flowops("sample", board_run, flag, 2)
    assert f"{flag} must not be given for a map that was trained without labels" in said.error


def test_weights_of_another_network_are_refused(
    flowops: Console, tmp_path: Path, digits_run: Path, board_run: Path
) -> None:
    weights = next((board_run / "checkpoints").glob("*/model.safetensors"))
    for file in (weights, digits_run / "config.yaml"):
        said = flowops("sample", digits_run, "--weights", file, "--out", tmp_path / "x.png")
        assert "--weights must be a safetensors file of the network" in said.error


WAYS: list[tuple[tuple[object, ...], dict[str, Any]]] = [
    (("--steps", 3), {"steps": 3}),
    (("--steps", 4, "--gamma", 0.5), {"steps": 4, "gamma": 0.5}),
    (("--steps", 4, "--restart", 0.25, 0.75, 2), {"steps": 4, "restart": (0.25, 0.75, 2)}),
    (("--solver", "heun", "--solver-steps", 3), {"solver": "heun", "steps": 3}),
    (("--solver", "ddim"), {"solver": "ddim", "steps": 18}),
    (("--solver", "dopri5"), {"solver": "dopri5"}),
    (("--solver", "dopri5", "--tolerance", 0.1), {"solver": "dopri5", "tolerance": 0.1}),
    (("--tolerance", 0.5), {"tolerance": 0.5}),
]


@pytest.mark.parametrize(("words", "way"), WAYS, ids=[" ".join(map(str, words)) for words, _ in WAYS])
def test_the_samples_are_those_of_the_run(
    flowops: Console, tmp_path: Path, digits_run: Path, words: tuple[object, ...], way: dict[str, Any]
) -> None:
    """One sampler everywhere: the command line draws what `Run.draw` draws for a seed."""
    tensors = tmp_path / "x.npz"
    said = flowops(
        "sample", digits_run, *words, "--n", 4, "--seed", 7, "--out", tmp_path / "x.png", "--tensor", tensors
    )
    assert said.code == 0, said.err
    with np.load(tensors) as held:
        x = torch.from_numpy(held[held.files[-1]])
    run = Run.load(digits_run)
    torch.testing.assert_close(x, run.draw(4, seed=7, **way).x)
    assert not torch.allclose(x, run.draw(4, seed=8, **way).x)


def test_solvers_take_a_grid_by_name_with_their_own_number_of_steps(
    flowops: Console, tmp_path: Path, board_run: Path
) -> None:
    words = ("--steps", 1, "--n", 4, "--grid", "noise-levels", "--solver", "heun", "--out", tmp_path / "x.png")
    said = flowops("sample", board_run, *words, "--tensor", tmp_path / "x.npz")
    assert said.code == 0, said.err
    run = Run.load(board_run)
    with np.load(tmp_path / "x.npz") as held:
        assert held.files == ["map-1", "heun-18"]
        x = torch.from_numpy(held["heun-18"])
    grid = grids.noise_levels(18, run.interpolant)
    torch.testing.assert_close(x, run.solve(4, method="heun", grid=grid).x)


def test_samples_that_make_no_picture_go_to_a_file(flowops: Console, tmp_path: Path) -> None:
    x0 = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    np.savez(tmp_path / "pairs.npz", x0=x0.numpy(), x1=x0.numpy() + 1)
    run = tmp_path / "run"
    words = ("--steps", 2, *PERCEPTRON, *TINY, "--out", run)
    assert flowops("train", f"pairs:{tmp_path / 'pairs.npz'}", *words).code == 0
    assert "--tensor must be given for samples of shape [5]" in flowops("sample", run, "--n", 4).error
    said = flowops("sample", run, "--n", 4, "--steps", 2, "--tensor", tmp_path / "x.npz")
    assert said.code == 0, said.err
    assert not (run / "samples.png").exists()
    with np.load(tmp_path / "x.npz") as held:
        torch.testing.assert_close(torch.from_numpy(held["map-2"]), Run.load(run).sample(4, steps=2))


def test_a_solver_takes_the_times_of_a_file_alone(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    """Beside a solver the times are its own; the map has a row where pictures are compared."""
    file, out = tmp_path / "grid.json", tmp_path / "x.npz"
    file.write_text("[0, 0.3, 1]")
    run, words = Run.load(board_run), ("--grid", file, "--n", 5)
    for more, wanted in (
        (("--solver", "heun"), run.solve(5, method="heun", grid=[0.0, 0.3, 1.0]).x),
        ((), run.sample(5, grid=[0.0, 0.3, 1.0])),
    ):
        said = flowops("sample", board_run, *words, *more, "--out", out)
        assert said.code == 0, said.err
        with np.load(out) as held:
            torch.testing.assert_close(torch.from_numpy(held["arr_0"]), wanted)
    said = flowops("sample", board_run, *words, "--solver", "heun", "--out", tmp_path / "x.png")
    assert [line.split(",")[0] for line in said.out.splitlines()[:2]] == ["map", "heun"]
    said = flowops("sample", board_run, *words, "--solver", "dopri5", "--out", out)
    assert f"--grid must be left out where no sampler takes it, got {file}" in said.error


def test_optimal_grids_are_measured_written_and_read_again(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    words = ("--steps", 1, 3, "--n", 5, "--out", tmp_path / "x.png", "--tensor", tmp_path / "x.npz")
    said = flowops("sample", board_run, "--grid", "optimal", *words)
    file, run = board_run / "grids.json", Run.load(board_run)
    assert said.code == 0, said.err
    assert f"{file}: grids of 1, 3 steps, measured on 64 samples" in said.err
    found = grids.load_grids(file)
    assert found == optimal_grids(run.X, run.base(64), (1, 3))
    with np.load(tmp_path / "x.npz") as held:
        torch.testing.assert_close(torch.from_numpy(held["map-3"]), run.sample(5, grid=found[3]))
    rows = flowops("sample", board_run, "--grid", file, "--n", 5, "--out", tmp_path / "x.png").out.splitlines()
    assert [row[:12].rstrip() for row in rows[:2]] == ["map, 1 step", "map, 3 steps"]
    said = flowops("sample", board_run, "--grid", file, "--steps", 2, "--out", tmp_path / "x.png")
    assert said.error == f"--steps must be one of 1, 3 for the grids in {file}, got 2; pass one of them."
    file.unlink()


def test_calibrated_steps_are_measured_once_written_and_read_again(
    flowops: Console, tmp_path: Path, board_run: Path
) -> None:
    words = ("sample", board_run, "--grid", "calibrated", "--tolerance", 0.5, "--n", 70)
    said = flowops(*words, "--out", tmp_path / "x.npz")
    file, run = board_run / "calibration.json", Run.load(board_run)
    assert said.code == 0, said.err
    plan = Calibration.load(file).plan(0.5)
    assert f"{plan} keep 0.5 for all but a tenth of the samples, by calibration.json of {board_run}" in said.err
    assert f"map, {plan}" in said.out
    with np.load(tmp_path / "x.npz") as held:
        torch.testing.assert_close(torch.from_numpy(held["arr_0"]), run.sample(70, plan=plan))
    written = file.stat().st_mtime_ns
    assert flowops(*words, "--out", tmp_path / "x.png").code == 0
    assert file.stat().st_mtime_ns == written
    file.write_text("{")
    assert flowops(*words, "--out", tmp_path / "x.png").code == 0
    assert Calibration.load(file).plan(0.5) == plan
    file.unlink()


def test_pictures_by_calibrated_steps_go_on_where_they_were(
    flowops: Console, tmp_path: Path, digits_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowops.cli.sample.calibrated", partial(calibrated, n=90))  # 256 take seconds
    words = ("--grid", "calibrated", "--tolerance", 1, "--class", 3, "--guidance", 2, "--out", f"{tmp_path / 'all'}/")
    first = flowops("sample", digits_run, *words, "--n", 3)
    assert first.code == 0, first.err
    assert "5 samples of step 6, 3 of them there before" in flowops("sample", digits_run, *words, "--n", 5).out
    of = json.loads((digits_run / "calibration.json").read_text())["of"]
    assert (of["label"], of["guidance"], of["samples"]) == (3, 2.0, 90)
    (digits_run / "calibration.json").unlink()


def archived(path: Path) -> tuple[Any, Any]:
    with np.load(path) as held:
        return held["arr_0"], held["arr_1"]


@pytest.mark.parametrize(
    ("words", "way"),
    [
        (("--steps", 2), {"steps": 2}),
        (("--solver", "heun", "--solver-steps", 3, "--guidance", 1.5), {"solver": "heun", "steps": 3, "guidance": 1.5}),
        (("--steps", 4, "--gamma", 0.5, "--class", 3), {"steps": 4, "gamma": 0.5, "label": 3}),
    ],
)
def test_all_samples_go_to_one_file(
    flowops: Console, tmp_path: Path, digits_run: Path, words: tuple[object, ...], way: dict[str, Any]
) -> None:
    out = tmp_path / "x.npz"
    said = flowops("sample", digits_run, *words, "--n", 25, "--seed", 7, "--chunk", 10, "--out", out)
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == f"{out}: 25 samples of step 6"
    pixels, labels = archived(out)
    wanted = to_uint8(Run.load(digits_run).draw(25, seed=7, **way).x).permute(0, 2, 3, 1).numpy().astype(int)
    assert pixels.shape == (25, 8, 8, 1)
    assert np.abs(pixels - wanted).max() <= 1  # a chunk of another size may round otherwise
    assert labels.tolist() == [way.get("label", k % 10) for k in range(25)]


def test_a_folder_has_a_file_for_each_and_goes_on(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    out = f"{tmp_path / 'samples'}/"
    words = ("--steps", 2, "--seed", 7, "--chunk", 4, "--out", out)
    assert flowops("sample", digits_run, *words, "--n", 10).code == 0
    (tmp_path / "samples" / "000005.png").unlink()
    said = flowops("sample", digits_run, *words, "--n", 13)
    assert said.out.splitlines()[-1] == f"{out}: 13 samples of step 6, 9 of them there before"
    again = flowops("sample", digits_run, *words, "--n", 13)
    assert again.out.splitlines() == [f"{out}: 13 samples of step 6, 13 of them there before"]
    flowops("sample", digits_run, "--steps", 2, "--seed", 7, "--n", 13, "--out", tmp_path / "x.npz")
    pixels, _ = archived(tmp_path / "x.npz")
    for k in range(13):
        found = read(tmp_path / "samples" / f"{k:06d}.png")[..., :1]
        assert np.abs(found - pixels[k].astype(int)).max() <= 1
    assert "with seed 7 in place of 8" in flowops("sample", digits_run, *words, "--n", 13, "--seed", 8).error
    assert "--n must be at least 13" in flowops("sample", digits_run, *words, "--n", 5).error


@pytest.mark.parametrize(("fault", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 1)])
def test_what_is_left_of_a_folder_is_said(
    flowops: Console,
    tmp_path: Path,
    digits_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: BaseException,
    code: int,
) -> None:
    out, plain = tmp_path / "samples", PictureFolder.add

    def add(self: PictureFolder, first: int, x: torch.Tensor, labels: torch.Tensor | None = None) -> None:
        if first == 8:
            plain(self, first, x[:1])
            raise fault
        plain(self, first, x, labels)

    words = ("sample", digits_run, "--steps", 2, "--chunk", 4, "--n", 13, "--out", out)
    with monkeypatch.context() as patch:
        patch.setattr(PictureFolder, "add", add)
        said = flowops(*words)
    assert said.code == code
    assert f"{out} holds 9 of 13 pictures; the same command goes on with the others.\n" in said.err
    assert flowops(*words).out.splitlines()[-1] == f"{out}: 13 samples of step 6, 9 of them there before"


def test_points_have_no_folder(flowops: Console, tmp_path: Path, board_run: Path) -> None:
    said = flowops("sample", board_run, "--steps", 1, "--out", tmp_path / "samples")
    assert "--out must end in .npz for samples of shape [2]" in said.error
    assert flowops("sample", board_run, "--steps", 1, "--n", 5, "--out", tmp_path / "x.npz").code == 0
    with np.load(tmp_path / "x.npz") as held:
        assert held.files == ["arr_0"]
        torch.testing.assert_close(torch.from_numpy(held["arr_0"]), Run.load(board_run).sample(5))


def test_a_network_may_compute_in_bfloat16(flowops: Console, tmp_path: Path, digits_run: Path) -> None:
    plain, half = (
        sampled(flowops, tmp_path, digits_run, "--steps", 2, "--n", 4, *words)
        for words in ((), ("--precision", "bf16"))
    )
    assert half.dtype == torch.float32
    assert 0 < (half - plain).abs().max() < 0.1

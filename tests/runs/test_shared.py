"""A run that is shared: what lies in its folder opens as it is, gives the same samples, and tells what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from flowops.runs import CheckpointError, NetworkConfig, Run, load_config
from flowops.training import train
from tests.adapters.test_hub import faked
from tests.runs.small import Make, silent

SCORES = {
    "n": 100, "seed": 0, "guidance": None, "reference": "the board", "columns": ["Fréchet distance (pixels)"],
    "rows": [{"sampler": "map, 1 step", "values": [0.25]}, {"sampler": "dopri5", "values": [0.125]}],
}  # fmt: skip


def _files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _scored(run: Run, step: int) -> None:
    (run.folder.path / "evaluation.json").write_text(
        json.dumps({"run": str(run.folder.path), "step": step, **SCORES}), encoding="utf-8"
    )
    (run.folder.path / "evaluation.md").write_text(
        f"{run.folder.path}, step {step}: 100 samples\n\n| sampler | d |\n", encoding="utf-8"
    )


@pytest.mark.parametrize("average", [None, "0.9", "none"])
def test_the_folder_opens_as_it_is_and_gives_the_same_samples(plain: Run, tmp_path: Path, average: str | None) -> None:
    run = Run.load(plain.folder.path, average=average)
    others = [Run.load(plain.folder.path, average=name) for name in ("0.1", "0.9", "none")]
    place = run.save_pretrained(tmp_path / "shared")
    for opened in (Run.load(place), Run.from_pretrained(place)):
        same = [torch.equal(opened.sample(5, steps=2), other.sample(5, steps=2)) for other in (run, *others)]
        assert sum(same) == 2  # the run that was shared, and the average that it is
        assert same[0]


def test_a_folder_holds_no_state_no_pickle_and_no_path_of_this_machine(plain: Run, tmp_path: Path) -> None:
    place = plain.save_pretrained(tmp_path / "shared")
    files = _files(place)
    assert files == [
        "README.md", "checkpoints/8/ema-0.1.safetensors", "checkpoints/8/manifest.json", "config.yaml", "run.json",
        "samples.png",
    ]  # fmt: skip
    for name in files:
        if not name.endswith((".png", ".safetensors")):
            assert str(tmp_path.parent) not in (place / name).read_text(encoding="utf-8"), name
    assert list(tmp_path.iterdir()) == [place]


def test_damaged_weights_are_refused(plain: Run, tmp_path: Path) -> None:
    place = plain.save_pretrained(tmp_path / "shared")
    weights = place / "checkpoints" / "8" / "ema-0.1.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        Run.from_pretrained(place)


def test_weights_of_no_checkpoint_are_kept_as_they_are(plain: Run, tmp_path: Path) -> None:
    run = Run.load(plain.folder.path)
    next(run.X.parameters()).data += 0.5
    place = run.save_pretrained(tmp_path / "shared")
    assert torch.equal(Run.load(place).sample(4), run.sample(4))
    assert "other than those of the averages" in (place / "README.md").read_text(encoding="utf-8")


def test_the_card_tells_what_the_record_says(labelled: Run, tmp_path: Path) -> None:
    _scored(labelled, labelled.step)
    place = labelled.save_pretrained(tmp_path / "shared", license="apache-2.0")
    card = ModelCard.load(place / "README.md")
    data = card.data.to_dict()
    assert (data["library_name"], data["license"], data["datasets"]) == ("flowops", "apache-2.0", ["digits"])
    assert {"flow-map", "lsd"} <= set(data["tags"])
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("frechet-distance-pixels", 0.25)
    assert result.metric_args == {"sampler": "map, 1 step", "samples": 100, "seed": 0}
    for told in (
        'Run.from_pretrained("shared")', "2505.18825", "shared, step 3: 100 samples", "samples.png",
        "| steps | 3 of 16 samples, seed 0 |", "unet channels=4",
    ):  # fmt: skip
        assert told in card.text, told


def test_scores_of_another_step_are_not_told(labelled: Run, tmp_path: Path) -> None:
    _scored(labelled, labelled.step - 1)
    place = labelled.save_pretrained(tmp_path / "shared")
    assert not (place / "evaluation.json").exists()
    card = ModelCard.load(place / "README.md")
    assert card.data.eval_results is None
    assert card.data.license is None
    assert "How good" not in card.text


def test_a_run_goes_to_the_hub_and_comes_back(plain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = faked(tmp_path / "hub", monkeypatch)
    assert plain.push_to_hub("me/board", private=True).startswith("https://hub/me/board")
    opened = Run.from_pretrained("me/board", revision="main", device="cpu")
    assert torch.equal(opened.sample(4, steps=3), plain.sample(4, steps=3))
    held = _files(tmp_path / "hub" / "cache" / "me" / "board")
    assert held == ["checkpoints/8/ema-0.1.safetensors", "checkpoints/8/manifest.json", "config.yaml", "run.json"]
    assert 'Run.from_pretrained("me/board")' in (tmp_path / "hub/me/board/README.md").read_text(encoding="utf-8")
    earlier = Run.load(plain.folder.path, step=4, average="0.9")
    earlier.push_to_hub("me/board")  # takes the place of the other
    assert [path.name for path in (tmp_path / "hub/me/board/checkpoints").iterdir()] == ["4"]
    assert {name for name, _, _ in fake.asked} == {"create", "upload", "download"}


def test_what_cannot_be_opened_as_it_is_is_not_shared(plain: Run, tmp_path: Path) -> None:
    for network, said in (
        (replace(plain.config.network, kind="given"), "since it was an object"),
        (replace(plain.config.network, parameterization="second-order"), "adds its teacher's"),
    ):
        run = replace(plain, config=replace(plain.config, network=network))
        with pytest.raises(ValueError, match=said):
            run.save_pretrained(tmp_path / "shared")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="must be a new folder"):
        plain.save_pretrained(tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_settings_of_others_call_no_function_that_is_not_trusted(small: Make, tmp_path: Path) -> None:
    own = "tests.networks.test_conditions:nothing"
    run = train(small(network=NetworkConfig("mlp", width=8, depth=1), steps=1), report=silent)
    place = run.save_pretrained(tmp_path / "shared")
    config = (place / "config.yaml").read_text(encoding="utf-8")
    for setting, value in (
        ("kind: mlp", f"kind: {own}"),
        ("parameterization: average-velocity", f"parameterization: {own}"),
        ("method: lsd", f"method: {own}"),
        ("interpolant: linear", f"interpolant: {own}"),
        ("options: []", f"options: [law={own}]"),
        ("coupling: independent", f"coupling: {own}"),
        ("teacher: null", f"teacher: {own}"),
        ("dataset: checkerboard", f"dataset: transported:{own}"),
        ("dataset: checkerboard", f"dataset: {own}"),
    ):
        assert setting in config, setting
        (place / "config.yaml").write_text(config.replace(setting, value), encoding="utf-8")
        with pytest.raises(ValueError, match=r"`trust` must name every function .*tests.networks.test_conditions"):
            Run.from_pretrained(place)
    assert load_config(place / "config.yaml").dataset == own
    Run.from_pretrained(place, trust=[own], report=silent)  # a data set is opened when it is asked for


def test_a_folder_has_no_revisions(plain: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`revision` must be left out for a folder"):
        Run.from_pretrained(plain.folder.path, revision="v1")
    with pytest.raises(FileNotFoundError, match="must be the folder of a run"):
        Run.from_pretrained(tmp_path)

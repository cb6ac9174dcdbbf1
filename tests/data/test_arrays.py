"""Samples of any shape from one array: formats, scales, keyed rows, exact resume, units of samples, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from flowops import Run
from flowops.cli import main
from flowops.data import Arrays, Pairs, Units, arrays, open_dataset
from flowops.runs import NetworkConfig
from flowops.runs.writing import write_samples
from flowops.training import train
from tests.examples import normal
from tests.runs.small import Make, silent
from tests.runs.small import no_pictures as no_pictures
from tests.runs.small import small as small
from tests.training.states import assert_same_bits, state_of

LATENTS = 3 * normal(12, 4, 8, 8).float() + 1
LABELS = torch.arange(12) % 5


def written(path: Path, x: Tensor = LATENTS, **others: Tensor) -> Path:
    """A file of its suffix."""
    if path.suffix == ".npy":
        np.save(path, x.numpy())
    elif path.suffix == ".npz":
        np.savez(path, x1=x.numpy(), **{name: value.numpy() for name, value in others.items()})  # type: ignore[arg-type]
    else:
        save_file({name: value.clone() for name, value in {"x1": x, **others}.items()}, path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("event", [(2,), (4, 8, 8), (6, 3), (2, 3, 4, 5)], ids=str)
def test_files_hold_samples_of_any_shape(suffix: str, event: tuple[int, ...], tmp_path: Path) -> None:
    x = normal(9, *event).float()
    found = open_dataset(f"arrays:{written(tmp_path / f'x{suffix}', x)}")
    pairs = Pairs(x, x)
    assert (found.event, found.size, found.classes) == (torch.Size(event), 9, ())
    for step in range(3):  # the rows are those of every finite set
        batch = found.batch(step, 5, seed=2)
        assert torch.equal(batch.x1, pairs.batch(step, 5, seed=2).x1)
        assert (batch.x0, batch.labels) == (None, None)
        for part in range(5):
            assert torch.equal(found.prepared(step, 5, seed=2, part=(part, 5))().x1, batch.x1[part : part + 1])
    assert found.provenance.split(": ")[1] == Arrays({"train": x}).provenance.split(": ")[1]


def test_labels_and_a_split_for_tests(tmp_path: Path) -> None:
    others = {"label": LABELS, "x1_test": LATENTS[:4] + 50, "label_test": LABELS[:4]}
    for suffix in (".npz", ".safetensors"):
        found = open_dataset(f"arrays:{written(tmp_path / f'x{suffix}', **others)}")
        batch = found.reference(12)
        assert batch.labels is not None
        rows = (batch.x1[:, None] - LATENTS).abs().flatten(2).sum(-1).argmin(1)
        assert torch.equal(batch.labels, LABELS[rows])
        assert found.reference(4, split="test").x1.mean() > 40
        assert found.classes == tuple("01234")
        with pytest.raises(ValueError, match="`split` must be one of train, test for arrays:.*, got 'val'"):
            found.reference(1, split="val")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half_until_a_batch(dtype: torch.dtype, tmp_path: Path) -> None:
    x = LATENTS.to(dtype)
    found = open_dataset(f"arrays:{written(tmp_path / 'x.safetensors', x)}", scale=0.5)
    assert found.splits["train"].dtype == dtype  # type: ignore[attr-defined]
    index = Pairs(x.float(), x.float()).batch(1, 7, seed=0).x1
    assert torch.equal(found.batch(1, 7, seed=0).x1, 0.5 * index)


def test_bytes_become_images(tmp_path: Path) -> None:
    pixels = torch.arange(12 * 3 * 4 * 4, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(12, 3, 4, 4)
    found = open_dataset(f"arrays:{written(tmp_path / 'x.npy', pixels)}").reference(12).x1
    assert sorted(found.flatten().tolist()) == sorted((pixels.float() / 127.5 - 1).flatten().tolist())


def test_a_file_is_mapped_and_never_written(tmp_path: Path) -> None:
    path = written(tmp_path / "x.npy")
    before = path.read_bytes()
    found = open_dataset(f"arrays:{path}", scale=2.0)
    found.batch(0, 12, seed=0).x1.zero_()
    found.splits["train"].zero_()  # type: ignore[attr-defined]
    assert path.read_bytes() == before


def test_scale_and_shift_are_those_of_an_autoencoder() -> None:
    by_channel = Units(scale=(0.5, 1.0, 2.0, 4.0), shift=(1.0, 0.0, -1.0, 0.5))
    for units in (Units(0.18215, 0.1159), by_channel):
        scale, shift = (
            torch.tensor(v).reshape(-1, 1, 1) if isinstance(v, tuple) else v for v in (units.scale, units.shift)
        )
        states = units.states(LATENTS)
        assert_close(states, (LATENTS - shift) * scale)
        assert_close(units.restored(states), LATENTS)
        assert Units.read(units.written()) == units
    assert Units().states(LATENTS) is LATENTS
    plain, scaled = (Arrays({"train": LATENTS}, units=units) for units in (Units(), by_channel))
    assert plain.provenance != scaled.provenance
    assert "minus (1, 0, -1, 0.5) times (0.5, 1, 2, 4)" in scaled.provenance


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_a_run_that_is_resumed_is_the_run_that_was_not(suffix: str, small: Make, tmp_path: Path) -> None:
    name = f"arrays:{written(tmp_path / f'x{suffix}')}"
    whole = small("whole", name, steps=6, checkpoint_every=3, data_options=["scale=0.5"])
    train(whole, report=silent)
    train(small("parts", name, steps=3, checkpoint_every=3, data_options=["scale=0.5"]), report=silent)
    resumed = small("parts", name, steps=6, checkpoint_every=3, data_options=["scale=0.5"])
    train(resumed, resume=True, report=silent)
    assert_same_bits(state_of(whole, 6), state_of(resumed, 6))


def test_samples_are_states_and_files_have_the_units_of_the_array(small: Make, tmp_path: Path) -> None:
    name, options = f"arrays:{written(tmp_path / 'x.npy')}", ["scale=0.25", "shift=1.0"]
    run = train(small("run", name, steps=2, data_options=options), report=silent)
    x = run.sample(6, steps=2)
    assert_close(run.restored(x), 4 * x + 1)
    (tmp_path / "x.npy").unlink()  # a run knows its units without its data
    for again in (run, Run.load(run.folder.path)):
        assert again.units == Units(0.25, 1.0)
        write_samples(again, tmp_path / "samples.npz", 6, steps=2)
        with np.load(tmp_path / "samples.npz") as found:
            assert_close(torch.from_numpy(found["arr_0"]), 4 * x + 1)
    assert main(["sample", str(run.folder.path), "--steps", "2", "--n", "6", "--tensor", str(tmp_path / "t.npz")]) == 0
    with np.load(tmp_path / "t.npz") as found:
        assert_close(torch.from_numpy(found["map-2"]), 4 * x + 1)


def test_three_channels_with_a_scale_are_no_pictures(small: Make, tmp_path: Path) -> None:
    name = f"arrays:{written(tmp_path / 'x.npy', LATENTS[:, :3])}"
    run = train(small("run", name, steps=1, data_options=["scale=0.25"]), report=silent)
    write_samples(run, tmp_path / "samples.npz", 4)
    with np.load(tmp_path / "samples.npz") as found:
        assert_close(torch.from_numpy(found["arr_0"]), 4 * run.sample(4))
    with pytest.raises(ValueError, match="`path` must end in .npz for samples"):
        write_samples(run, tmp_path / "folder", 4)


def test_a_network_of_64_x_64_latents_trains(small: Make, tmp_path: Path) -> None:
    name = f"arrays:{written(tmp_path / 'x.npy', normal(4, 2, 64, 64).float())}"
    network = NetworkConfig("unet", channels=4, multipliers=(1, 1), blocks=1, attention=())
    run = train(small("run", name, steps=1, batch=2, network=network), report=silent)
    assert run.sample(2).shape == (2, 2, 64, 64)


def test_large_arrays_are_hashed_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Arrays({"train": LATENTS}).provenance
    monkeypatch.setattr(arrays, "_WHOLE", 0)
    monkeypatch.setattr(arrays, "_LOOKED_AT", 3)
    part, other = LATENTS.clone(), LATENTS.clone()
    part[2], other[11] = 0, 0
    found = [Arrays({"train": x}).provenance for x in (LATENTS, part, other)]
    assert found[0] == found[1] != found[2]
    assert whole != found[0]


@pytest.mark.parametrize(
    ("x", "others", "options", "error", "sentence"),
    [
        (LATENTS.double(), {}, {}, TypeError, "`x1` must be float32, .* got torch.float64 of shape .* astype"),
        (LATENTS[:, 0, 0, 0], {}, {}, TypeError, r"`x1` must be float32, .* of shape \[12\] in split train"),
        (LATENTS[:0], {}, {}, ValueError, "`x1` must hold at least one sample, got"),
        (
            LATENTS.where(LATENTS < 1, torch.nan),
            {},
            {},
            ValueError,
            "`x1` must be finite, got nan or inf in split train",
        ),
        (LATENTS, {"label": LABELS[:3]}, {}, ValueError, r"`labels` must be whole numbers of shape \[12\], one per"),
        (
            LATENTS,
            {"label": LABELS - 1},
            {},
            ValueError,
            "`labels` must count from 0, got -1 in split train; label all",
        ),
        (LATENTS, {"label": LABELS / 2}, {}, ValueError, "`labels` must be whole numbers .* got torch.float32"),
        (
            LATENTS,
            {"x0": LATENTS},
            {},
            ValueError,
            "an array x1, .* got x0, x1 in .*; rename them; open pairs:FILE for",
        ),
        (LATENTS, {"y": LATENTS}, {}, ValueError, "an array x1, .* got x1, y in .*; rename them, or pass sample=NAME"),
        (LATENTS, {"x1_test": LATENTS[:, :2]}, {}, ValueError, r"samples of one shape, \[4, 8, 8\] as in split train"),
        (LATENTS, {"label": LABELS, "x1_test": LATENTS}, {}, ValueError, "for every split or for none, got those of t"),
        (LATENTS, {}, {"scale": 0.0}, ValueError, "`scale` must be finite and not 0, got 0.0"),
        (LATENTS, {}, {"shift": "a"}, TypeError, "`shift` must be a number, or one for each channel, got 'a'"),
        (LATENTS, {}, {"scale": (1.0, 2.0)}, ValueError, "`scale` must hold one number, or 4, .* got 2; pass as many"),
    ],
)
def test_what_does_not_fit_is_refused(
    x: Tensor, others: dict[str, Tensor], options: dict[str, Any], error: type[Exception], sentence: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "x.npz", x, **others)
    with pytest.raises(error, match=sentence) as caught:
        open_dataset(f"arrays:{path}", **options)
    assert "\n" not in str(caught.value)


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(written(tmp_path / "y.npy").read_bytes()[:300])
    (tmp_path / "x.npz").write_bytes(b"PK")
    for name, sentence in (
        ("x.npy", "an .npy file of a plain array, got .*x.npy"),
        ("x.npz", "an .npz file of plain ar"),
    ):
        with pytest.raises(ValueError, match=sentence):
            open_dataset(f"arrays:{tmp_path / name}")
    with pytest.raises(
        ValueError, match=r"got x1 in .*; rename them; open arrays:.*x.npz for data without base samples"
    ):
        open_dataset(f"pairs:{written(tmp_path / 'x.npz')}")

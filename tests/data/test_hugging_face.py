"""Folders that Hugging Face's `datasets` writes, and parquet files: columns, splits, keyed rows, resume, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flowops.data import Images, Pairs, Split, open_dataset
from flowops.runs import NetworkConfig
from flowops.training import train
from tests.data.image_files import pixels, planes
from tests.examples import normal
from tests.runs.small import Make, silent
from tests.runs.small import no_pictures as no_pictures
from tests.runs.small import small as small
from tests.training.states import assert_same_bits, state_of

datasets: Any = pytest.importorskip("datasets", exc_type=ImportError)
datasets.disable_progress_bars()
LABELS = [k % 3 for k in range(9)]


def pictures(n: int = 9, labels: list[int | None] | None = None, column: str = "image", **size: int) -> Any:
    """Pictures with named classes."""
    kinds = datasets.Features({column: datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    held = {column: [Image.fromarray(pixels(k, **size)) for k in range(n)], "label": labels or LABELS[:n]}
    return datasets.Dataset.from_dict(held, features=kinds)


def test_rows_are_those_of_every_finite_set(tmp_path: Path) -> None:
    pictures().save_to_disk(tmp_path / "x")
    found = open_dataset(f"hf:{tmp_path / 'x'}")
    images = torch.from_numpy(np.stack([planes(pixels(k)) for k in range(9)]))
    kept = Images("x", {"train": Split(images, torch.tensor(LABELS))}, provenance="x")
    for step in range(3):
        batch, wanted = found.batch(step, 6, seed=1), kept.batch(step, 6, seed=1)
        assert torch.equal(batch.x1, wanted.x1)
        assert batch.labels is not None
        assert wanted.labels is not None
        assert torch.equal(batch.labels, wanted.labels)
        for part in range(2):
            assert torch.equal(found.prepared(step, 6, seed=1, part=(part, 2))().x1, batch.x1[part::2])
    assert (found.size, found.classes, found.event) == (9, ("a", "b", "c"), torch.Size([3, 4, 5]))
    assert "columns image, label, 9 train samples" in found.provenance
    assert open_dataset(f"hf:{tmp_path / 'x'}", label=None).classes == ()


def test_parquet_files_are_split_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "x/data").mkdir(parents=True)
    pictures().to_parquet(tmp_path / "x/data/train-00000-of-00001.parquet")
    pictures(2).to_parquet(tmp_path / "x/data/validation-00000-of-00001.parquet")
    found = open_dataset(f"hf:{tmp_path / 'x'}")
    assert (found.size, found.classes) == (9, ("a", "b", "c"))
    assert found.reference(2, split="test").x1.shape == (2, 3, 4, 5)
    pictures().save_to_disk(tmp_path / "y")
    assert torch.equal(open_dataset(f"hf:{tmp_path / 'y'}").batch(1, 7, seed=2).x1, found.batch(1, 7, seed=2).x1)
    elsewhere = open_dataset(f"hf:{tmp_path / 'x'}", cache=tmp_path / "cache")
    assert elsewhere.provenance == found.provenance
    assert (tmp_path / "cache").is_dir()


def test_numbers_of_any_shape(tmp_path: Path) -> None:
    x = normal(7, 4, 3).float()
    shape = datasets.Features({"events": datasets.Array2D((4, 3), "float32"), "kind": datasets.Value("int64")})
    held = {"events": x.numpy(), "kind": LABELS[:7]}
    datasets.Dataset.from_dict(held, features=shape).save_to_disk(tmp_path / "x")
    found = open_dataset(f"hf:{tmp_path / 'x'}", sample="events", label="kind")
    batch = found.batch(1, 5, seed=3)
    assert torch.equal(batch.x1, Pairs(x, x).batch(1, 5, seed=3).x1)
    assert found.classes == ("0", "1", "2")
    assert open_dataset(f"hf:{tmp_path / 'x'}", sample="events").classes == ()


def test_splits_are_those_that_were_saved(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": pictures(), "extra": pictures(4), "test": pictures(2)}).save_to_disk(tmp_path / "x")
    assert open_dataset(f"hf:{tmp_path / 'x'}").reference(2, split="test").x1.shape == (2, 3, 4, 5)
    extra = open_dataset(f"hf:{tmp_path / 'x'}", split="extra", test="train")
    assert (extra.size, len(extra.reference(9, split="test").x1)) == (4, 9)


def test_pictures_are_resized(tmp_path: Path) -> None:
    mixed = [Image.fromarray(pixels(k, 9 + k, 14 - k)) for k in range(4)]
    rows = datasets.Dataset.from_dict({"img": mixed}, features=datasets.Features({"img": datasets.Image()}))
    rows.save_to_disk(tmp_path / "x")
    assert open_dataset(f"hf:{tmp_path / 'x'}", size=4).event == (3, 4, 4)
    with pytest.raises(ValueError, match=r"\(pass size=14, say, .*got 13 x 10, at row 1 of img in"):
        open_dataset(f"hf:{tmp_path / 'x'}")


def test_a_run_that_is_resumed_is_the_run_that_was_not(small: Make, tmp_path: Path) -> None:
    pictures().save_to_disk(tmp_path / "x")
    name, network = f"hf:{tmp_path / 'x'}", NetworkConfig("mlp", width=8, depth=2, octaves=1)
    whole = small("whole", name, steps=6, checkpoint_every=3, network=network)
    train(whole, report=silent)
    train(small("parts", name, steps=3, checkpoint_every=3, network=network), report=silent)
    resumed = small("parts", name, steps=6, checkpoint_every=3, network=network)
    train(resumed, resume=True, report=silent)
    assert_same_bits(state_of(whole, 6), state_of(resumed, 6))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    pictures(labels=[0, 1, None, 2, 0, 1, 2, 0, 1]).save_to_disk(tmp_path / "unlabelled")
    pictures(column="photo").save_to_disk(tmp_path / "photo")
    texts = {"x": ["a", "b"], "label": ["c", "d"]}
    datasets.Dataset.from_dict(texts).save_to_disk(tmp_path / "texts")
    ragged = {"x": [[1.0, 2.0], [1.0]]}
    datasets.Dataset.from_dict(ragged).save_to_disk(tmp_path / "ragged")
    datasets.DatasetDict({"first": pictures(2)}).save_to_disk(tmp_path / "splits")
    pictures().save_to_disk(tmp_path / "damaged")
    arrow = next((tmp_path / "damaged").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:100])
    (tmp_path / "parquet").mkdir()
    (tmp_path / "parquet/train.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.txt").touch()
    for folder, options, sentence in (
        ("unlabelled", {}, "`label` must have a value in every row, got none in 1 of 9 rows of label in"),
        ("photo", {}, "`sample` must be a column of .*, which has photo, label, got none given; pass sample=NAME"),
        ("photo", {"sample": "image"}, "`sample` must be a column of .*, got image; pass"),
        (
            "photo",
            {"sample": "photo", "label": "cls"},
            "`label` must be a column of .*, which has photo, label, got cls",
        ),
        ("texts", {}, "`label` must hold whole numbers from 0, got string in label in"),
        ("texts", {"label": None}, "numbers of one shape in x, got row 0 in .*; pass sample=COLUMN"),
        (
            "ragged",
            {},
            r"must all be torch.float32 of shape \[2\] like the first, got torch.float32 of shape \[1\] at ite",
        ),
        ("splits", {}, "`split` must be one of first, got 'train' in"),
        ("splits", {"split": "first", "test": "last"}, "`test` must be one of first, got 'last' in"),
        ("damaged", {}, "a whole folder of save_to_disk or of parquet files, got .*damaged: .*; save it again"),
        ("parquet", {}, "a whole folder of save_to_disk or of parquet files, got .*parquet: .*; save it again"),
        ("other", {}, "a folder written by save_to_disk, or of parquet files, got .*other with neither"),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            open_dataset(f"hf:{tmp_path / folder}", **options)
        assert "\n" not in str(caught.value)

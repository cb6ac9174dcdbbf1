"""Shards as the library webdataset writes them: keyed rows, exact resume, damage, emptiness, missing labels."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowops.data import Images, Pairs, Split, open_dataset
from flowops.data.files.shards import expanded
from flowops.runs import NetworkConfig
from flowops.training import train
from tests.data.image_files import encoded, pixels, planes
from tests.examples import normal
from tests.runs.small import Make, silent
from tests.runs.small import no_pictures as no_pictures
from tests.runs.small import small as small
from tests.training.states import assert_same_bits, state_of

IMAGES = torch.from_numpy(np.stack([planes(pixels(k)) for k in range(9)]))
LABELS = torch.arange(9) % 4


def sample(k: int) -> dict[str, Any]:
    """A sample with what we do not read beside it."""
    return {"__key__": f"s{k:03d}", "png": encoded(pixels(k)), "cls": str(int(LABELS[k])), "json": {"pkl": 1}}


def written(folder: Path, samples: list[dict[str, Any]], shards: int = 3) -> str:
    """Shards of these samples and their pattern."""
    webdataset = pytest.importorskip("webdataset", exc_type=ImportError)
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with webdataset.TarWriter(str(folder / f"s-{shard:03d}.tar")) as writer:
            for found in samples[shard * len(samples) // shards : (shard + 1) * len(samples) // shards]:
                writer.write(found)
    return f"{folder}/s-{{000..{shards - 1:03d}}}.tar"


def plain(folder: Path, members: list[tuple[str, bytes]]) -> str:
    """One shard with these files, in their order."""
    with tarfile.open(folder / "x.tar", "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(folder / "x.tar")


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """The library leaves the handles of its writers to the collector."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_rows_are_those_of_every_finite_set(workers: int, tmp_path: Path) -> None:
    pattern = written(tmp_path / "a", [sample(k) for k in range(9)])
    found = open_dataset(f"wds:{pattern}", workers=workers)
    kept = Images("x", {"train": Split(IMAGES, LABELS)}, provenance="x")
    for step in range(3):
        batch, wanted = found.batch(step, 6, seed=1), kept.batch(step, 6, seed=1)
        assert torch.equal(batch.x1, wanted.x1)
        assert batch.labels is not None
        assert wanted.labels is not None
        assert torch.equal(batch.labels, wanted.labels)
        for part in range(3):
            assert torch.equal(found.prepared(step, 6, seed=1, part=(part, 3))().x1, batch.x1[part::3])
    assert (found.size, found.classes, found.event) == (9, ("0", "1", "2", "3"), torch.Size([3, 4, 5]))
    assert "3 shards, 9 train samples" in found.provenance
    again = open_dataset(f"wds:{tmp_path}/a/*.tar")
    assert torch.equal(again.batch(2, 6, seed=1).x1, found.batch(2, 6, seed=1).x1)


def test_arrays_and_a_split_for_tests(tmp_path: Path) -> None:
    x = normal(6, 4, 3).float()
    train_ = written(tmp_path / "a", [{"__key__": f"{k}", "npy": x[k].numpy()} for k in range(6)], 2)
    test = written(tmp_path / "b", [{"__key__": f"{k}", "npy": x[k].numpy() + 50} for k in range(2)], 1)
    found = open_dataset(f"wds:{train_}", test=test)
    assert torch.equal(found.batch(1, 5, seed=3).x1, Pairs(x, x).batch(1, 5, seed=3).x1)
    assert found.reference(2, split="test").x1.min() > 40
    assert found.classes == ()


def test_pictures_are_resized(tmp_path: Path) -> None:
    mixed = [{"__key__": f"{k}", "png": encoded(pixels(k, 9 + k, 14 - k))} for k in range(4)]
    pattern = written(tmp_path / "a", mixed, 2)
    found = open_dataset(f"wds:{pattern}", size=4)
    assert found.event == (3, 4, 4)
    assert "2 shards, resized bicubic, cropped center" in found.provenance
    with pytest.raises(
        ValueError, match=r"one size, 14 x 9 as its first \(pass size=14, .*got 13 x 10, at s-000.tar, the"
    ):
        open_dataset(f"wds:{pattern}")


def test_a_run_that_is_resumed_is_the_run_that_was_not(small: Make, tmp_path: Path) -> None:
    name = f"wds:{written(tmp_path / 'a', [sample(k) for k in range(9)])}"
    network = NetworkConfig("mlp", width=8, depth=2, octaves=1)
    whole = small("whole", name, steps=6, checkpoint_every=3, network=network)
    train(whole, report=silent)
    train(small("parts", name, steps=3, checkpoint_every=3, network=network), report=silent)
    resumed = small("parts", name, steps=6, checkpoint_every=3, network=network)
    train(resumed, resume=True, report=silent)
    assert_same_bits(state_of(whole, 6), state_of(resumed, 6))


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    pattern = written(tmp_path / "a", [sample(k) for k in range(9)])
    shard = tmp_path / "a" / "s-001.tar"
    whole = shard.read_bytes()
    header = whole.index(b"s004")
    damage = {
        "cut in a file": whole[: len(whole) // 2 - 100],
        "another header": whole[:header] + b"\xff" * 300 + whole[header + 300 :],
        "compressed": gzip.compress(whole),
        "text": b"no archive" * 100,
        "nothing": b"",
    }
    for content in damage.values():
        shard.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"whole .tar archives that are not compressed, got .*s-001.tar: .*; unpack"
        ) as e:
            open_dataset(f"wds:{pattern}")
        assert "\n" not in str(e.value)
    picture = whole.index(b"PNG") + 40
    shard.write_bytes(whole[:picture] + b"\0" * 40 + whole[picture + 40 :])
    with pytest.raises(
        ValueError, match="whole PNG, .* images, got s-001.tar, the file at byte .*, which cannot be read"
    ):
        open_dataset(f"wds:{pattern}")


def test_a_shard_that_shrinks_is_named(tmp_path: Path) -> None:
    found = open_dataset(f"wds:{written(tmp_path / 'a', [sample(k) for k in range(9)])}")
    (tmp_path / "a" / "s-002.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="whole shards, got .*s-002.tar, cut short at the file at byte"):
        found.batch(0, 9, seed=0)


def test_labels_are_given_to_all_or_to_none(tmp_path: Path) -> None:
    samples = [sample(k) for k in range(9)]
    del samples[5]["cls"]
    pattern = written(tmp_path / "a", samples)
    with pytest.raises(ValueError, match="a file .cls for every sample or for none, got 8 of 9, and none for sample 5"):
        open_dataset(f"wds:{pattern}")
    assert open_dataset(f"wds:{pattern}", label=None).batch(0, 9, seed=0).labels is None


def test_files_that_are_no_samples_are_refused(tmp_path: Path) -> None:
    png = encoded(pixels(0))
    objects = io.BytesIO()
    np.save(objects, np.array([None]))
    for members, sentence in (
        ([], "shards with samples, got none in .*x.tar"),
        ([("a.txt", b"x")], "a file .jpg or .* for each sample, got .txt for a in .*; pass sample=SUFFIX"),
        ([("a.png", png), ("a.cls", b"cat")], "whole numbers from 0 as labels, got b'cat' in a.cls in"),
        ([("a.png", png), ("a.png", png)], "every file once, got a.png twice in"),
        ([("a.npy", objects.getvalue())], "plain arrays in .npy files, got the file at byte 512 in .*allow_pickle"),
        ([("a.npy", b"\x93NUMPY")], "plain arrays in .npy files, got the file at byte 512 in"),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            open_dataset(f"wds:{plain(tmp_path, members)}")
        assert "\n" not in str(caught.value)


def test_patterns_are_expanded(tmp_path: Path) -> None:
    for name in ("a-08.tar", "a-09.tar", "a-10.tar", "b-09.tar"):
        (tmp_path / name).touch()
    for pattern, names in (
        ("a-{08..10}.tar", ["a-08.tar", "a-09.tar", "a-10.tar"]),
        ("{a,b}-09.tar", ["a-09.tar", "b-09.tar"]),
        ("a-*.tar", ["a-08.tar", "a-09.tar", "a-10.tar"]),
        ("b-09.tar", ["b-09.tar"]),
    ):
        assert [path.name for path in expanded(tmp_path / pattern)] == names
    with pytest.raises(FileNotFoundError, match="got .*a-11.tar, where there is nothing"):
        expanded(tmp_path / "a-{10..11}.tar")
    for pattern in ("a-{3..1}.tar", "a-{x}.tar"):
        with pytest.raises(ValueError, match=r"`path` must hold \{000..003\} or \{a,b\} in its braces, got .*; mend"):
            expanded(tmp_path / pattern)
    with pytest.raises(ValueError, match="a .tar file, got the folder .*; write .*/\\*.tar"):
        expanded(tmp_path)

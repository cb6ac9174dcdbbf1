"""CIFAR-10 from small files in its format; the checksums of torchvision are replaced by theirs."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowops.data import open_dataset
from flowops.data.cifar10 import open_cifar10

torchvision = pytest.importorskip("torchvision.datasets")
RANDOM = np.random.default_rng(0)
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
BATCHES: dict[str, dict[str, Any]] = {
    name: {"data": RANDOM.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [k, 9, 0, 3]}
    for k, name in enumerate(NAMES)
}
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of CIFAR-10, which torchvision takes for the original ones."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    sums = {}
    for name, content in (BATCHES | {"batches.meta": {"label_names": CLASSES}}).items():
        written = pickle.dumps(content, 2)
        (folder / name).write_bytes(written)
        sums[name] = hashlib.md5(written).hexdigest()
    known = torchvision.CIFAR10
    monkeypatch.setattr(known, "train_list", [[name, sums[name]] for name in NAMES[:5]])
    monkeypatch.setattr(known, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(known, "meta", {**known.meta, "md5": sums["batches.meta"]})
    return tmp_path


def test_images_labels_and_classes_are_those_of_the_files(root: Path) -> None:
    for path in (root, root / "cifar-10-batches-py"):
        images = open_cifar10(path)
        assert images.pixels().flatten(1).tolist() == np.concatenate([BATCHES[n]["data"] for n in NAMES[:5]]).tolist()
        assert images.pixels("test").flatten(1).tolist() == BATCHES["test_batch"]["data"].tolist()
        labels = images.splits["train"].labels
        assert labels is not None
        assert labels.tolist() == [label for name in NAMES[:5] for label in BATCHES[name]["labels"]]
        assert labels.dtype == torch.int64
        assert images.classes == tuple(CLASSES)
        assert images.event == torch.Size([3, 32, 32])
        assert images.provenance.startswith("cifar10: Krizhevsky 2009, original archive, 20 train, 4 test images, sha")


def test_flips_are_the_default(root: Path) -> None:
    assert open_cifar10(root).flips
    images = open_dataset("cifar10", path=root, flip=False)
    batch, whole = images.batch(0, 20, seed=0), images.reference(20)
    assert sorted(batch.x1.sum((1, 2, 3)).tolist()) == pytest.approx(sorted(whole.x1.sum((1, 2, 3)).tolist()))


def test_a_file_with_another_checksum_is_named_and_not_unpickled(root: Path) -> None:
    class Call:
        def __reduce__(self) -> Any:
            return Path.mkdir, (root / "made",)

    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(Call()))
    with pytest.raises(ValueError, match="the original files of CIFAR-10, got .*data_batch_3, which is missing or has"):
        open_cifar10(root)
    assert not (root / "made").exists()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    for path, error, sentence in (
        (None, ValueError, "`path` must be a folder for CIFAR-10, got none"),
        (
            tmp_path / "gone",
            FileNotFoundError,
            r"holds cifar-10-batches-py \(pass download=True to fetch it\), got .*gone",
        ),
        (
            tmp_path,
            FileNotFoundError,
            r"unpacked archive of CIFAR-10 .*download=True.*got .*cifar-10-batches-py, where",
        ),
        (tmp_path / "other", NotADirectoryError, "got the file .*other"),
    ):
        with pytest.raises(error, match=sentence):
            open_cifar10(path)


def test_nothing_is_fetched_unless_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetch(*_: Any, **options: Any) -> None:
        calls.append(options["md5"])
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fetch)
    open_cifar10(root)
    open_cifar10(root, download=True)  # it is there already
    assert calls == []
    with pytest.raises(OSError, match="must be fetched from https://.* into .*new, got no network; try again"):
        open_cifar10(root / "new", download=True)
    assert calls == [torchvision.CIFAR10.tgz_md5]


def test_several_that_ask_for_it_fetch_it_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, fetched = root / "new", []

    def fetch(*_: Any, **__: Any) -> None:
        fetched.append(threading.get_ident())
        time.sleep(0.1)
        shutil.copytree(root / "cifar-10-batches-py", new / "cifar-10-batches-py")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fetch)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_cifar10(new, download=True), range(4)))
    assert len(fetched) == 1
    assert {images.provenance for images in opened} == {open_cifar10(root).provenance}

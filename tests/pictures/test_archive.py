"""An .npz file that is written as samples come: the layout of evaluators, whole or not there."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from torch import Tensor

from flowops.data import to_uint8
from flowops.pictures import archive, open_archive


def drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2.2 - 1.1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sizes", [[7], [3, 3, 1]])
def test_images_are_bytes_with_their_channels_last(tmp_path: Path, channels: int, sizes: list[int]) -> None:
    x, labels, first = drawn(7, channels, 4, 5), torch.arange(7) % 3, 0
    with open_archive(tmp_path / "new" / "x.npz", 7, x.shape[1:]) as add:
        for part, own in zip(x.split(sizes), labels.split(sizes), strict=True):
            add(first, part, own)
            first += len(part)
    with np.load(tmp_path / "new" / "x.npz") as held:
        assert held.files == ["arr_0", "arr_1"]
        assert held["arr_0"].dtype == np.uint8
        assert np.array_equal(held["arr_0"], to_uint8(x).permute(0, 2, 3, 1).numpy())
        assert held["arr_1"].dtype == np.int64
        assert held["arr_1"].tolist() == labels.tolist()


@pytest.mark.parametrize("event", [(2,), (5,), (4, 8, 8)])
def test_other_samples_are_as_they_are_and_labels_may_be_missing(tmp_path: Path, event: tuple[int, ...]) -> None:
    x = drawn(3, *event).double()
    with open_archive(tmp_path / "x.npz", 3, event) as add:
        add(0, x, None)
    with np.load(tmp_path / "x.npz") as held:
        assert held.files == ["arr_0"]
        assert held["arr_0"].dtype == np.float32
        assert np.array_equal(held["arr_0"], x.float().numpy())


def test_what_is_added_is_on_disk_at_once(tmp_path: Path) -> None:
    with open_archive(tmp_path / "x.npz", 40, (3, 32, 32)) as add:
        for k in range(40):
            add(k, drawn(1, 3, 32, 32), None)
            (temporary,) = tmp_path.iterdir()
            assert temporary.stat().st_size >= (k + 1) * 3 * 32 * 32 - 2**16  # less a buffer of the file


@pytest.mark.parametrize(
    ("numbers", "message"), [([0, 1], "must hold 5 samples, and 2 were added"), ([0, 2], "`first` must be 1")]
)
def test_too_few_and_those_out_of_order_are_refused(tmp_path: Path, numbers: list[int], message: str) -> None:
    (tmp_path / "x.npz").write_text("before")

    def fill() -> None:
        with open_archive(tmp_path / "x.npz", 5, (2,)) as add:
            for number in numbers:
                add(number, drawn(1, 2), None)

    with pytest.raises(ValueError, match=message):
        fill()
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]
    assert (tmp_path / "x.npz").read_text() == "before"


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0

    class Full(ZipFile):
        """A file on a disk that takes so many bytes."""

        def open(self, *arguments: Any, **named: Any) -> Any:
            stream = super().open(*arguments, **named)
            plain = stream.write

            def write(data: Any) -> int:
                nonlocal written
                written += memoryview(data).nbytes
                if written > 10_000:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return plain(data)

            stream.write = write  # type: ignore[method-assign]
            return stream

    monkeypatch.setattr(archive, "ZipFile", Full)

    def fill() -> None:
        with open_archive(tmp_path / "x.npz", 10, (3, 32, 32)) as add:
            for k in range(10):
                add(k, drawn(1, 3, 32, 32), None)

    with pytest.raises(OSError, match="No space left"):
        fill()
    assert list(tmp_path.iterdir()) == []

"""Pairs: rows stay together, files of both formats, and everything that does not match is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flowops.data import PairedArrays, open_dataset
from tests.examples import normal

X0 = normal(12, 2, 3).float()
LABELS = torch.arange(12) % 5


def test_rows_stay_together_and_every_epoch_holds_all() -> None:
    pairs = PairedArrays(X0, 2 * X0, torch.arange(12))
    for batch in (pairs.batch(3, 8, seed=1), pairs.reference(7, seed=3)):
        assert batch.x0 is not None
        assert batch.labels is not None
        assert torch.equal(batch.x1, 2 * batch.x0)
        assert torch.equal(batch.x0, X0[batch.labels])
    whole = pairs.batch(0, 24, seed=0).labels
    assert whole is not None
    assert sorted(whole[:12].tolist()) == sorted(whole[12:].tolist()) == list(range(12))
    assert torch.equal(pairs.batch(5, 4, seed=2).x1, PairedArrays(X0, 2 * X0).batch(5, 4, seed=2).x1)
    assert (len(pairs), pairs.size, pairs.event) == (12, 12, torch.Size([2, 3]))


def test_files_hold_the_same_pairs(tmp_path: Path) -> None:
    arrays = {"x0": X0, "x1": X0 + 1, "label": LABELS}
    np.savez(tmp_path / "x.npz", x0=X0.numpy(), x1=(X0 + 1).numpy(), label=LABELS.numpy())
    save_file(arrays, tmp_path / "x.safetensors")
    expected = PairedArrays(X0, X0 + 1, LABELS)
    for file in ("x.npz", "x.safetensors"):
        for pairs in (open_dataset(f"pairs:{tmp_path / file}"), open_dataset("pairs", path=tmp_path / file)):
            assert pairs.classes == ("0", "1", "2", "3", "4")
            assert pairs.provenance.split("12 pairs")[1] == expected.provenance.split("12 pairs")[1]
            found, wanted = pairs.batch(2, 9, seed=0), expected.batch(2, 9, seed=0)
            for a, b in zip(found, wanted, strict=True):
                assert a is not None
                assert b is not None
                assert torch.equal(a, b)


def test_labels_may_be_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x0=X0.numpy(), x1=X0.numpy())
    pairs = open_dataset(f"pairs:{tmp_path / 'x.npz'}")
    assert (pairs.classes, pairs.batch(0, 1, seed=0).labels) == ((), None)


def test_batches_come_out_on_the_device() -> None:
    pairs = PairedArrays(X0, X0, LABELS)
    batch = pairs.to("meta").batch(0, 3, seed=0)
    assert [part.device.type for part in batch if part is not None] == ["meta"] * 3
    assert pairs.batch(0, 3, seed=0).x1.device.type == "cpu"


@pytest.mark.parametrize(
    ("act", "error", "sentence"),
    [
        (lambda: PairedArrays(X0, X0[:3]), ValueError, r"`x1` must have the shape of `x0`, \[12, 2, 3\]"),
        (lambda: PairedArrays(X0.double(), X0.double()), TypeError, "`x0` and `x1` must be float32, got torch.float64"),
        (lambda: PairedArrays(X0[:0], X0[:0]), ValueError, "`x0` must hold at least one sample"),
        (
            lambda: PairedArrays(X0, X0, LABELS[:3]),
            ValueError,
            r"`labels` must have shape \[12\], one per pair, got \[3\]",
        ),
        (lambda: PairedArrays(X0, X0, LABELS.float()), TypeError, "`labels` must be whole numbers, got torch.float32"),
        (lambda: PairedArrays(X0, X0, LABELS - 1), ValueError, "`labels` must count from 0, got -1"),
        (lambda: PairedArrays(X0, X0).reference(13), ValueError, "`n` must be at most the 12 samples that pairs has"),
        (lambda: PairedArrays(X0, X0).reference(1, split="test"), ValueError, "`split` must be 'train' for pairs"),
        (lambda: PairedArrays(X0, X0).batch(0, 0, seed=0), ValueError, "`n` must be a positive number"),
    ],
)
def test_wrong_arguments_are_refused(act: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        act()


def test_unsuitable_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x0=X0.numpy(), y=X0.numpy())
    np.savez(tmp_path / "objects.npz", x0=np.array([None]), x1=X0.numpy())
    (tmp_path / "broken.npz").write_bytes(b"PK")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    (tmp_path / "pairs.pkl").write_bytes(b"")
    for name, error, sentence in (
        ("other.npz", ValueError, "arrays x0 and x1, and label or none, got x0, y in .*other.npz"),
        ("objects.npz", ValueError, "an .npz file of plain arrays, got .*objects.npz: .*allow_pickle"),
        ("broken.npz", ValueError, "an .npz file of plain arrays, got .*broken.npz"),
        ("broken.safetensors", ValueError, "a .safetensors file, got .*broken.safetensors"),
        ("pairs.pkl", ValueError, "ending in .npz or .safetensors, got .*pairs.pkl"),
        ("gone.npz", FileNotFoundError, "got .*gone.npz, where there is nothing"),
        (".", IsADirectoryError, "a file, got the folder"),
    ):
        with pytest.raises(error, match=sentence):
            open_dataset("pairs", path=tmp_path / name)

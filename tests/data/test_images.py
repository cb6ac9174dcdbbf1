"""Sets of images: bytes and states, pure batches, flips that are fair and that labels ignore, references, devices."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from scipy import stats

from flowops.data import Images, Split, to_float, to_uint8
from flowops.data.images import fingerprint

BYTES = torch.arange(256, dtype=torch.uint8)


def numbered(size: int = 10, **options: Any) -> Images:
    """Images `[2, 3, 4]` of which the corner tells the number and the last column differs; labels are numbers."""
    pixels = torch.zeros(size, 2, 3, 4, dtype=torch.uint8)
    pixels[:, :, :, 0] = torch.arange(size, dtype=torch.uint8)[:, None, None]
    pixels[:, :, :, 3] = 255
    splits = {"train": Split(pixels, torch.arange(size)), "test": Split(pixels[:4] + 50, torch.arange(4))}
    return Images("numbered", splits, provenance="numbered: for tests", **options)


def test_an_epoch_covers_every_sample_once() -> None:
    images = numbered()
    labels = [images.batch(step, 4, seed=3).labels for step in range(5)]
    seen = torch.cat([part for part in labels if part is not None])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))


@pytest.mark.parametrize("flips", [False, True])
def test_batches_are_pure_and_differ_by_step_and_seed(flips: bool) -> None:
    one, other = numbered(flips=flips), numbered(flips=flips)
    other.batch(7, 5, seed=9)
    for step in (3, 0, 11):
        first, second = one.batch(step, 13, seed=1), other.batch(step, 13, seed=1)
        assert torch.equal(first.x1, second.x1)
        assert first.labels is not None
        assert second.labels is not None
        assert torch.equal(first.labels, second.labels)
    assert not torch.equal(one.batch(0, 13, seed=1).x1, one.batch(1, 13, seed=1).x1)
    assert not torch.equal(one.batch(0, 13, seed=1).x1, one.batch(0, 13, seed=2).x1)


def test_images_stay_with_their_labels_and_are_floats_from_bytes() -> None:
    images = numbered()
    batch = images.batch(2, 25, seed=0)
    assert batch.labels is not None
    assert batch.x0 is None
    assert batch.x1.dtype == torch.float32
    assert batch.labels.dtype == torch.int64
    assert torch.equal(batch.x1, to_float(images.pixels()[batch.labels]))


def test_half_of_the_images_are_mirrored_as_a_whole() -> None:
    images = numbered(flips=True)
    plain = to_float(images.pixels())
    batches = [images.batch(step, 10, seed=5) for step in range(100)]
    mirrored = []
    for batch in batches:
        assert batch.labels is not None
        original = plain[batch.labels]
        flipped = (batch.x1 == original.flip(-1)).flatten(1).all(1)
        assert torch.equal(flipped, ~(batch.x1 == original).flatten(1).all(1))
        mirrored.append(flipped)
    counts = torch.stack(mirrored)
    assert stats.binomtest(int(counts.sum()), counts.numel()).pvalue > 1e-4
    assert len(counts.unique(dim=0)) > 50  # drawn anew at every step


@pytest.mark.parametrize("count", [2, 8])
def test_a_process_touches_the_images_of_its_rows_alone(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, taken, take = numbered(flips=True), [], Split.take

    def counted(split: Split, index: torch.Tensor) -> Split:
        taken.append(len(index))
        return take(split, index)

    monkeypatch.setattr(Split, "take", counted)
    whole = images.batch(3, 16, seed=1)
    for k in range(count):
        part = images.prepared(3, 16, seed=1, part=(k, count))()
        assert torch.equal(part.x1, whole.x1[k::count])
    assert taken == [16, *[16 // count] * count]


def test_without_flips_nothing_is_mirrored() -> None:
    assert (numbered().batch(0, 50, seed=0).x1[..., 3] == 1).all()


def test_a_reference_is_a_part_of_its_split_without_flips() -> None:
    images = numbered(flips=True)
    for split, size, shift in (("train", 10, 0), ("test", 4, 50)):
        batch = images.reference(size, split=split, seed=2)
        assert batch.labels is not None
        assert sorted(batch.labels.tolist()) == list(range(size))
        assert torch.equal(batch.x1, to_float(images.pixels(split)[batch.labels]))
        assert torch.equal(batch.x1[:, 0, 0, 0], to_float((batch.labels + shift).to(torch.uint8)))
        part = images.reference(2, split=split, seed=2)
        assert torch.equal(part.x1, batch.x1[:2])
    assert not torch.equal(images.reference(10, seed=0).x1, images.reference(10, seed=1).x1)


@pytest.mark.parametrize("resident", [True, False])
def test_batches_come_out_on_the_device(resident: bool) -> None:
    images = numbered(flips=True, resident=resident)
    moved = images.to("meta")
    assert moved.pixels().device.type == ("meta" if resident else "cpu")
    for batch in (moved.batch(0, 5, seed=0), moved.reference(3)):
        assert batch.labels is not None
        assert batch.x1.device.type == batch.labels.device.type == "meta"
    assert images.batch(0, 5, seed=0).x1.device.type == "cpu"
    assert images.pixels().device.type == "cpu"


def test_images_that_are_few_lie_on_the_device_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    images = numbered(resident="auto")
    size = sum(split.pixels.numel() + 8 * len(split) for split in images.splits.values())
    cuda, cpu, other = torch.device("cuda", 0), torch.device("cpu"), torch.device("meta")
    for free, fits in ((4 * size + 1, True), (4 * size, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 10 * size))
        assert images._resides(cuda) == fits
        assert numbered(resident=True)._resides(cuda)
        assert not numbered(resident=False)._resides(cuda)
    assert images.to(cpu).pixels() is images.pixels()
    assert not images._resides(other)
    assert images.to("meta").pixels().device == cpu


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_many_images_reach_the_device_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowops.data.rows._LOCKED", 100)
    images = numbered(200, resident=True)
    assert torch.equal(images.to("cuda").pixels().cpu(), images.pixels())
    assert numbered(resident="auto").to("cuda").pixels().is_cuda


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_the_same_on_every_device(resident: bool) -> None:
    images = numbered(flips=True, resident=resident)
    moved = images.to("cuda")
    for step in range(5):
        here, there = images.batch(step, 7, seed=0), moved.batch(step, 7, seed=0)
        assert there.x1.is_cuda
        assert there.labels is not None
        assert here.labels is not None
        assert torch.equal(here.x1, there.x1.cpu())
        assert torch.equal(here.labels, there.labels.cpu())


def test_length_and_event_are_those_of_the_training_samples() -> None:
    images = numbered(7)
    assert (len(images), images.size, images.event) == (7, 7, torch.Size([2, 3, 4]))
    assert repr(images) == "Images(numbered: for tests)"


def test_unlabelled_images_have_no_labels() -> None:
    pixels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    images = Images("plain", {"train": Split(pixels)}, provenance="")
    assert images.batch(0, 2, seed=0).labels is None
    assert images.reference(3).labels is None


def test_what_is_not_there_is_refused() -> None:
    images = numbered()
    with pytest.raises(ValueError, match="`split` must be one of train, test for numbered, got 'val'"):
        images.reference(1, split="val")
    with pytest.raises(ValueError, match="`n` must be at most the 4 samples that numbered has in its split 'test'"):
        images.reference(5, split="test")
    with pytest.raises(ValueError, match="`n` must be a whole number of at least 1, got 0"):
        images.reference(0)
    for pixels, labels, error, sentence in (
        (torch.zeros(2, 1, 2, 2), None, TypeError, "`pixels` must be uint8, got torch.float32"),
        (images.pixels()[0], None, ValueError, "`pixels` must have shape .*, got \\[2, 3, 4\\]"),
        (images.pixels()[:0], None, ValueError, "with n of at least 1, got \\[0, 2, 3, 4\\]"),
        (images.pixels(), torch.arange(9), ValueError, "`labels` must be int64 of shape \\[10\\], one per image"),
        (images.pixels(), torch.zeros(10), ValueError, "got torch.float32 of shape"),
    ):
        with pytest.raises(error, match=sentence):
            Split(pixels, labels)
    with pytest.raises(ValueError, match="`splits` must hold a split 'train', got \\['test'\\]"):
        Images("x", {"test": Split(torch.zeros(1, 1, 1, 1, dtype=torch.uint8))}, provenance="")


def test_every_byte_survives_the_round_trip() -> None:
    assert torch.equal(to_uint8(to_float(BYTES)), BYTES)
    assert torch.equal(to_uint8(to_float(BYTES).double()), BYTES)


def test_bytes_become_the_nearest_float_to_the_exact_value_up_to_two_roundings() -> None:
    exact = torch.tensor([float(Fraction(k * 2, 255) - 1) for k in range(256)], dtype=torch.float64)
    assert (to_float(BYTES).double() - exact).abs().max() <= 2 * torch.finfo(torch.float32).eps
    assert to_float(BYTES)[[0, 255]].tolist() == [-1.0, 1.0]


def test_a_state_becomes_the_nearest_byte_of_the_range() -> None:
    x = torch.tensor([-3.0, -1.001, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 0.999, 1.0, 7.0])
    assert to_uint8(x).tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_the_arguments_are_left_as_they_are() -> None:
    x = torch.tensor([[0.25, -2.0]])
    to_uint8(x)
    assert x.tolist() == [[0.25, -2.0]]
    to_float(BYTES)
    assert BYTES[7] == 7


def test_other_dtypes_and_values_that_no_image_shows_are_refused() -> None:
    with pytest.raises(TypeError, match="`pixels` must be uint8, got torch.float32"):
        to_float(torch.zeros(2))
    with pytest.raises(TypeError, match="`x` must have a floating dtype, got torch.uint8"):
        to_uint8(BYTES)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="`x` must be finite to become an image"):
            to_uint8(torch.tensor([0.0, value]))


def test_a_fingerprint_changes_with_every_byte_every_label_and_the_names_of_the_splits() -> None:
    pixels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    one = pixels.clone()
    one[3, 0, 1, 1] = 1
    sets = [
        {"train": Split(pixels)},
        {"test": Split(pixels)},
        {"train": Split(one)},
        {"train": Split(pixels.reshape(4, 1, 1, 4))},
        {"train": Split(pixels, torch.zeros(4, dtype=torch.int64))},
        {"train": Split(pixels, torch.tensor([0, 0, 0, 1]))},
        {"train": Split(pixels), "test": Split(pixels)},
    ]
    assert len({fingerprint(splits) for splits in sets}) == len(sets)
    both = {"train": Split(pixels), "test": Split(one)}
    assert fingerprint(both) == fingerprint(dict(reversed(both.items())))

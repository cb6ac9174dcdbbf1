"""Statistics of features: NumPy, chunks and streams, a large mean, the file and every way in which it can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops.metrics import Extractor, FeatureStatistics, Moments, open_extractor, statistics

safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")
pytest.importorskip("safetensors.torch")

PIXELS = open_extractor("pixels")


def images(n: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (n, 1, 2, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def of(n: int, **arguments: Any) -> FeatureStatistics:
    return statistics(images(n), PIXELS, provenance="random bytes", **arguments)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_moments_are_numpys_whatever_the_chunk(chunk: int) -> None:
    rows = images(30).reshape(30, 6).numpy() / 255.0
    found = of(30, chunk=chunk)
    assert (found.count, found.dimension, found.extractor) == (30, 6, "pixels")
    assert_close(found.mean, torch.from_numpy(rows.mean(0)))
    assert_close(found.covariance, torch.from_numpy(np.cov(rows, rowvar=False)))


def test_a_stream_of_batches_is_one_set() -> None:
    whole = images(30)
    stream = statistics((part for part in whole.split([4, 0, 26])), PIXELS, provenance="stream", chunk=10)
    assert_close(stream.covariance, of(30).covariance)
    assert stream.count == 30


def test_moments_of_parts_are_joined_to_those_of_all() -> None:
    features = PIXELS.features(images(30))
    one, two, three = (Moments.of(part) for part in features.split([11, 1, 18]))
    for joined in (one.joined(two).joined(three), three.joined(one.joined(two))):
        found = joined.statistics(PIXELS, "random bytes")
        assert found.count == 30
        assert_close((found.mean, found.covariance), (of(30).mean, of(30).covariance))


def test_a_mean_of_a_hundred_million_leaves_the_covariance_its_digits() -> None:
    far = Extractor("far", lambda images: images.flatten(1).double() + 1e8)
    found = statistics(images(300), far, provenance="random bytes", chunk=7)
    assert_close(found.covariance, of(300).covariance * 255**2, rtol=1e-9, atol=1e-6)


def test_features_in_float32_are_added_in_float64() -> None:
    single = Extractor("single", lambda images: images.flatten(1).float() / 255)
    found = statistics(images(300), single, provenance="random bytes", chunk=7)
    assert found.mean.dtype == torch.float64
    assert_close(found.covariance, of(300).covariance, rtol=0, atol=1e-7)


def test_a_file_keeps_everything(tmp_path: Path) -> None:
    saved = of(20)
    saved.save(tmp_path / "new" / "set.safetensors")
    loaded = FeatureStatistics.load(tmp_path / "new" / "set.safetensors", extractor=PIXELS)
    assert_close((loaded.mean, loaded.covariance), (saved.mean, saved.covariance), rtol=0, atol=0)
    for name in ("count", "extractor", "provenance", "protocol"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["set.safetensors"]


def test_features_of_another_extractor_are_refused(tmp_path: Path) -> None:
    of(20).save(tmp_path / "set.safetensors")
    with pytest.raises(ValueError, match="must hold features of 'inception', got those of 'pixels'"):
        FeatureStatistics.load(tmp_path / "set.safetensors", extractor="inception")


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_told(kept: int, tmp_path: Path) -> None:
    file = tmp_path / "set.safetensors"
    of(20).save(file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"set.safetensors must be a whole file .* got a damaged one"):
        FeatureStatistics.load(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "flowops classifier 1"}, "must have the format 'flowops feature statistics 1'"),
        ({"protocol": "0"}, "must follow protocol 1, got protocol 0"),
        ({"count": "many"}, "must hold feature statistics, got incomplete ones"),
        ({"count": None}, "must hold feature statistics, got incomplete ones: 'count'"),
        ({"count": "1"}, "`count` must be at least 2"),
    ],
)
def test_a_file_that_says_something_else_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    about = {"format": "flowops feature statistics 1", "count": "9", "extractor": "e"}
    about |= {"provenance": "p", "protocol": "1"} | changes
    about = {name: value for name, value in about.items() if value is not None}
    moments = {"mean": torch.zeros(2).double(), "covariance": torch.eye(2).double()}
    safetensors.torch.save_file(moments, tmp_path / "set.safetensors", metadata=about)
    with pytest.raises(ValueError, match=message):
        FeatureStatistics.load(tmp_path / "set.safetensors")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a file with feature statistics, and there is none"):
        FeatureStatistics.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (torch.zeros(2), torch.zeros(2, 2), r"must be \[d\] and \[d, d\] in float64"),
        (torch.zeros(2).double(), torch.zeros(3, 3).double(), r"got \[2\] torch.float64 and \[3, 3\]"),
        (torch.full((1,), torch.nan).double(), torch.zeros(1, 1).double(), "must be finite"),
    ],
)
def test_moments_that_do_not_fit_are_refused(mean: Tensor, covariance: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureStatistics(mean, covariance, 9, "e", "p")


def test_one_image_has_no_covariance_and_no_provenance_no_use() -> None:
    with pytest.raises(ValueError, match="`images` must be at least 2 images, got 1"):
        of(1)
    with pytest.raises(ValueError, match="`provenance` must say which images these are"):
        statistics(images(9), PIXELS, provenance=" ")
    with pytest.raises(ValueError, match="`chunk` must be a whole number of at least 1, got 0"):
        of(9, chunk=0)

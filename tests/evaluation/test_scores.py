"""Distances of samples from data: what they are of data themselves, of other samples, and by other routes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import Interpolant, interpolants, problems
from flowops.data import Images, Pairs, open_dataset, to_uint8
from flowops.data.images import Split
from flowops.evaluation import scores as module
from flowops.evaluation.scores import ImageScores, PointScores
from flowops.metrics import (
    Extractor,
    FeatureStatistics,
    cell_masses,
    dinov2,
    frechet_distance,
    histogram_kl,
    inception,
    open_extractor,
    statistics,
)

DIGITS = open_dataset("digits")


@pytest.mark.slow
def test_data_score_as_data() -> None:
    scores = PointScores(open_dataset("checkerboard"), 2000, split="train", seed=0)
    columns = dict(zip(scores.columns, scores.floor().values, strict=True))
    assert list(columns) == ["KL", "sliced W2", "MMD^2", "energy distance"]
    shifted = dict(zip(scores.columns, scores.of(scores.fresh + 0.3), strict=True))
    assert all(columns[name] < shifted[name] / 3 for name in columns)


def test_exact_samples_have_the_divergence_of_their_number() -> None:
    """It is half the number of cells with mass over that of the samples: the law of the cells is exact."""
    scores, n = PointScores(open_dataset("checkerboard"), 40_000, split="train", seed=0), 40_000
    masses = cell_masses(problems.checkerboard(interpolants.linear()), points=4)
    cells = int((masses > 0).sum())
    assert float(histogram_kl(scores.fresh, masses)) == pytest.approx((cells - 1) / (2 * n), rel=0.1)
    assert scores.measures["KL"](scores.fresh) == float(histogram_kl(scores.fresh, masses))


def test_fewer_samples_than_cells_with_mass_have_no_divergence() -> None:
    """There are 1348 such cells; below them an empty one counts for more than what it lacks."""
    enough, few = (PointScores(open_dataset("checkerboard"), n, split="train", seed=0) for n in (1348, 1347))
    assert enough.columns == ("KL", *few.columns)
    assert few.columns == ("sliced W2", "MMD^2", "energy distance")
    assert not math.isnan(enough.of(enough.fresh)[0])
    lost = enough.fresh.clone()
    lost[7] = math.nan
    values = enough.of(lost)
    assert math.isnan(values[0])
    assert not any(map(math.isnan, values[1:]))


def test_a_law_that_cannot_be_a_key_has_its_divergence_and_the_first_caller_leaves_no_mark() -> None:
    @dataclass
    class Law:
        def __call__(self, I: Interpolant) -> problems.Problem[Any, Any]:
            return problems.checkerboard(I)

    board, own = open_dataset("checkerboard"), open_dataset("checkerboard")
    own.problem = Law()
    module._masses_of.cache_clear()
    with torch.inference_mode():
        PointScores(board, 2_000, split="train", seed=0)
    for dataset in (board, own):
        assert "KL" in PointScores(dataset, 2_000, split="train", seed=0).columns
        masses = module._masses(dataset)
        assert masses is not None
        assert not masses.is_inference()


def test_a_law_without_density_has_no_divergence() -> None:
    scores = PointScores(open_dataset("moons"), 50, split="test", seed=0)
    assert scores.columns == ("sliced W2", "MMD^2", "energy distance")


@pytest.mark.parametrize(
    ("name", "column"),
    [(inception.NAME, "FID"), (dinov2.NAME, "FD-DINOv2"), ("inception", "Fréchet distance (inception)")],
)
def test_published_protocols_alone_have_their_names(name: str, column: str, tmp_path: Path) -> None:
    extractor = Extractor(name, lambda images: images.flatten(1).float()[:, 20:23], 3)
    assert ImageScores(DIGITS, 20, extractor, split="train", seed=0, cache=tmp_path).columns[0] == column


def test_images_are_compared_with_all_of_a_split(tmp_path: Path) -> None:
    extractor, data = open_extractor("pixels"), DIGITS
    scores = ImageScores(data, 200, extractor, split="train", seed=0, cache=tmp_path)
    assert scores.columns[0] == "Fréchet distance (pixels)"
    x = data.reference(200, split="test", seed=0).x1
    train_images = to_uint8(data.reference(1498, split="train", seed=5).x1)
    wanted = frechet_distance(
        statistics(train_images, extractor, provenance="train"), statistics(to_uint8(x), extractor, provenance="test")
    )
    assert scores.of(x)[0] == pytest.approx(float(wanted))
    floor = scores.floor()
    assert floor.name == "data, 200 of the split test"
    assert floor.values[0] == pytest.approx(float(wanted))
    noise = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    distance, kernel, precision, recall = scores.of(noise)
    assert distance > 5 * floor.values[0]
    assert kernel > 0.01
    assert (precision, recall) < (0.1, 0.1)


def grey(n: int, seed: int) -> Tensor:
    """Images of independent grey levels, all of one law."""
    levels = 128 + 32 * torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return levels.round().clamp(0, 255).to(torch.uint8)


def one_law(train: int, test: int) -> Images:
    splits = {"train": Split(grey(train, 0), None), "test": Split(grey(test, 1), None)}
    return Images("grey", splits, provenance="grey: one law")


def test_data_are_compared_at_equal_numbers(tmp_path: Path) -> None:
    """Exact samples, four times as many as images are held out, look better than data unless as many are compared."""
    extractor, n, m = open_extractor("pixels"), 1200, 300
    scores = ImageScores(one_law(4000, m), n, extractor, split="train", seed=0, cache=tmp_path)
    frechet, recall = scores.columns[0], "recall"
    assert scores.columns[-2:] == (f"{frechet}, first {m}", f"{recall}, first {m}")
    exact = grey(n, 2).float() / 127.5 - 1
    samples, data = (dict(zip(scores.columns, v, strict=True)) for v in (scores.of(exact), scores.floor().values))
    assert math.isnan(data[frechet])
    assert math.isnan(data[recall])
    own = ImageScores(one_law(4000, m), m, extractor, split="train", seed=0, cache=tmp_path)
    at_m = dict(zip(own.columns, own.of(exact[:m]), strict=True))
    assert samples[f"{frechet}, first {m}"] == pytest.approx(at_m[frechet], rel=1e-9)
    assert data[f"{frechet}, first {m}"] == own.floor().values[0]
    assert samples[frechet] < data[f"{frechet}, first {m}"] / 2  # what stood side by side before
    assert samples[f"{frechet}, first {m}"] == pytest.approx(data[f"{frechet}, first {m}"], rel=0.15)
    assert samples[f"{recall}, first {m}"] == pytest.approx(data[f"{recall}, first {m}"], abs=0.08)


def test_as_many_images_as_samples_need_no_further_columns(tmp_path: Path) -> None:
    scores = ImageScores(one_law(500, 200), 200, open_extractor("pixels"), split="train", seed=0, cache=tmp_path)
    assert not any("first" in column for column in scores.columns)
    assert not any(map(math.isnan, scores.floor().values))


def test_images_without_a_split_are_compared_half_against_half(tmp_path: Path) -> None:
    x = grey(800, 3).float() / 127.5 - 1
    scores = ImageScores(
        Pairs(torch.zeros_like(x), x), 300, open_extractor("pixels"), split="train", seed=0, cache=tmp_path
    )
    floor = dict(zip(scores.columns, scores.floor().values, strict=True))
    further = f"{scores.columns[0]}, first 150"
    assert math.isnan(floor[scores.columns[0]])
    samples = dict(zip(scores.columns, scores.of(grey(300, 4).float() / 127.5 - 1), strict=True))
    assert samples[further] == pytest.approx(floor[further], rel=0.5)  # of some 150 squares, a sixth each way
    too_few = dict(zip(scores.columns, scores.of(grey(149, 4).float() / 127.5 - 1), strict=True))
    assert math.isnan(too_few[further])
    assert not math.isnan(too_few[scores.columns[0]])


def test_points_of_a_finite_set_are_compared_at_equal_numbers() -> None:
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    scores = PointScores(Pairs(x, x), 1000, split="train", seed=0)
    assert scores.reference.endswith("with the first 200 samples")
    samples = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1))
    assert scores.of(samples) == scores.of(samples[:200])
    assert scores.of(samples) != scores.of(samples[200:400])


def test_statistics_of_the_data_are_kept_with_their_provenance(tmp_path: Path) -> None:
    extractor = open_extractor("pixels")

    def scores() -> ImageScores:
        return ImageScores(DIGITS, 100, extractor, split="train", seed=0, cache=tmp_path)

    first = scores().statistics
    path = tmp_path / "reference-pixels-train-1498.safetensors"
    kept = FeatureStatistics.load(path)
    assert kept.provenance == f"1498 images of the split train of {DIGITS.provenance}"
    torch.testing.assert_close(kept.mean, first.mean)
    replace(kept, mean=kept.mean + 1).save(path)  # the same provenance: it is taken as it is
    torch.testing.assert_close(scores().statistics.mean, first.mean + 1)
    replace(kept, mean=kept.mean + 1, provenance="other images").save(path)
    torch.testing.assert_close(scores().statistics.mean, first.mean)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_damaged_statistics_are_computed_anew(tmp_path: Path, share: float) -> None:
    """They are kept to save time alone."""
    extractor = open_extractor("pixels")

    def found() -> FeatureStatistics:
        return ImageScores(DIGITS, 100, extractor, split="test", seed=0, cache=tmp_path).statistics

    first = found()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    torch.testing.assert_close(found().mean, first.mean)
    torch.testing.assert_close(FeatureStatistics.load(path).mean, first.mean)


def test_statistics_of_some_images_are_those_of_their_seed(tmp_path: Path) -> None:
    x = DIGITS.reference(299, split="test", seed=0).x1
    pairs, extractor = Pairs(torch.zeros_like(x), x), open_extractor("pixels")

    def scores(seed: int) -> ImageScores:
        return ImageScores(pairs, 100, extractor, split="train", seed=seed, cache=tmp_path)

    for seed in (0, 1, 0):
        found, wanted = scores(seed), to_uint8(pairs.reference(100, seed=seed).x1)
        torch.testing.assert_close(found.statistics.mean, statistics(wanted, extractor, provenance="100").mean)
        assert found.reference.endswith(f", chosen by the seed {seed}")


def test_further_columns_are_measures_of_the_samples_themselves(tmp_path: Path) -> None:
    points = PointScores(open_dataset("moons"), 50, split="test", seed=0, metrics=(f"{__name__}:shift",))
    assert points.columns == ("sliced W2", "MMD^2", "energy distance", "shift")
    assert points.of(points.data + 3)[-1] == pytest.approx(3, rel=1e-5)
    assert len(points.floor().values) == 4
    extractor = open_extractor("pixels")
    images = ImageScores(DIGITS, 100, extractor, split="test", seed=0, cache=tmp_path, metrics=(f"{__name__}:shift",))
    assert images.columns[-1] == "shift"
    assert images.of(images.data)[-1] == pytest.approx(0, abs=1e-6)
    assert images.of(images.data / 2)[-1] == pytest.approx(float((images.data / 2 - images.data).mean()), rel=1e-4)
    assert len(images.floor().values) == len(images.columns)


def shift(data: Tensor) -> Callable[[Tensor], float]:
    """How far the mean of samples is from that of the data."""
    return lambda x: float(x.mean() - data.mean())

"""The Fréchet distance: scipy, torchmetrics, closed forms, singular covariances, and what is not compared."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor
from torch.testing import assert_close

from flowops.metrics import FeatureStatistics, frechet_distance, frechet_inception_distance

DOUBLE = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def stats(mean: Tensor, covariance: Tensor, **others: Any) -> FeatureStatistics:
    given: dict[str, Any] = {"count": 10_000, "extractor": "pixels", "provenance": "test"} | others
    return FeatureStatistics(mean, covariance, **given)


def of_rows(rows: Tensor) -> FeatureStatistics:
    return stats(rows.mean(0), rows.T.cov().reshape(rows.shape[1], -1))


def pair(d: int) -> tuple[FeatureStatistics, FeatureStatistics]:
    return of_rows(normal(5 * d, d)), of_rows(0.3 + normal(5 * d, d, seed=1) @ normal(d, d, seed=2))


@pytest.mark.parametrize("d", [1, 6, 40])
def test_the_value_is_scipys(d: int) -> None:
    a, b = pair(d)
    product = sqrtm((a.covariance.reshape(d, d) @ b.covariance.reshape(d, d)).numpy())
    expected = (a.mean - b.mean).square().sum() + (a.covariance + b.covariance).trace() - 2 * product.trace().real
    assert_close(frechet_distance(a, b), torch.as_tensor(expected, dtype=DOUBLE))


def test_the_value_is_torchmetrics() -> None:
    compute = pytest.importorskip("torchmetrics.image.fid")._compute_fid
    a, b = pair(30)
    assert_close(frechet_distance(a, b), compute(a.mean, a.covariance, b.mean, b.covariance))


def test_covariances_that_commute_compare_by_their_deviations() -> None:
    rotation = torch.linalg.qr(normal(5, 5)).Q
    p, q = normal(5, seed=1).abs(), normal(5, seed=2).abs()
    a, b = (stats(torch.zeros(5, dtype=DOUBLE), rotation * s.square() @ rotation.T) for s in (p, q))
    assert_close(frechet_distance(a, b), (p - q).square().sum())


def test_it_is_the_cost_of_the_optimal_linear_map() -> None:
    x, factor = normal(500, 6), normal(6, 6, seed=1)
    image = x @ (factor @ factor.T) + 2
    squares = (x - image).square().sum(1)
    moved = (x - image - (x - image).mean(0)).square().sum() / 499 + (x.mean(0) - image.mean(0)).square().sum()
    assert_close(frechet_distance(of_rows(x), of_rows(image)), moved)
    assert squares.mean() == pytest.approx(moved.item(), rel=0.01)


def test_singular_covariances_keep_eight_digits() -> None:
    rows = 3 * normal(51, 200)
    singular = of_rows(rows)
    assert frechet_distance(singular, singular).abs() < 1e-10
    # the nuclear norm of the product of the centred rows is the trace of the root
    others = normal(61, 200, seed=1)
    centered = [sample - sample.mean(0) for sample in (rows, others)]
    shared = torch.linalg.svdvals(centered[0] @ centered[1].T).sum() / (50 * 60) ** 0.5
    b = of_rows(others)
    expected = (singular.mean - b.mean).square().sum() + (singular.covariance + b.covariance).trace() - 2 * shared
    assert_close(frechet_distance(singular, b), expected, rtol=1e-8, atol=0)


def test_the_order_does_not_matter() -> None:
    a, b = pair(8)
    assert_close(frechet_distance(a, b), frechet_distance(b, a))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"extractor": "mine"}, "the extractor of `a`, 'pixels', got 'mine'"),
        ({"protocol": 0}, "the protocol of `a`, 1, got 0"),
    ],
)
def test_statistics_of_another_kind_are_refused(others: dict[str, Any], message: str) -> None:
    mean, covariance = torch.zeros(2, dtype=DOUBLE), torch.eye(2, dtype=DOUBLE)
    with pytest.raises(ValueError, match=message):
        frechet_distance(stats(mean, covariance), stats(mean, covariance, **others))


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="the dimension of `a`, 3, got 4"):
        frechet_distance(of_rows(normal(9, 3)), of_rows(normal(9, 4)))


def test_too_few_images_are_warned_of() -> None:
    mean, covariance = torch.zeros(4, dtype=DOUBLE), torch.eye(4, dtype=DOUBLE)
    with pytest.warns(UserWarning, match="Statistics of 4 images in 4 dimensions are singular"):
        frechet_distance(stats(mean, covariance, count=4), stats(mean, covariance))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(stats(mean, covariance, count=5), stats(mean, covariance))


def test_only_inceptions_features_give_a_fid() -> None:
    mean, covariance = torch.zeros(2, dtype=DOUBLE), torch.eye(2, dtype=DOUBLE)
    a, b = (stats(mean + shift, covariance, extractor="inception-2015-12-05") for shift in (0, 1))
    assert_close(frechet_inception_distance(a, b), torch.tensor(2.0, dtype=DOUBLE))
    with pytest.raises(ValueError, match="`b` must be .* 'inception-2015-12-05', got 'pixels'"):
        frechet_inception_distance(a, stats(mean, covariance))

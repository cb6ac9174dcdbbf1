"""Energy distance and maximum mean discrepancy: by hand, scipy, normal laws in closed form, no bias, and the errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from flowops.metrics import _points, energy_distance, maximum_mean_discrepancy

DOUBLE = torch.float64


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gaussian_mmd(x: Tensor, y: Tensor) -> Tensor:
    return maximum_mean_discrepancy(x, y, bandwidths=1.3)


BOTH = pytest.mark.parametrize("distance", [energy_distance, gaussian_mmd])


def test_energy_by_hand() -> None:
    # 2 * (1 + 2 + 2 + 1) / 4 - |0 - 3| - |1 - 2|
    x, y = torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [2.0]])
    assert energy_distance(x, y).item() == pytest.approx(3 - 3 - 1)


def test_discrepancy_by_hand() -> None:
    # k(3) + k(1) - 2 * (k(1) + k(2) + k(2) + k(1)) / 4 with k(r) = exp(-r^2/2h^2)
    x, y = torch.tensor([[0.0], [3.0]], dtype=DOUBLE), torch.tensor([[1.0], [2.0]], dtype=DOUBLE)
    value = maximum_mean_discrepancy(x, y, bandwidths=2.0).item()
    assert value == pytest.approx(math.exp(-9 / 8) - math.exp(-4 / 8), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(50, 50), (40, 90)])
def test_energy_on_the_line_is_scipys_squared_and_freed_of_its_bias(n: int, m: int) -> None:
    x, y = normal(n, 1), 1 + 2 * normal(m, 1, seed=1)
    biased = stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy()) ** 2  # its root counts pairs of equal points
    for sample in (x, y):
        size = len(sample)
        ranks = 2 * np.arange(1, size + 1) - size - 1  # the mean difference of sorted numbers
        mean_difference = 2 * (ranks * np.sort(sample[:, 0].numpy())).sum() / size**2
        biased += mean_difference - mean_difference * size / (size - 1)
    assert energy_distance(x, y).item() == pytest.approx(biased, rel=1e-10)


def test_energy_of_normal_laws() -> None:
    # E|N(m, s^2)| = s sqrt(2/pi) exp(-m^2/2s^2) + m erf(m / s sqrt 2), with s^2 = 2 for a difference of two
    folded = 2 / math.sqrt(math.pi) * math.exp(-1 / 4) + math.erf(1 / 2)
    value = energy_distance(normal(4000, 1), 1 + normal(4000, 1, seed=1)).item()
    assert value == pytest.approx(2 * folded - 4 / math.sqrt(math.pi), abs=0.06)  # deviation over seeds 0.015


@pytest.mark.parametrize("d", [1, 3])
def test_discrepancy_of_normal_laws(d: int) -> None:
    # E k(X, Y) = (h^2 / (h^2 + 2))^{d/2} exp(-|m|^2 / 2(h^2 + 2)) for unit covariances and means m apart
    h = 1.5
    factor = (h**2 / (h**2 + 2)) ** (d / 2)
    expected = 2 * factor * (1 - math.exp(-d / (2 * (h**2 + 2))))
    value = maximum_mean_discrepancy(normal(4000, d), 1 + normal(4000, d, seed=1), bandwidths=h).item()
    assert value == pytest.approx(expected, abs=0.015)  # deviation over seeds below 0.004


def test_several_bandwidths_are_averaged() -> None:
    x, y = normal(20, 2), 1 + normal(30, 2, seed=1)
    each = [maximum_mean_discrepancy(x, y, bandwidths=width) for width in (0.5, 2.0)]
    assert_close(maximum_mean_discrepancy(x, y, bandwidths=(0.5, 2.0)), (each[0] + each[1]) / 2)


def test_the_bandwidth_is_the_median_distance_if_not_given() -> None:
    x, y = normal(25, 2), 3 + normal(20, 2, seed=1)
    every = np.concatenate([x.numpy(), y.numpy()])
    apart = [float(np.linalg.norm(a - b)) for i, a in enumerate(every) for b in every[:i]]
    assert len(apart) % 2 == 0
    lower_median = sorted(apart)[len(apart) // 2 - 1]
    assert_close(maximum_mean_discrepancy(x, y), maximum_mean_discrepancy(x, y, bandwidths=lower_median))


@BOTH
def test_samples_of_one_law_are_at_zero_in_the_mean(distance: Any) -> None:
    values = torch.stack([distance(normal(8, 2, seed=2 * k), normal(5, 2, seed=2 * k + 1)) for k in range(400)])
    assert values.mean().abs() < 5 * values.std() / math.sqrt(400)
    assert (values < 0).any()


@BOTH
def test_blocks_of_rows_change_nothing(distance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(23, 2), 1 + normal(17, 2, seed=1)
    value = distance(x, y)
    monkeypatch.setattr(_points, "BLOCK", 50)
    assert_close(distance(x, y), value)


@BOTH
def test_products_give_the_distances_of_differences(distance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = 1e4 + normal(30, 3), 1e4 + 1 + normal(40, 3, seed=1)
    value = distance(x, y)
    monkeypatch.setattr(_points, "_DIRECT", 1)
    assert_close(distance(x, y), value)


@BOTH
def test_both_are_differentiable(distance: Any) -> None:
    x, y = normal(4, 2).requires_grad_(), normal(3, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(distance, (x, y))
    equal = torch.zeros(3, 2, dtype=DOUBLE, requires_grad=True)
    (slope,) = torch.autograd.grad(distance(equal, y.detach()), equal)
    assert slope.isfinite().all()


@BOTH
def test_images_in_float32_are_points_in_float64(distance: Any) -> None:
    x, y = normal(6, 1, 4, 4, dtype=torch.float32), normal(9, 1, 4, 4, seed=1, dtype=torch.float32)
    value = distance(x, y)
    assert value.dtype == DOUBLE
    assert_close(value, distance(x.flatten(1).double(), y.flatten(1).double()), rtol=0, atol=0)


@BOTH
def test_one_sample_has_no_pair(distance: Any) -> None:
    with pytest.raises(ValueError, match="`y` must have at least 2 samples, got 1"):
        distance(torch.zeros(2, 1), torch.zeros(1, 1))


@pytest.mark.parametrize("bandwidths", [0.0, -1.0, (1.0, 0.0), ()])
def test_bandwidths_must_be_positive(bandwidths: Any) -> None:
    with pytest.raises(ValueError, match="`bandwidths` must be positive"):
        maximum_mean_discrepancy(torch.zeros(2, 1), torch.ones(2, 1), bandwidths=bandwidths)


def test_samples_that_agree_have_no_median() -> None:
    with pytest.raises(ValueError, match="`bandwidths` must be given"):
        maximum_mean_discrepancy(torch.zeros(4, 1), torch.zeros(4, 1))

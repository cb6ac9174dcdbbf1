"""Seeded noise: a function of the seed and the number of the sample."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest
from torch.testing import assert_close

from flowops.sampling import noise


def test_a_row_depends_on_the_seed_and_its_number_alone() -> None:
    whole = noise(10, (3, 4), seed=7)
    assert_close(noise(4, (3, 4), seed=7, start=3), whole[3:7], rtol=0, atol=0)
    assert_close(torch.cat([noise(1, (3, 4), seed=7, start=i) for i in range(10)]), whole, rtol=0, atol=0)
    assert_close(noise(2, (12,), seed=7), whole[:2].reshape(2, 12), rtol=0, atol=0)


def test_dtypes_hold_the_same_picture() -> None:
    exact = noise(5, (6,), seed=1, dtype=torch.float64)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        drawn = noise(5, (6,), seed=1, dtype=dtype)
        assert drawn.dtype == dtype
        assert_close(drawn.double(), exact, rtol=torch.finfo(dtype).eps, atol=torch.finfo(dtype).tiny)


def test_seeds_samples_and_streams_are_independent_standard_normals() -> None:
    n, d = 200, 500
    parts = [noise(n, (d,), seed=seed, stream=stream, dtype=torch.float64) for seed, stream in ((0, 0), (1, 0), (0, 1))]
    for part in parts:
        assert kstest(part.flatten().numpy(), "norm").pvalue > 1e-6
        products = (part[1:] * part[:-1]).mean(1) * d**0.5  # neighbouring samples
        assert products.square().mean() < 1 + 6 * (2 / n) ** 0.5
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs((parts[i] * parts[j]).mean()) < 6 / (n * d) ** 0.5


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    noise(3, (2,), seed=0)
    assert_close(torch.get_rng_state(), state)


def test_values_are_those_of_the_first_release() -> None:
    drawn = noise(1, (3,), seed=2026, start=5, dtype=torch.float64)
    wanted = torch.tensor([[-1.1282485905837947, -0.2655694590215353, -1.235263318654341]], dtype=torch.float64)
    assert_close(drawn, wanted)


def test_empty_and_scalar_events() -> None:
    assert noise(0, (2,), seed=0).shape == (0, 2)
    assert noise(3, (), seed=0).shape == (3,)
    assert noise(1, (1,), seed=2**64 - 1).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": -1, "seed": 0}, "`n` must be a whole number"),
        ({"n": 1, "seed": -1}, "`seed` must be a whole number"),
        ({"n": 1, "seed": 2**64}, "`seed` must be below 2\\^64"),
        ({"n": 1, "seed": 0, "start": -2}, "`start` must be a whole number"),
        ({"n": 2, "seed": 0, "start": 2**64 - 1}, "`start` must leave room"),
        ({"n": 1, "seed": 0, "stream": -2}, "`stream` must be a whole number"),
    ],
)
def test_numbers_outside_64_bits_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise(event=(2,), **options)  # type: ignore[arg-type]

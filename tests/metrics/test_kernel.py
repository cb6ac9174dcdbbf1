"""The kernel distance: torchmetrics, no bias, a standard error that is one, and the errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowops.metrics import KernelDistance, kernel, kernel_distance


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("subsets", [5, 40])
@pytest.mark.parametrize("block", [100, 1 << 22])
def test_values_are_torchmetrics_for_the_same_subsets(
    subsets: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few subsets are taken one by one, of many the kernel of all pairs is shared, in blocks of rows."""
    poly_mmd = pytest.importorskip("torchmetrics.image.kid").poly_mmd
    monkeypatch.setattr(kernel, "BLOCK", block)
    real, fake = normal(60, 16), 0.5 + normal(50, 16, seed=1)
    found = kernel_distance(real, fake, subsets=subsets, size=20, generator=torch.Generator().manual_seed(3))
    source, values = torch.Generator().manual_seed(3), []
    for _ in range(subsets):
        x, y = (rows[torch.randperm(len(rows), generator=source)[:20]] for rows in (real, fake))
        values.append(poly_mmd(x, y))
    expected = torch.stack(values)
    assert found.mean == pytest.approx(expected.mean().item())
    assert found.deviation == pytest.approx(expected.std().item())


def test_a_kernel_of_many_subsets_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 100 subsets of half of the rows each, all pairs are fewer than those of the subsets."""
    computed = []

    def counted(x: Tensor, y: Tensor) -> Tensor:
        computed.append(len(x) * len(y))
        return plain(x, y)

    plain = kernel._cubic
    monkeypatch.setattr(kernel, "_cubic", counted)
    kernel_distance(normal(60, 4), normal(60, 4, seed=1), subsets=100, size=30)
    assert sum(computed) == 3 * 60**2


def repeated(shift: float, n: int, size: int, times: int, subsets: int = 40) -> list[KernelDistance]:
    pairs = ((normal(n, 6, seed=2 * k), shift + normal(n, 6, seed=2 * k + 1)) for k in range(times))
    return [kernel_distance(*pair, subsets=subsets, size=size) for pair in pairs]


def test_equal_laws_are_at_zero_in_the_mean_and_others_above() -> None:
    means = torch.tensor([found.mean for found in repeated(0.0, 80, 20, 60)])
    assert means.mean().abs() < 5 * means.std() / 60**0.5
    assert repeated(0.5, 80, 20, 1)[0].mean > 10 * means.std()


@pytest.mark.parametrize(("n", "size", "subsets"), [(100, 50, 40), (200, 10, 8)])
def test_the_standard_error_is_the_deviation_over_images_drawn_anew(n: int, size: int, subsets: int) -> None:
    """Subsets of half of the rows agree with each other; of few and small ones the number counts."""
    found = repeated(0.7, n, size, 150, subsets)
    spread = torch.tensor([each.mean for each in found]).std().item()
    errors = torch.tensor([each.standard_error for each in found]).square().mean().sqrt().item()
    assert errors == pytest.approx(spread, rel=0.2)  # 150 values tell their deviation to 6 percent


def test_the_subsets_are_the_same_unless_drawn() -> None:
    real, fake = normal(40, 4), normal(40, 4, seed=1)
    first = kernel_distance(real, fake, subsets=3, size=10)
    assert first == kernel_distance(real, fake, subsets=3, size=10)
    assert first != kernel_distance(real, fake, subsets=3, size=10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 40}, "`size` must be at least 2 and below the 40 rows"),
        ({"size": 1}, "`size` must be a whole number of at least 2, got 1"),
        ({"size": 10, "subsets": 1}, "`subsets` must be a whole number of at least 2, got 1"),
        ({"fake": torch.zeros(40, 5)}, "event of `x`"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"real": normal(50, 4), "fake": normal(40, 4)} | arguments
    with pytest.raises(ValueError, match=message):
        kernel_distance(given.pop("real"), given.pop("fake"), **given)

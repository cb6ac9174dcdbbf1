"""Precision and recall: by hand, scikit-learn's neighbours, blocks of rows, and the errors."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from flowops.metrics import Neighbourhood, PrecisionRecall, _points, precision_recall


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covered(points: Tensor, by: Tensor, k: int) -> float:
    """The share of the points in a ball around one of `by` that reaches to its k-th neighbour."""
    radii = NearestNeighbors(n_neighbors=k + 1).fit(by.numpy()).kneighbors(by.numpy())[0][:, k]
    apart = (points[:, None] - by[None]).norm(dim=2).numpy()
    return float((apart <= radii).any(1).mean())


def test_two_pairs_by_hand() -> None:
    # real balls [-1, 1], [0, 2] and [9, 11], [10, 12]: 20 lies in none; fake ones [1, 2], [1.5, 2.5], [2, 38]
    real = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    fake = torch.tensor([[1.5], [2.0], [20.0]])
    assert precision_recall(real, fake, k=1) == PrecisionRecall(2 / 3, 3 / 4)
    assert precision_recall(real, fake[:2], k=1) == PrecisionRecall(1.0, 1 / 4)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("d", [2, 40])
def test_shares_are_those_of_scikit_learns_neighbours(k: int, d: int) -> None:
    real, fake = normal(60, d), 0.4 + 0.8 * normal(45, d, seed=1)
    found = precision_recall(real, fake, k=k)
    assert found == PrecisionRecall(covered(fake, real, k), covered(real, fake, k))
    assert 0 < found.recall < 1


def test_one_mode_is_precise_without_recall() -> None:
    modes = torch.tensor([[0.0, 0.0], [100.0, 0.0]]).repeat(50, 1)
    found = precision_recall(modes + normal(100, 2), 0.3 * normal(100, 2, seed=1))
    assert found.precision > 0.95
    assert found.recall < 0.5


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = normal(60, 3), 0.5 + normal(45, 3, seed=1)
    found = precision_recall(real, fake)
    monkeypatch.setattr(_points, "BLOCK", 100)
    assert precision_recall(real, fake) == found


def test_a_neighbourhood_serves_several_sets_of_fakes() -> None:
    real, near = normal(60, 3), Neighbourhood(normal(60, 3), k=2)
    for seed in (1, 2):
        fake = 0.5 + normal(45, 3, seed=seed)
        assert near.precision_recall(fake) == precision_recall(real, fake, k=2)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="`k` must be a whole number of at least 1, got 0"):
        precision_recall(normal(9, 2), normal(9, 2), k=0)
    with pytest.raises(ValueError, match="`y` must have at least 4 samples, got 3"):
        precision_recall(normal(9, 2), normal(3, 2))
    for ask in (precision_recall, lambda real, _: Neighbourhood(real)):
        with pytest.raises(ValueError, match="`x` must have at least 4 samples, got 3; draw more"):
            ask(normal(3, 2), normal(9, 2))

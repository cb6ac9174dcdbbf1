"""The digits: the values of scikit-learn, exactly rounded, split for good."""

from __future__ import annotations

from fractions import Fraction

import torch
from sklearn.datasets import load_digits

from flowops.data import open_dataset, to_uint8
from flowops.data.digits import digits


def test_the_grey_levels_are_exactly_rounded() -> None:
    images = digits()
    found = load_digits()
    expected = [int(Fraction(int(v) * 255, 16) + Fraction(1, 2)) for v in range(17)]
    train = [row for row in range(1797) if row % 6 != 5]
    levels = torch.tensor(found.images[train]).long()
    assert torch.equal(images.pixels()[:, 0].long(), torch.tensor(expected)[levels])


def test_the_splits_are_fixed_and_disjoint_and_hold_all_classes() -> None:
    images = digits()
    labels = torch.tensor(load_digits().target)
    test = images.splits["test"].labels
    train = images.splits["train"].labels
    assert train is not None
    assert test is not None
    assert (len(train), len(test), len(images)) == (1498, 299, 1498)
    assert torch.equal(test, labels[5::6])
    assert torch.equal(train.bincount() + test.bincount(), labels.bincount())
    assert test.bincount().min() >= 25


def test_they_are_opened_by_name_and_never_mirrored() -> None:
    images = open_dataset("digits")
    assert images.event == torch.Size([1, 8, 8])
    assert images.classes == tuple("0123456789")
    assert "sha256 " in images.provenance
    batch = images.batch(0, 1498, seed=0)
    reference = images.reference(1498)
    assert batch.labels is not None
    assert reference.labels is not None
    assert torch.equal(_sorted(batch.x1), _sorted(reference.x1))


def _sorted(x: torch.Tensor) -> torch.Tensor:
    rows = to_uint8(x).flatten(1).long()
    return rows[torch.tensor(sorted(range(len(rows)), key=lambda k: rows[k].tolist()))]

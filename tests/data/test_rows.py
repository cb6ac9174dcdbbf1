"""The order of a finite set: every sample once per epoch, whatever the batch size; a pure function of the step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowops.data.rows import permutation, rows


@pytest.mark.parametrize("n", [1, 3, 7, 10, 16, 25])
def test_every_epoch_holds_every_sample_once(n: int) -> None:
    size, count = 10, 12
    order = torch.cat([rows(size, step, n, seed=4) for step in range(-(-size * count // n))])[: size * count]
    for epoch in order.reshape(count, size):
        assert epoch.sort().values.tolist() == list(range(size))


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    whole = rows(10, 0, 60, seed=1)
    for n in (1, 4, 15):
        assert torch.equal(torch.cat([rows(10, step, n, seed=1) for step in range(60 // n)]), whole)


def test_a_step_is_a_pure_function_of_its_number() -> None:
    forward = [rows(9, step, 4, seed=2) for step in range(40)]
    permutation.cache_clear()
    backward = [rows(9, step, 4, seed=2) for step in reversed(range(40))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))


def test_epochs_and_seeds_differ() -> None:
    first, second = rows(50, 0, 100, seed=0).reshape(2, 50)
    assert not torch.equal(first, second)
    assert not torch.equal(first, rows(50, 0, 50, seed=1))


def test_a_permutation_is_computed_once_per_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    permutation.cache_clear()
    randperm, drawn = torch.randperm, []

    def counted(size: int, *, generator: torch.Generator) -> Tensor:
        drawn.append(size)
        return randperm(size, generator=generator)

    monkeypatch.setattr(torch, "randperm", counted)
    for step in range(30):
        rows(100, step, 10, seed=0)
    assert drawn == [100, 100, 100]


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_a_part_is_every_nth_row_of_the_step(count: int) -> None:
    whole = rows(9, 3, 20, seed=1)
    for k in range(count):
        assert torch.equal(rows(9, 3, 20, 1, (k, count)), whole[k::count])
    with pytest.raises(ValueError, match="The number of parts must divide the batch of 20 samples, got 3"):
        rows(9, 3, 20, 1, (0, 3))


@pytest.mark.parametrize(
    ("step", "n", "sentence"),
    [(-1, 1, "`step` must be a whole number of at least 0"), (0, 0, "`n` must be a whole number of at least 1")],
)
def test_steps_and_sizes_that_are_none_are_refused(step: int, n: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        rows(10, step, n, seed=0)

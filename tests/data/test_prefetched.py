"""Batches ahead of time: the same as those asked for one by one; errors arrive, threads end, waiting is measured."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Callable
from typing import Self

import pytest
import torch

from flowops.data import Batch, Dataset, Prefetched, open_dataset
from flowops.data.prefetched import Ahead


class Counted(Dataset):
    """Each batch holds its step; the one of step `fails` cannot be made, and each takes `seconds`."""

    def __init__(self, fails: int | None = None, seconds: float = 0.0) -> None:
        self.name, self.event, self.provenance = "counted", torch.Size([]), "counted: for tests"
        self.fails, self.seconds, self.made = fails, seconds, 0

    def batch(self, step: int, n: int, *, seed: int) -> Batch:
        time.sleep(self.seconds)
        if step == self.fails:
            raise ValueError(f"no batch for step {step}")
        self.made += 1
        return Batch(None, torch.full((n,), float(step)), None)

    def reference(self, n: int, *, split: str = "train", seed: int = 0) -> Batch:
        return self.batch(0, n, seed=seed)

    def to(self, device: torch.device | str) -> Self:
        return self


def threads() -> int:
    return sum(thread.name == "flowops-prefetch" for thread in threading.enumerate())


@pytest.mark.parametrize("name", ["digits", "moons"])
def test_they_are_the_batches_asked_for_directly(name: str) -> None:
    dataset = open_dataset(name)
    with Prefetched(dataset, 70, 3, 20) as batches:
        for step, batch in zip(range(20, 80), batches, strict=False):
            expected = dataset.batch(step, 70, seed=3)
            assert torch.equal(batch.x1, expected.x1)
            assert batch.labels is not None
            assert expected.labels is not None
            assert torch.equal(batch.labels, expected.labels)
    assert threads() == 0


def test_the_share_of_a_process_is_prefetched_alone() -> None:
    dataset = open_dataset("digits")
    with Prefetched(dataset, 60, 3, 20, part=(2, 4)) as batches:
        for step, batch in zip(range(20, 25), batches, strict=False):
            assert torch.equal(batch.x1, dataset.batch(step, 60, seed=3).x1[2::4])
    with Prefetched(dataset, 60, 3, part=(0, 7)) as wrong, pytest.raises(ValueError, match="must divide the batch"):
        next(wrong)


def test_anything_may_be_prepared_ahead_of_time() -> None:
    main, where = threading.get_ident(), []

    def prepare(step: int) -> Callable[[], tuple[int, int]]:
        where.append(threading.get_ident())
        return lambda: (step, threading.get_ident())

    with Ahead(prepare, 5) as steps:
        assert list(itertools.islice(steps, 3)) == [(5, main), (6, main), (7, main)]
    assert main not in where


def test_an_error_is_raised_where_its_batch_is_asked_for() -> None:
    batches = Prefetched(Counted(fails=3), 2, 0)
    assert [next(batches).x1[0].item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no batch for step 3"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)
    assert threads() == 0


def test_no_more_batches_are_made_than_asked_for() -> None:
    dataset = Counted()
    with Prefetched(dataset, 2, 0, ahead=3) as batches:
        next(batches)
        time.sleep(0.1)
        assert dataset.made <= 1 + 3 + 1  # taken, ready, and one that waits for a free place


def test_it_can_be_closed_at_any_moment_and_twice() -> None:
    for taken in range(3):
        batches = Prefetched(Counted(seconds=0.002), 2, 0)
        list(itertools.islice(batches, taken))
        batches.close()
        batches.close()
        assert threads() == 0
        assert list(batches) == []


def test_a_dropped_iterator_ends_its_thread() -> None:
    batches = Prefetched(Counted(), 2, 0)
    next(batches)
    del batches
    gc.collect()
    assert threads() == 0


def test_waiting_is_measured() -> None:
    with Prefetched(Counted(seconds=0.05), 2, 0) as slow:
        for _ in range(4):
            next(slow)
        assert slow.waited > 0.1
    with Prefetched(Counted(seconds=0.01), 2, 0) as quick:
        next(quick)
        before = quick.waited
        for _ in range(4):
            time.sleep(0.05)
            next(quick)
        assert quick.waited - before < 0.1  # loading overlapped with the consumer's work


@pytest.mark.parametrize(
    ("n", "start", "ahead", "sentence"),
    [
        (0, 0, 1, "`n` must be a whole number"),
        (1, -1, 1, "`step` must be"),
        (1, 0, 0, "`ahead` must be a whole number"),
    ],
)
def test_wrong_arguments_are_refused(n: int, start: int, ahead: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Prefetched(Counted(), n, 0, start, ahead=ahead)
    assert threads() == 0

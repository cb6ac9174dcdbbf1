"""Items that may be random, read as functions of a key: here, or by processes that read ahead."""

from __future__ import annotations

import multiprocessing
import random
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from flowops.data.items import Items, Label

Read: TypeAlias = tuple[Tensor, Tensor | None]
"""Samples `[n, *event]`, and labels `[n]` int64 or conditions `[n, *shape]` float32."""
_Arrays: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any] | None]


def read(items: Items, rows: Sequence[int], keys: Sequence[int] | None) -> Read:
    """The items of some rows; with a key for each, the global generators start from it and are put back at the end."""
    if keys is None:
        found = [items(row) for row in rows]
    else:
        with _put_back():
            found = [_seeded(items, row, key) for row, key in zip(rows, keys, strict=True)]
    labels = [torch.as_tensor(label) for _, label in found if label is not None]
    return torch.stack([x for x, _ in found]), torch.stack(labels) if labels else None


def _seeded(items: Items, row: int, key: int) -> tuple[Tensor, Label]:
    torch.default_generator.manual_seed(key)  # not torch.manual_seed, which seeds the devices too
    random.seed(key)
    np.random.seed([key & 0xFFFFFFFF, key >> 32])
    return items(row)


@contextmanager
def _put_back() -> Iterator[None]:
    """The global generators of the processor are as they were when the block ends."""
    torch_state, python_state, numpy_state = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)


class Workers:
    """Processes that read items, started at the first rows and ended with the object.

    They are forked where the system can, as those of torch's `DataLoader` are, and get the items by pickle elsewhere.

    Args:
        items: what they read.
        count: how many processes.
    """

    def __init__(self, items: Items, count: int) -> None:
        self.items, self.count = items, count
        self._pool: ProcessPoolExecutor | None = None

    def read(self, rows: Sequence[int], keys: Sequence[int] | None) -> Read:
        """As the function `read`, by all processes."""
        if self._pool is None:
            kind = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
            context = multiprocessing.get_context(kind)
            self._pool = ProcessPoolExecutor(self.count, context, initializer=_begin, initargs=(self.items,))
            weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        share = -(-len(rows) // self.count)
        running: list[Future[_Arrays]] = [
            self._pool.submit(_read_there, rows[k : k + share], None if keys is None else keys[k : k + share])
            for k in range(0, len(rows), share)
        ]
        parts = [future.result() for future in running]
        labels = [torch.from_numpy(found) for _, found in parts if found is not None]
        return torch.cat([torch.from_numpy(x) for x, _ in parts]), torch.cat(labels) if labels else None


_THERE: list[Items] = []  # of a worker


def _begin(items: Items) -> None:
    torch.set_num_threads(1)
    _THERE[:] = [items]


def _read_there(rows: Sequence[int], keys: Sequence[int] | None) -> _Arrays:
    """Arrays, which travel by pickle: tensors would hold a file open each."""
    x, labels = read(_THERE[0], rows, keys)
    return x.numpy(), None if labels is None else labels.numpy()

"""Steps ahead of time: the host's work for the next one is done by one thread while the device does this one."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

from flowops._arguments import whole
from flowops.data.batch import Batch
from flowops.data.dataset import Dataset
from flowops.data.rows import check_draw

_Queue: TypeAlias = queue.Queue[Callable[[], Any] | BaseException]
T = TypeVar("T", covariant=True)
THREAD = "flowops-prefetch"
"""Name of the thread that prepares."""


class Ahead(Iterator[T], Generic[T]):
    """What `prepare` makes for the steps `start_step`, `start_step + 1`, ..., prepared ahead of time.

    `prepare(step)` runs in a thread; what it returns is called by the consumer, which so launches work on its own
    stream. An exception of the thread is raised where its step is asked for. The thread ends with `close`, with the end
    of a `with` block, and when the iterator is dropped or the program ends.

    Attributes:
        waited: seconds that the consumer has waited so far.

    Args:
        prepare: makes a step, in two parts.
        start_step: the first step.
        ahead: steps held ready at most.
    """

    def __init__(self, prepare: Callable[[int], Callable[[], T]], start_step: int = 0, *, ahead: int = 2) -> None:
        whole(start_step, "step", 0)
        whole(ahead, "ahead", 1)
        self.waited = 0.0
        self._ready: _Queue = queue.Queue(ahead)
        self._closed = threading.Event()
        arguments = (prepare, start_step, self._ready, self._closed)
        thread = threading.Thread(target=_prepare, args=arguments, name=THREAD, daemon=True)
        self._end = weakref.finalize(self, _end, thread, self._ready, self._closed)
        thread.start()

    def __next__(self) -> T:
        if self._closed.is_set():
            raise StopIteration
        start = time.perf_counter()
        ready = self._ready.get()
        self.waited += time.perf_counter() - start
        if isinstance(ready, BaseException):
            self.close()
            raise ready
        made: T = ready()
        return made

    def close(self) -> None:
        """End the thread and let go of what it holds ready; the iterator is at its end."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Prefetched(Ahead[Batch]):
    r"""The batches of the steps `start_step`, `start_step + 1`, ...: those of `dataset.batch`, made ahead of time.

    The thread does what `Dataset.prepared` calls the host's work.

    Args:
        dataset: where the batches come from; not to be used by other threads that change it.
        n: samples per batch.
        seed: as in `Dataset.batch`.
        start_step: the first step.
        part: $(k,W)$ for the rows $k,k+W,\dots$ of each batch, the share of one of $W$ processes.
        ahead: batches held ready at most.
    """

    def __init__(
        self,
        dataset: Dataset,
        n: int,
        seed: int,
        start_step: int = 0,
        *,
        part: tuple[int, int] = (0, 1),
        ahead: int = 2,
    ) -> None:
        check_draw(start_step, n)
        super().__init__(lambda step: dataset.prepared(step, n, seed=seed, part=part), start_step, ahead=ahead)


def _prepare(prepare: Callable[[int], Callable[[], Any]], step: int, ready: _Queue, closed: threading.Event) -> None:
    """The thread: it holds no reference to the iterator."""
    while not closed.is_set():
        try:
            ready.put(prepare(step))
        except BaseException as error:
            ready.put(error)  # it belongs to the consumer
            return
        step += 1


def _end(thread: threading.Thread, ready: _Queue, closed: threading.Event) -> None:
    closed.set()
    while thread.is_alive():  # it may be waiting for a free place
        _drain(ready)
        if thread is threading.current_thread():  # dropped by a garbage collection that ran there
            return
        thread.join(0.01)
    _drain(ready)


def _drain(ready: _Queue) -> None:
    try:
        while True:
            ready.get_nowait()
    except queue.Empty:
        return

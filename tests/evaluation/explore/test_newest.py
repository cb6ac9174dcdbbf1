"""Of what waits only the newest is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial

from flowops.evaluation.explore.newest import Newest

SECONDS = 20


def test_what_waits_is_replaced_by_what_is_newer() -> None:
    posted: queue.Queue[Callable[[], None]] = queue.Queue()
    begun, go = threading.Event(), threading.Event()
    done: list[int] = []
    shown: list[int] = []
    newest = Newest(posted.put)

    def first() -> int:
        begun.set()
        assert go.wait(SECONDS)
        return work(0)

    def work(k: int) -> int:
        done.append(k)
        return k

    newest.ask("scene", first, shown.append)
    assert begun.wait(SECONDS)
    for k in range(1, 50):  # a slider that is dragged
        newest.ask("scene", partial(work, k), shown.append)
    newest.ask("residuals", lambda: work(-1), shown.append)
    go.set()
    for _ in range(3):
        posted.get(timeout=SECONDS)()
    newest.close()
    assert done == shown == [0, 49, -1]


def test_after_the_end_nothing_is_shown() -> None:
    posted: queue.Queue[Callable[[], None]] = queue.Queue()
    begun, go, over = threading.Event(), threading.Event(), threading.Event()
    newest = Newest(posted.put)

    def slow() -> None:
        begun.set()
        assert go.wait(SECONDS)
        over.set()

    newest.ask("scene", slow, lambda _: None)
    assert begun.wait(SECONDS)
    newest.close()
    go.set()
    assert over.wait(SECONDS)
    newest.ask("scene", lambda: None, lambda _: None)
    assert posted.empty()


def test_without_a_thread_all_is_done_where_it_is_asked_for() -> None:
    shown: list[int] = []
    Newest().ask("scene", lambda: 3, shown.append)
    assert shown == [3]

"""Work that is asked for faster than it is done: of what waits only the newest is worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

Job = Callable[[], Any]
Then = Callable[[Any], None]
Posted = Callable[[Callable[[], None]], None]

_ONE = threading.Lock()  # derivatives by forward mode share their levels between threads


class Newest:
    """Does jobs one after another in a thread of its own; a job that waits is replaced by a newer one of its name.

    A slider that is dragged asks for far more scenes than are computed; between two that are shown the others are never
    begun. Jobs of several names are done in the order in which they were first asked for.

    Args:
        post: hands a function to the thread in which results are shown; None does every job at once, where it is asked
            for.
        busy: is told before work begins and after it ends, in that thread.
    """

    def __init__(self, post: Posted | None = None, busy: Callable[[bool], None] | None = None) -> None:
        self._post, self._busy = post, busy
        self._waiting: dict[str, tuple[Job, Then]] = {}
        self._changed = threading.Condition()
        self._closed = False
        if post is not None:
            threading.Thread(target=self._work, name="flowops explore", daemon=True).start()

    def ask(self, name: str, job: Job, then: Then) -> None:
        """Do `job`, and hand its result to `then`, unless a newer one of that name comes before it is begun."""
        if self._post is None:
            then(job())
            return
        with self._changed:
            self._waiting[name] = (job, then)
            self._changed.notify()

    def close(self) -> None:
        """Nothing more is begun or shown."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()

    def _work(self) -> None:
        assert self._post is not None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job, then = self._waiting.pop(next(iter(self._waiting)))
                last = not self._waiting
            self._tell(True)
            with _ONE:
                found = job()
            self._show(partial(then, found))
            if last:
                self._tell(False)

    def _tell(self, works: bool) -> None:
        if self._busy is not None:
            busy = self._busy
            self._show(lambda: busy(works))

    def _show(self, function: Callable[[], None]) -> None:
        if not self._closed:
            assert self._post is not None
            self._post(function)

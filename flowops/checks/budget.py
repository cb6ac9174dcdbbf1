"""A limit to the time that a check may take: what is not decided by then stays so."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook


class OutOfTime(Exception):
    """A check that has used up its time."""


class Budget:
    """Seconds for a number of parts; each may take twice its share of what is left, the last one all of it.

    Args:
        seconds: of processor time, for all parts together; other programs on the machine change no verdict.
        parts: how many there are.
    """

    def __init__(self, seconds: float, parts: int) -> None:
        self.end, self.parts = time.thread_time() + seconds, parts

    @contextmanager
    def part(self) -> Iterator[float]:
        """The time of the next part.

        The clock is looked at whenever a module is called, also inside a solve: an adaptive solve of a stiff or slow
        field ends there. A single call of a user's function is not interrupted.

        Raises:
            OutOfTime: once the time is over.
        """
        share = 2 / (self.parts + 1) if self.parts > 1 else 1.0
        self.parts = max(1, self.parts - 1)
        start = time.thread_time()
        seconds = max(0.0, (self.end - start) * share)
        thread = threading.get_ident()

        def look(_: nn.Module, __: Any) -> None:
            if threading.get_ident() == thread and time.thread_time() > start + seconds:
                raise OutOfTime(f"it takes more than the {seconds:.1f} s that are left for it")

        hook = register_module_forward_pre_hook(look)
        try:
            yield seconds
        finally:
            hook.remove()

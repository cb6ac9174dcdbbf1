"""Medians of interleaved timings, so that a slow moment of the machine meets every variant alike."""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)


class Seconds(NamedTuple):
    """Of the cores, which do not count what was waited for one, and of the wall clock."""

    processor: float
    wall: float


def medians(
    variants: Mapping[Key, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[Key, Seconds]:
    """Median seconds of each variant over `rounds` interleaved rounds; `clock` is that of the cores."""
    seconds: dict[Key, list[Seconds]] = {key: [] for key in variants}
    for _ in range(rounds):
        for key, run in variants.items():
            start, begun = clock(), time.perf_counter()
            run()
            seconds[key].append(Seconds(clock() - start, time.perf_counter() - begun))
    return {key: Seconds(*map(statistics.median, zip(*each, strict=True))) for key, each in seconds.items()}


def children() -> float:
    """Processor seconds of all finished child processes: the clock of variants that start one."""
    spent = os.times()
    return spent.children_user + spent.children_system


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of seconds over sizes in logarithms, by least squares."""
    x, y = ([math.log(value) for value in values] for values in (sizes, seconds))
    return statistics.linear_regression(x, y).slope


def pin(cores: int) -> None:
    """Keep this process, and what it starts, on so many cores with as many threads; call it before JAX is loaded."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    torch.set_num_threads(cores)


def environment(cores: int) -> dict[str, str]:
    """The variables of a child process of so many threads, none of which spins while others work."""
    return {**os.environ, "OMP_NUM_THREADS": str(cores), "GOMP_SPINCOUNT": "0", "PJRT_NPROC": str(cores)}

"""Runs of several models in turns, so that a machine that speeds up or slows down does so for all of them alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latency_tables.on_device.timing import process_clock

WARM_UP = 3
RUNS_PER_ROUND = 4
LEAST_ROUNDS = 10
WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Milliseconds per run: median, p90, p99, of `runs`; first_ms, last_ms: medians of the first and the last minute, or
    quarter of a shorter time."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    runs: int
    first_ms: float
    last_ms: float

    @classmethod
    def of(cls, found: npt.NDArray[np.float64]) -> Timing:
        """found (runs, 2): when each run began (s), what it took (ms)."""
        began, took = found.T
        window = min(WINDOW_SECONDS, (began[-1] - began[0]) / 4)
        first, last = took[began <= began[0] + window], took[began >= began[-1] - window]
        median, p90, p99 = (float(value) for value in np.quantile(took, [0.5, 0.9, 0.99]))
        return cls(
            median_ms=median, p90_ms=p90, p99_ms=p99, runs=len(took),
            first_ms=float(np.median(first)), last_ms=float(np.median(last)),
        )  # fmt: skip


def interleaved(
    runs: Sequence[Callable[[], object]],
    *,
    threads: int,
    seconds: float,
    advance: Callable[[float], Any] = lambda _: None,
) -> list[Timing]:
    """Time every run for about `seconds` in all, at least 40 times each, in turns of four after one that is not counted.

    On one thread the process's own time counts, so that other processes on the core are not in it. advance: told of
    seconds gone.
    """
    clock = process_clock(threads)
    for run in runs:
        for _ in range(WARM_UP):
            run()
    found: list[list[tuple[float, float]]] = [[] for _ in runs]
    start = seen = time.monotonic()
    rounds = 0
    while rounds < LEAST_ROUNDS or time.monotonic() < start + seconds:
        for own, run in zip(found, runs):
            run()  # on caches that another model has filled
            for _ in range(RUNS_PER_ROUND):
                began, before = time.monotonic(), clock()
                run()
                own.append((began, 1000 * (clock() - before)))
        rounds += 1
        advance(time.monotonic() - seen)
        seen = time.monotonic()
    return [Timing.of(np.array(own)) for own in found]


def images_per_second(runs: Sequence[Callable[[], object]], images: int, seconds: float) -> float:
    """Images a second of one model loaded several times, each in a thread of its own, all at once for `seconds`."""
    done = [0] * len(runs)
    stop = threading.Event()

    def work(place: int) -> None:
        while not stop.is_set():
            runs[place]()
            done[place] += images

    for run in runs:
        run()
    workers = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(len(runs))]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    stop.wait(seconds)
    stop.set()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - start)

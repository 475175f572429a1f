"""Times of the parts of a program, on a CPU or a GPU."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch


class Clock:
    """Milliseconds per part, over all times it was entered. On a GPU its work is waited for at both ends."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self.times[name].append(1e3 * (time.perf_counter() - start))

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed as a part of its own."""

        def run(*arguments: Any, **options: Any) -> Any:
            with self.part(name):
                return function(*arguments, **options)

        return run

    @contextmanager
    def listening(self, *places: tuple[Any, str, str]) -> Iterator[None]:
        """Time functions where they are used: (module or object, attribute, name of the part), within the block."""
        if not places:
            yield
            return
        (owner, attribute, name), *others = places
        with mock.patch.object(owner, attribute, self.timed(name, getattr(owner, attribute))), self.listening(*others):
            yield

    def medians(self) -> dict[str, float]:
        return {name: round(statistics.median(times), 2) for name, times in self.times.items()}

    def sums(self, count: int) -> dict[str, float]:
        """Each part's total divided by `count` (images, say), milliseconds."""
        return {name: round(sum(times) / count, 3) for name, times in self.times.items()}

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

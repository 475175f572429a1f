"""Reading, the model and what is done with its findings, each in a thread of its own.

Decoders, runtimes and encoders leave Python's lock while they work, so the three overlap. Between them are short queues:
the slowest sets the pace, and memory stays that of a few frames.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Generic, TypeVar

from detector.data.image import Pixels
from detector.detections import Detections
from detector.prediction.frames import Frame

T = TypeVar("T")
DEPTH = 4
"""Frames that wait between two threads."""
_WAKE_SECONDS = 0.5  # on some systems Ctrl-C does not end a wait without a limit
_JOIN_SECONDS = 15.0


class Channel(Generic[T]):
    """A short queue that also carries its end, and what went wrong."""

    def __init__(self, depth: int) -> None:
        self._items: deque[T] = deque()
        self._depth = depth
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self._error: BaseException | None = None

    def put(self, item: T, *, instead: bool = False) -> bool:
        """False when the receiver has stopped: no more is wanted.

        instead: take the place of all that waits, rather than wait for a place.
        """
        with self._changed:
            if instead:
                self._items.clear()
            while len(self._items) >= self._depth and not self._stopped:
                self._changed.wait(_WAKE_SECONDS)
            if not self._stopped:
                self._items.append(item)
                self._changed.notify_all()
            return not self._stopped

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes; an error reaches the receiver after what was sent before it."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """The receiver wants no more."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()

    def take(self, most: int, least: int = 1) -> list[T]:
        """The next items: waits for `least` of them, and gives fewer only at the end; [] when there are no more."""
        with self._changed:
            while len(self._items) < least and not (self._ended or self._stopped):
                self._changed.wait(_WAKE_SECONDS)
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._changed.notify_all()
            if not taken and self._error is not None:
                raise self._error
            return taken


def overlapped(
    frames: Iterator[Frame],
    detect: Callable[[Sequence[Pixels]], Sequence[Detections]],
    *,
    batch: int = 1,
    stopping: threading.Event | None = None,
) -> Generator[tuple[Frame, Detections], None, None]:
    """Every frame with what was found in it, in order, while the next ones are read and looked at in other threads.

    Live frames that come faster than the model works are left out. batch: frames that the model takes at once.
    stopping: set when the caller stops early, before the threads are waited for. Errors of the threads are raised here.
    """
    read: Channel[Frame] = Channel(max(DEPTH, batch))
    done: Channel[tuple[Frame, Detections]] = Channel(max(DEPTH, batch))
    work = (lambda: _forward(frames, read), lambda: _look(read, done, detect, batch))
    threads = [threading.Thread(target=target, daemon=True) for target in work]
    for thread in threads:
        thread.start()
    try:
        while pairs := done.take(1):
            yield from pairs
    finally:
        if stopping is not None:
            stopping.set()
        read.stop()
        done.stop()
        for thread in threads:
            thread.join(_JOIN_SECONDS)


def _forward(frames: Iterator[Frame], read: Channel[Frame]) -> None:
    """The reading thread. The generator is closed here, where it ran."""
    try:
        for frame in frames:
            if not read.put(frame, instead=frame.live):
                break
        getattr(frames, "close", lambda: None)()
        read.end()
    except BaseException as error:
        read.end(error)


def _look(
    read: Channel[Frame],
    done: Channel[tuple[Frame, Detections]],
    detect: Callable[[Sequence[Pixels]], Sequence[Detections]],
    batch: int,
) -> None:
    """The model's thread."""
    least = 1
    try:
        while some := read.take(batch, least):
            least = 1 if some[-1].live else batch
            for pair in zip(some, detect([frame.pixels for frame in some])):
                if not done.put(pair):
                    return
        done.end()
    except BaseException as error:
        read.stop()
        done.end(error)

"""Reading, the model and writing at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from detector.data.image import Pixels
from detector.detections import Detections
from detector.prediction.frames import Frame
from detector.prediction.pipeline import DEPTH, Channel, overlapped
from search_spaces.errors import UserError
from tests.detector.prediction.clips import find_blocks, frame, left_edge

PATIENCE = 20.0


def test_order_and_findings() -> None:
    pairs = list(overlapped((frame(i) for i in range(40)), find_blocks))
    assert [one.index for one, _ in pairs] == list(range(40))
    assert [found.boxes_xyxy[0, 0] for _, found in pairs] == [left_edge(i) for i in range(40)]
    assert list(overlapped(iter(()), find_blocks)) == []


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_batches_are_full_up_to_the_last(batch: int) -> None:
    sizes: list[int] = []

    def look(pictures: Sequence[Pixels]) -> list[Detections]:
        sizes.append(len(pictures))
        return find_blocks(pictures)

    assert len(list(overlapped((frame(i) for i in range(20)), look, batch=batch))) == 20
    # the first call takes what is there, so that it can tell what is live
    assert all(size == batch for size in sizes[1:-1])
    assert sum(sizes) == 20


def test_the_three_run_at_once() -> None:
    # each of the three waits for the other two: one after the other they would never get on
    meeting = threading.Barrier(3)

    def read() -> Iterator[Frame]:
        for index in range(6):
            if 2 <= index <= 4:
                meeting.wait(PATIENCE)
            yield frame(index)

    calls = 0

    def look(pictures: Sequence[Pixels]) -> list[Detections]:
        nonlocal calls
        calls += 1
        if 2 <= calls <= 4:
            meeting.wait(PATIENCE)
        return find_blocks(pictures)

    for number, _ in enumerate(overlapped(read(), look)):
        if number < 3:
            meeting.wait(PATIENCE)
    assert calls == 6


def test_queues_are_short() -> None:
    read = 0

    def frames() -> Iterator[Frame]:
        nonlocal read
        for index in range(1000):
            read += 1
            yield frame(index)

    pairs = overlapped(frames(), find_blocks)
    next(pairs)
    pairs.close()
    assert read <= 2 * DEPTH + 4


@pytest.mark.parametrize("where", ["reading", "looking"])
def test_an_error_comes_after_what_was_done_before_it(where: str) -> None:
    def frames() -> Iterator[Frame]:
        for index in range(5):
            yield frame(index)
        if where == "reading":
            raise UserError("gone")
        yield frame(5)

    def look(pictures: Sequence[Pixels]) -> list[Detections]:
        if pictures[0].min() == frame(5).pixels.min():
            raise UserError("gone")
        return find_blocks(pictures)

    seen = []
    with pytest.raises(UserError, match="gone"):
        for one, _ in overlapped(frames(), look):
            seen.append(one.index)
    assert seen == [0, 1, 2, 3, 4]


def test_stopping_early_ends_the_threads_and_the_reader() -> None:
    closed, stopping = threading.Event(), threading.Event()

    def frames() -> Iterator[Frame]:
        try:
            yield frame(0)
            stopping.wait(PATIENCE)
            yield frame(1)
        finally:
            closed.set()

    before = threading.active_count()
    pairs = overlapped(frames(), find_blocks, stopping=stopping)
    next(pairs)
    pairs.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_of_what_is_live_the_newest_is_looked_at() -> None:
    looking, all_read = threading.Event(), threading.Event()

    def frames() -> Iterator[Frame]:
        yield frame(0, live=True)
        looking.wait(PATIENCE)
        for index in range(1, 10):
            yield frame(index, live=True)
        all_read.set()

    def look(pictures: Sequence[Pixels]) -> list[Detections]:
        looking.set()
        all_read.wait(PATIENCE)
        return find_blocks(pictures)

    assert [one.index for one, _ in overlapped(frames(), look, batch=4)] == [0, 9]


def test_channel_gives_what_was_sent_before_its_end() -> None:
    channel: Channel[int] = Channel(3)
    for item in range(3):
        assert channel.put(item)
    channel.end()
    assert channel.take(2, 2) == [0, 1]
    assert channel.take(2, 2) == [2]
    assert channel.take(2, 2) == []
    channel.stop()
    assert not channel.put(3)

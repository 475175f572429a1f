"""Cameras and streams: what has no end, and comes back after it was gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detector.prediction.frames import Frame
from detector.prediction.sources import Item
from detector.prediction.video import Capture, Facts, Opener, facts_of, open_capture, pixels_of, position
from search_spaces.errors import UserError
from search_spaces.saying import Say, silent


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: before the first new try, between two at most (each wait is twice the one before), and after which a stream
    that stays away is given up.
    """

    first: float = 1.0
    longest: float = 30.0
    give_up: float = 300.0


def live_frames(
    item: Item,
    every: int = 1,
    told: Say = silent,
    *,
    patience: Patience = Patience(),
    pause: Callable[[float], bool],
    opener: Opener = open_capture,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Frame]:
    """Every `every`-th frame of a camera or stream, until nobody asks for more or a recording that came as a stream ends.

    pause(seconds): waits, and says whether to stop. told: hears of drops and returns. Raises UserError when the source
    cannot be opened at first, or stays away.
    """
    capture = opener(item.address)
    try:
        if not capture.isOpened():
            raise UserError(f"{item.shown}: {_not_there(item)}")
        facts = facts_of(capture)
        index, begun = 0, clock()
        while True:
            while capture.grab():
                if index % every == 0:
                    pixels = pixels_of(capture)
                    if pixels is None:
                        break
                    recorded = facts.frames > 0
                    seconds = position(capture, index, facts) if recorded else clock() - begun
                    yield Frame(
                        name=item.name, pixels=pixels, index=index, seconds=seconds, fps=facts.fps, live=not recorded
                    )
                index += 1
            capture.release()
            if _is_over(facts, index):
                return
            told(f"{item.shown}: no more frames after {index}; trying again")
            again = _reopened(item, patience, pause, opener, clock)
            if again is None:
                return
            capture = again
            told(f"{item.shown}: back")
    finally:
        capture.release()


def _is_over(facts: Facts, index: int) -> bool:
    """A recording has a length, and ends at it."""
    return facts.frames > 0 and index >= facts.frames - max(2, facts.frames // 50)


def _reopened(
    item: Item,
    patience: Patience,
    pause: Callable[[float], bool],
    opener: Opener,
    clock: Callable[[], float],
) -> Capture | None:
    """The source once more, None when told to stop meanwhile."""
    wait, gone = patience.first, clock()
    while clock() - gone < patience.give_up:
        if pause(wait):
            return None
        wait = min(2 * wait, patience.longest)
        capture = opener(item.address)
        if capture.isOpened():
            return capture
        capture.release()
    raise UserError(
        f"{item.shown}: gone for {patience.give_up:g} s, given up; what was seen before is kept, start again when it is back"
    )


def _not_there(item: Item) -> str:
    if isinstance(item.address, int) or item.address.startswith("/dev/"):
        return "cannot be opened; see that the camera is plugged in, free, and yours to read (ls -l /dev/video*)"
    return "cannot be opened; see that the address, user and password are right and the stream is running"

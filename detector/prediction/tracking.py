"""Numbers for objects across the frames of a video: ByteTrack, as the package `trackers` has it (an extra)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.detections import Detections
from detector.prediction.frames import NO_TRACK, Frame
from detector.prediction.video import USUAL_FPS
from search_spaces.errors import UserError


class Tracks:
    """Gives every detection the number of its track; numbers go on from one video to the next, tracks do not.

    every: of the video's frames, each n-th is seen; least: the score threshold of the detections, all of which may begin a
    track. make(fps, least): a ByteTrack, None: that of the package. Raises UserError without it.
    """

    def __init__(self, every: int, least: float, make: Callable[[float, float], Any] | None = None) -> None:
        self._make = make or _byte_track()
        self._every, self._least = every, least
        self._name: object = None
        self._tracker: Any = None
        self._numbers: dict[int, int] = {}
        self._next = 1

    def __call__(self, frame: Frame, found: Detections) -> npt.NDArray[np.int64]:
        """(K,) numbers from 1 on, or NO_TRACK; frames come in order. A picture by itself has no tracks."""
        ids = np.full(len(found), NO_TRACK, dtype=np.int64)
        if frame.index is None:
            return ids
        if frame.name != self._name:
            self._name, self._numbers = frame.name, {}
            self._tracker = self._make((frame.fps or USUAL_FPS) / self._every, self._least)
        given = found.to_supervision()
        given.data["row"] = np.arange(len(found))  # the tracker leaves some out, and changes the order
        tracked = self._tracker.update(given)
        if len(tracked) and tracked.tracker_id is not None:
            for row, key in zip(tracked.data["row"].tolist(), tracked.tracker_id.tolist()):
                ids[row] = NO_TRACK if key < 0 else self._number(key)
        return ids

    def _number(self, key: int) -> int:
        if key not in self._numbers:
            self._numbers[key] = self._next
            self._next += 1
        return self._numbers[key]


def _byte_track() -> Callable[[float, float], Any]:
    try:
        from trackers import ByteTrackTracker
    except ImportError:
        raise UserError("--track needs the package trackers; pip install tinynas[track], or leave it out") from None
    logging.getLogger("trackers").setLevel(logging.ERROR)

    def make(fps: float, least: float) -> Any:
        return ByteTrackTracker(frame_rate=fps, track_activation_threshold=least, high_conf_det_threshold=least)

    return make

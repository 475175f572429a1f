"""Pictures and videos with boxes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np

from detector.data.file_tree import FreeNames, one_form
from detector.data.image import Pixels
from detector.drawing import write_picture
from detector.prediction.frames import Frame, Looked
from detector.prediction.outputs import Heading, Skipped
from detector.prediction.outputs._growing import told
from detector.prediction.sources import Item, Kind
from detector.prediction.video import USUAL_FPS, open_capture
from search_spaces.errors import UserError

_QUALITY = 95
_KEPT_SUFFIXES = (".jpg", ".jpeg", ".png", ".mp4")
_CODEC = "mp4v"
_LONGEST_STILL = {True: 1.0, False: 60.0}
"""Seconds that a frame is shown on for at most when no other comes, of live and of recorded sources."""


def drawn_places(items: Sequence[Item]) -> dict[PurePath, PurePath]:
    """Where each item is drawn, by its name, no two alike on any disk: its own name, or with .png or .mp4 behind it for
    types that are not written."""
    free: dict[str, FreeNames] = {}
    places = {}
    for item in sorted(items, key=lambda item: item.name.suffix.lower() not in _KEPT_SUFFIXES):
        ending = ".png" if item.kind is Kind.PICTURE else ".mp4"
        name = item.name
        kept = name.suffix.lower() in _KEPT_SUFFIXES and (name.suffix.lower() == ".mp4") == (ending == ".mp4")
        stem, suffix = (name.stem, name.suffix) if kept else (name.name, ending)
        taken = free.setdefault(one_form(name.parent.as_posix()).casefold(), FreeNames())
        places[name] = name.with_name(f"{taken.take(stem, suffix)}{suffix}")
    return places


class Writer:
    """A drawn copy of each picture under its place below the output folder, and of each video."""

    def __init__(self, out: Path, heading: Heading, every: int) -> None:
        self._out = out
        self._places: Mapping[PurePath, PurePath] = heading.drawings
        self._every = every
        self._video: _Video | None = None
        self._written: list[Path] = []

    def write(self, looked: Looked) -> None:
        """Draws; frames of one video must follow one another."""
        frame = looked.frame
        drawn = looked.found.draw(frame.pixels, looked.ids)
        place = self._out / self._places[frame.name]
        if frame.index is None:
            self._end()
            write_picture(drawn, place, _QUALITY)
            return
        if self._video is None or self._video.path != place:
            self._end()
            fps = (frame.fps or USUAL_FPS) / (1 if frame.live else self._every)
            self._video = _Video(place, (drawn.shape[0], drawn.shape[1]), fps)
        self._video.add(drawn, frame)

    def close(self, skipped: Skipped) -> list[Path]:
        """The videos."""
        self._end()
        return self._written

    def _end(self) -> None:
        if self._video is not None:
            video, self._video = self._video, None
            self._written.append(video.close())


class _Video:
    """An MP4 file of one rate. Where the source has another, frames are shown longer, so that it lasts as long."""

    def __init__(self, path: Path, size_hw: tuple[int, int], fps: float) -> None:
        self.path = path
        self._size, self._fps = size_hw[::-1], fps
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        # the suffix tells OpenCV the container
        self._hidden = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.stem}.mp4")
        self._writer = cv2.VideoWriter(str(self._hidden), cv2.VideoWriter.fourcc(*_CODEC), fps, self._size)
        if not self._writer.isOpened():
            self._hidden.unlink(missing_ok=True)
            raise UserError(f"{path}: no video can be written here (MPEG-4, {size_hw[1]}x{size_hw[0]}, {fps:g} frames per "
                            "second); see that the folder can be written, or say --no-draw")  # fmt: skip
        self._shown = self._left_out = 0
        self._begin = 0.0
        self._last: Pixels | None = None

    def add(self, drawn: Pixels, frame: Frame) -> None:
        """A recorded frame is shown once at least; a live one that comes too soon for the rate is left out."""
        if (drawn.shape[1], drawn.shape[0]) != self._size:
            drawn = np.asarray(cv2.resize(drawn, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        seconds = frame.seconds or 0.0
        if self._last is None:
            self._begin = seconds
        due = round((seconds - self._begin) * self._fps) - self._left_out - self._shown
        still = min(due, round(_LONGEST_STILL[frame.live] * self._fps))
        self._left_out += max(0, due - still)
        for _ in range(still if self._last is not None else 0):
            self._put(self._last)
        if due >= 0 or not frame.live:
            self._last = cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)  # type: ignore[assignment]
            self._put(self._last)

    def close(self) -> Path:
        """Raises UserError when the disk did not take it all: OpenCV's writer does not tell."""
        self._writer.release()
        with told(self.path):
            reader = open_capture(str(self._hidden))
            whole = reader.isOpened() and reader.grab()
            reader.release()
            if not whole:
                self._hidden.unlink(missing_ok=True)
                raise UserError(f"{self.path}: the video could not be written whole; free some space, or say --no-draw")
            os.replace(self._hidden, self.path)
        return self.path

    def _put(self, pixels: Pixels | None) -> None:
        self._writer.write(pixels)  # type: ignore[arg-type]
        self._shown += 1

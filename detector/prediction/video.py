"""Video files, frame by frame."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from detector.data.image import Pixels
from detector.prediction.frames import Frame
from detector.prediction.sources import Item
from search_spaces.errors import UserError
from search_spaces.saying import Say, silent

USUAL_FPS = 25.0
"""Frames per second where a source does not tell, or tells what no camera does."""
MOST_PIXELS = 1 << 26
"""Of a frame: 8192 x 8192."""
_OPEN_MS, _READ_MS = 10_000, 5_000
_QUIET = ("OPENCV_FFMPEG_LOGLEVEL", "-8")


class Capture(Protocol):
    """What is needed of cv2.VideoCapture."""

    def isOpened(self) -> bool: ...
    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, Any]: ...
    def get(self, prop: int, /) -> float: ...
    def release(self) -> None: ...


Opener = Callable[[str | int], Capture]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a video says of itself: frames (0: unknown), fps, height and width in pixels."""

    frames: int
    fps: float
    size_hw: tuple[int, int]


def open_capture(address: str | int) -> Capture:
    """OpenCV's reader of files, streams and cameras, silent, with limits on how long a stream may say nothing."""
    os.environ.setdefault(*_QUIET)  # read by OpenCV when the first video is opened
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        if isinstance(address, int) or address.startswith("/dev/"):
            return cv2.VideoCapture(address)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MS]
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
    finally:
        cv2.utils.logging.setLogLevel(before)


def facts_of(capture: Capture) -> Facts:
    """Implausible values become unknown ones."""
    frames, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    height, width = capture.get(cv2.CAP_PROP_FRAME_HEIGHT), capture.get(cv2.CAP_PROP_FRAME_WIDTH)
    return Facts(
        frames=int(frames) if math.isfinite(frames) and 0 < frames < 1e9 else 0,
        fps=float(fps) if math.isfinite(fps) and 0.1 <= fps <= 480 else USUAL_FPS,
        size_hw=(int(height), int(width)) if math.isfinite(height + width) else (0, 0),
    )


def video_facts(item: Item, opener: Opener = open_capture) -> Facts:
    """Raises UserError for a file that cannot be read as a video."""
    capture = opener(item.address)
    try:
        return _checked(capture, item)
    finally:
        capture.release()


def video_frames(item: Item, every: int = 1, told: Say = silent, opener: Opener = open_capture) -> Iterator[Frame]:
    """Every `every`-th frame of a video file, turned as the file says. told: hears of a video that ends too early.

    Raises UserError when the file is no video, or holds no frame.
    """
    capture = opener(item.address)
    try:
        facts = _checked(capture, item)
        index = 0
        while capture.grab():
            if index % every == 0:
                pixels = pixels_of(capture)
                if pixels is None:
                    break
                yield Frame(
                    name=item.name, pixels=pixels, index=index, seconds=position(capture, index, facts), fps=facts.fps
                )
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise UserError(f"{item.shown}: holds no frame that can be read; copy it again, or convert it to MP4")
    # the count is an estimate in some containers; a quarter of a short clip is no error of one
    lost = facts.frames - index
    if lost > max(2, facts.frames // 50) or 4 * lost >= facts.frames > 0:
        told(f"{item.shown}: ends after {index} of {facts.frames} frames (cut short or damaged); those are done")


def pixels_of(capture: Capture) -> Pixels | None:
    """The frame that was grabbed, RGB; None if it cannot be decoded."""
    try:
        whole, pixels = capture.retrieve()
    except cv2.error:
        return None
    if not whole or pixels is None or pixels.size == 0:
        return None
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def position(capture: Capture, index: int, facts: Facts) -> float:
    """Seconds from the start of the recording to the frame that was grabbed: as the file says, else by its rate."""
    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
    return seconds if math.isfinite(seconds) and (seconds > 0 or index == 0) else index / facts.fps


def _checked(capture: Capture, item: Item) -> Facts:
    if not capture.isOpened():
        raise UserError(
            f"{item.shown}: not a video that can be read; expected MP4, AVI, MKV, WebM, ... (whole, not cut off)"
        )
    facts = facts_of(capture)
    height, width = facts.size_hw
    if height * width > MOST_PIXELS:
        raise UserError(
            f"{item.shown}: frames of {width}x{height} pixels; expected at most 8192x8192, scale the video down"
        )
    return facts

"""What runs through a prediction: a frame as it was read, and with what was found in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

from detector.data.image import Pixels
from detector.detections import Detections

NO_TRACK = -1
"""Of a detection that belongs to no track (yet): one that was seen once may be an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture to look at.

    name: of its file or stream, relative to what was asked for; pixels: (height, width, 3) uint8 RGB; index: its number
    in the video, from 0, None for a picture; seconds: since the video's or stream's first frame; fps: frames per second
    to show what is read here at, None for a picture; live: it comes whether or not there is time for it
    """

    name: PurePath
    pixels: Pixels
    index: int | None = None
    seconds: float | None = None
    fps: float | None = None
    live: bool = False

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[1])

    @property
    def stem(self) -> PurePath:
        """A path that no other frame of this source has, without a suffix: that of the picture, or of the video and the
        frame's number in a folder of its own."""
        if self.index is None:
            return self.name.with_suffix("")
        return self.name / f"{self.name.stem}_{self.index:06d}"


@dataclass(frozen=True, slots=True)
class Looked:
    """A frame with what was found in it; ids (K,): numbers of the tracks that the detections belong to (or NO_TRACK), None
    where they were not asked for."""

    frame: Frame
    found: Detections
    ids: npt.NDArray[np.int64] | None = None

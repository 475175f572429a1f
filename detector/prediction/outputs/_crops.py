"""Every detection cut out, in a folder for each class."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from detector.drawing import write_picture
from detector.prediction.frames import Looked
from detector.prediction.outputs import Heading, Skipped
from detector.prediction.outputs._stems import Stems, folder_names

_QUALITY = 95


class Writer:
    """`FOLDER/CLASS/PICTURE_1.jpg`, best first; of a video, with the frame's number too."""

    def __init__(self, folder: Path, heading: Heading) -> None:
        self._folder = folder
        self._folders = folder_names(heading.card.class_names)
        self._stems = Stems()
        self._begun = False

    def write(self, looked: Looked) -> None:
        """A picture for each detection that covers a pixel."""
        frame, stem = looked.frame, self._stems.of(looked.frame)
        for number, (box, label) in enumerate(
            zip(looked.found.boxes_xyxy.tolist(), looked.found.labels.tolist()), start=1
        ):
            left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
            part = frame.pixels[top : math.ceil(box[3]), left : math.ceil(box[2])]
            if part.size:
                name = stem.with_name(f"{stem.name}_{number}.jpg")
                write_picture(np.ascontiguousarray(part), self._folder / self._folders[label] / name, _QUALITY)
                self._begun = True

    def close(self, skipped: Skipped) -> list[Path]:
        """The folder."""
        return [self._folder] if self._begun else []

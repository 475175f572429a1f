"""`detections_coco.json`: a COCO document (images, categories, annotations with scores), to open in labelling tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detector.prediction.frames import Frame, Looked
from detector.prediction.outputs import Heading, Skipped
from detector.prediction.outputs._growing import GrowingText
from detector.prediction.outputs._rows import detections_of

NAME = "detections_coco.json"


class Writer:
    """Images count from 1 as they come. The annotations wait in a file of their own for the end of the images."""

    def __init__(self, out: Path, heading: Heading) -> None:
        self._file = GrowingText(out / NAME)
        self._annotations = GrowingText(out / f".{NAME}.annotations")
        self._card = heading.card
        self._images = self._boxes = 0

    def write(self, looked: Looked) -> None:
        """One image and its annotations."""
        self._images += 1
        self._file.write((",\n" if self._file else self._head()) + _text(_image(looked.frame, self._images)))
        tracks = (row.get("track") for row in detections_of(looked))
        for entry, track in zip(looked.found.to_coco(self._images), tracks):
            self._boxes += 1
            width, height = entry["bbox"][2:]
            row = {"id": self._boxes, **entry, "area": round(width * height, 2), "iscrowd": 0}
            row |= {} if track is None else {"track_id": track}
            self._annotations.write((",\n" if self._annotations else "") + _text(row))

    def close(self, skipped: Skipped) -> list[Path]:
        """What was skipped is no image."""
        if self._file:
            self._file.write('\n],\n"annotations": [\n')
            for part in self._annotations.parts():
                self._file.write(part)
            self._file.write("\n]}\n")
        return self._file.close()

    def _head(self) -> str:
        named = zip(self._card.category_ids, self._card.class_names)
        return f'{{"categories": {_text([{"id": key, "name": name} for key, name in named])},\n"images": [\n'


def _image(frame: Frame, number: int) -> dict[str, Any]:
    """Of a video, the frame's number too, and the name that a tool gives to frames cut out of it."""
    image = {"id": number, "width": frame.width, "height": frame.height}
    if frame.index is None:
        return {**image, "file_name": frame.name.as_posix()}
    return {
        **image, "file_name": f"{frame.stem.as_posix()}.jpg", "video": frame.name.as_posix(), "frame_index": frame.index
    }  # fmt: skip


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

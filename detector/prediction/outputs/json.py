"""`detections.json`: one object with the model, its classes and thresholds, and an entry for each picture or frame."""

from __future__ import annotations

import json
from pathlib import Path

from detector.prediction.frames import Looked
from detector.prediction.outputs import Heading, Skipped
from detector.prediction.outputs._growing import GrowingText
from detector.prediction.outputs._rows import detections_of, place_of

NAME = "detections.json"


class Writer:
    """Written as it comes, so that a video of hours needs no memory."""

    def __init__(self, out: Path, heading: Heading) -> None:
        self._file = GrowingText(out / NAME)
        self._heading = heading

    def write(self, looked: Looked) -> None:
        """One entry of `images`."""
        drawn = self._heading.drawings.get(looked.frame.name)
        entry = {
            **place_of(looked.frame), **({} if drawn is None else {"picture": drawn.as_posix()}),
            "width": looked.frame.width, "height": looked.frame.height, "detections": detections_of(looked),
        }  # fmt: skip
        between = ",\n" if self._file else self._head()
        self._file.write(between + json.dumps(entry, ensure_ascii=False))

    def close(self, skipped: Skipped) -> list[Path]:
        """With what was skipped, and why."""
        if self._file:
            rows = [{"image": name, "reason": reason} for name, reason in skipped]
            self._file.write(f'\n ],\n "skipped": {json.dumps(rows, ensure_ascii=False)}\n}}\n')
        return self._file.close()

    def _head(self) -> str:
        card = self._heading.card
        facts = {
            "model": self._heading.model, "image_size": list(card.image_size), "score_threshold": card.score_threshold,
            "iou_threshold": card.iou_threshold, "class_names": list(card.class_names),
        }  # fmt: skip
        return json.dumps(facts, indent=1, ensure_ascii=False).removesuffix("\n}") + ',\n "images": [\n'

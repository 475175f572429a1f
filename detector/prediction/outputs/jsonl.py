"""`detections.jsonl`: a line of JSON for each picture or frame, there to be read as soon as the frame is done."""

from __future__ import annotations

import json
from pathlib import Path

from detector.prediction.frames import Looked
from detector.prediction.outputs import Heading, Skipped
from detector.prediction.outputs._growing import GrowingText
from detector.prediction.outputs._rows import detections_of, place_of

NAME = "detections.jsonl"


class Writer:
    """Each line is whole, so the file keeps its own name all the time: who follows a stream reads along."""

    def __init__(self, out: Path, heading: Heading) -> None:
        self._file = GrowingText(out / NAME, hidden=False)

    def write(self, looked: Looked) -> None:
        """One line."""
        size = {"width": looked.frame.width, "height": looked.frame.height}
        entry = {**place_of(looked.frame), **size, "detections": detections_of(looked)}
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n", now=True)

    def close(self, skipped: Skipped) -> list[Path]:
        """What was skipped has no line."""
        return self._file.close()

"""`detections.csv`: a row for each detection."""

from __future__ import annotations

from pathlib import Path

from detector.detections import CSV_COLUMNS
from detector.prediction.frames import Looked
from detector.prediction.outputs import Heading, Skipped
from detector.prediction.outputs._growing import GrowingText
from detector.prediction.outputs._rows import detections_of, place_of
from search_spaces.files import csv_text

NAME = "detections.csv"
COLUMNS = ("image", "frame", "seconds", *CSV_COLUMNS, "track")
"""`frame` and `seconds` are empty for pictures, `track` without `--track`."""


class Writer:
    """The columns COLUMNS; boxes in pixels."""

    def __init__(self, out: Path, heading: Heading) -> None:
        self._file = GrowingText(out / NAME)

    def write(self, looked: Looked) -> None:
        """A row for each detection, none for a frame without."""
        if not self._file:
            self._file.write(csv_text([COLUMNS]))
        place = place_of(looked.frame)
        rows = [
            {**place, **dict(zip(("x1", "y1", "x2", "y2"), row["box_xyxy"])), **row} for row in detections_of(looked)
        ]
        self._file.write(csv_text([[row.get(column) for column in COLUMNS] for row in rows]))

    def close(self, skipped: Skipped) -> list[Path]:
        """What was skipped has no row."""
        return self._file.close()

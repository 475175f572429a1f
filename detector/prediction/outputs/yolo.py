"""`labels/`: a text file for each picture or frame, as YOLO trainers and labelling tools read them, and `classes.txt`."""

from __future__ import annotations

from pathlib import Path

from detector.prediction.frames import Looked
from detector.prediction.outputs import Heading, Skipped
from detector.prediction.outputs._growing import told
from detector.prediction.outputs._stems import Stems
from search_spaces.files import write_text

NAME = "labels"


class Writer:
    """A line for each detection: label, centre, width and height as shares of the picture's sides, score."""

    def __init__(self, out: Path, heading: Heading) -> None:
        self._folder = out / NAME
        self._names = heading.card.class_names
        self._stems = Stems()
        self._begun = False

    def write(self, looked: Looked) -> None:
        """One file, empty where nothing was found."""
        stem = self._stems.of(looked.frame)
        path = self._folder / stem.with_name(f"{stem.name}.txt")
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, looked.found.to_yolo())
        self._begun = True

    def close(self, skipped: Skipped) -> list[Path]:
        """With the names of the classes, a line each."""
        if not self._begun:
            return []
        write_text(self._folder / "classes.txt", "".join(f"{' '.join(name.split())}\n" for name in self._names))
        return [self._folder]

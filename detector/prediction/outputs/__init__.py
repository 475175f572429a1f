"""What becomes of the findings: one plug-in per format of text (`json.py`, `jsonl.py`, `csv.py`, `yolo.py`, `coco.py`), and
what is looked at: drawings, crops, a window.

A plug-in has `Writer(out, heading)`, an Output. Outputs make their first file with the first frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Protocol, cast

from detector.model_card import ModelCard
from detector.prediction.frames import Looked
from search_spaces.plugins import load_plugin, plugin_names

Skipped = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Heading:
    """What is the same for all frames. model: as it was named; drawings: where each picture or video is drawn, below the
    output folder, by its name (empty: nothing is drawn)."""

    model: str
    card: ModelCard
    drawings: Mapping[PurePath, PurePath] = field(default_factory=dict)


class Output(Protocol):
    """Takes frames in order; closed once, also after Ctrl-C or a mistake, and then holds what came until then."""

    def write(self, looked: Looked) -> None:
        """Raises UserError when it cannot be written."""

    def close(self, skipped: Skipped) -> list[Path]:
        """The files or folders made, none without a frame. skipped: (name, reason) of what could not be read."""


def format_names() -> list[str]:
    """The formats of text."""
    return plugin_names(__name__)


def open_output(name: str, out: Path, heading: Heading) -> Output:
    """Raises UserError for a format that there is not."""
    return cast(Output, load_plugin(__name__, name).Writer(out, heading))

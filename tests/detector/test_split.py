"""Detecting over a split: every picture in its order, read as it is called, with a bar on a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from detector.data.formats import load_split
from detector.data.image import Pixels
from detector.data.sample import write_sample_data
from detector.detections import Detections
from detector.evaluation.split import detect_split
from tests.terminal import Terminal


def brightest(pictures: Sequence[Pixels]) -> list[Detections]:
    """A box of a picture's size for each, scored by its mean."""
    found = []
    for picture in pictures:
        height, width = picture.shape[:2]
        found.append(
            Detections(
                boxes_xyxy=np.array([[0, 0, width, height]], dtype=np.float32),
                scores=np.array([picture.mean() / 255], dtype=np.float32), labels=np.zeros(1, dtype=np.int64),
                class_names=("x",), category_ids=(1,), image_size=(height, width),
            )
        )  # fmt: skip
    return found


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_how_far_it_is(terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sample_data(tmp_path / "data", 3, 1, (32, 48))
    annotations, _ = load_split(tmp_path / "data", "train")
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    found = detect_split(brightest, annotations, 2)
    assert len(found) == 3
    assert found.boxes_xyxy.tolist() == [[0, 0, 48, 32]] * 3
    assert ("evaluation" in screen.getvalue()) == terminal
    assert ("/3 [" in screen.getvalue()) == terminal

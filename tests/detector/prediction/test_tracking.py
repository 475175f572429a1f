"""Numbers of tracks."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detector.detections import Detections
from detector.prediction.frames import NO_TRACK
from detector.prediction.tracking import Tracks
from search_spaces.errors import UserError
from tests.detector.prediction.clips import detections, frame

has_trackers = pytest.mark.skipif(importlib.util.find_spec("trackers") is None, reason="trackers is not installed")


class FakeTracker:
    """Numbers rows by a detection's label, from 0; leaves out the first row, and turns the order round."""

    def update(self, given: Any) -> Any:
        order = np.arange(len(given.class_id))[:0:-1]
        return Rows(data={"row": given.data["row"][order]}, tracker_id=given.class_id[order] - 1)


class Rows(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.tracker_id)


@pytest.fixture
def _plain_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detections handed over as a plain record."""
    monkeypatch.setattr(Detections, "to_supervision", lambda self: SimpleNamespace(class_id=self.labels, data={}))


def found(*labels: int) -> Detections:
    return detections([[10 * k, 0, 10 * k + 5, 5] for k in range(len(labels))], [0.9] * len(labels), list(labels))


@pytest.mark.usefixtures("_plain_supervision")
def test_numbers_go_to_the_right_rows_and_on_from_video_to_video() -> None:
    made: list[tuple[float, float]] = []

    def make(fps: float, least: float) -> FakeTracker:
        made.append((fps, least))
        return FakeTracker()

    tracks = Tracks(5, 0.25, make)
    assert tracks(frame(0), found(1, 1, 0)).tolist() == [NO_TRACK, 1, NO_TRACK]  # key -1: none yet
    assert tracks(frame(5), found(0, 0, 1)).tolist() == [NO_TRACK, NO_TRACK, 1]
    assert tracks(frame(10), found()).tolist() == []
    assert tracks(frame(None, "a.jpg"), found(1, 1)).tolist() == [NO_TRACK, NO_TRACK]
    assert tracks(frame(0, "b.mp4"), found(0, 1)).tolist() == [NO_TRACK, 2]
    assert made == [(5.0, 0.25)] * 2


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(UserError, match=r"--track needs the package trackers; pip install"):
        Tracks(1, 0.3)


@has_trackers
def test_two_that_pass_one_another_keep_their_numbers() -> None:
    tracks, rng, numbers = Tracks(1, 0.3), np.random.default_rng(0), []
    for index in range(40):
        boxes = np.array([[5 * index, 20, 5 * index + 30, 50], [200 - 5 * index, 45, 230 - 5 * index, 75]], dtype=float)
        boxes += rng.normal(0, 0.5, boxes.shape)
        ids = tracks(frame(index), detections(boxes.tolist(), [0.8, 0.6]))
        if index > 5:
            numbers.append(tuple(ids.tolist()))
    assert len(set(numbers)) == 1
    assert NO_TRACK not in numbers[0]
    assert numbers[0][0] != numbers[0][1]

"""What was found, in the forms that people take it away in."""

from __future__ import annotations

import csv
import io
import json
import sys
import types

import numpy as np
import pytest

from detector.detections import CSV_COLUMNS, Detections
from search_spaces.errors import UserError

FOUND = Detections(
    boxes_xyxy=np.array([[10, 20, 50, 60], [0, 0, 200, 100], [5.5, 6.25, 7, 8]], np.float32),
    scores=np.array([0.9, 0.5, 0.25], np.float32),
    labels=np.array([1, 0, 1]),
    class_names=("a, b", "клетка"),
    category_ids=(7, 90),
    image_size=(100, 200),
)
NOTHING = FOUND[:0]


def test_one_by_one() -> None:
    assert len(FOUND) == 3
    assert next((score, name) for _, score, name in FOUND) == (pytest.approx(0.9), "клетка")
    assert FOUND.names == ("клетка", "a, b", "клетка")
    assert list(NOTHING) == []


def test_above() -> None:
    assert FOUND.above(0.5).scores.tolist() == [pytest.approx(0.9)]
    assert FOUND.above({"клетка": 0.3}).labels.tolist() == [1, 0]
    assert FOUND.above({"a, b": 0.6}).labels.tolist() == [1, 1]
    with pytest.raises(UserError, match="no class is named 'cell'; the model knows a, b, клетка"):
        FOUND.above({"cell": 0.5})


def test_json() -> None:
    content = json.loads(FOUND.to_json())
    assert (content["width"], content["height"]) == (200, 100)
    assert content["detections"][2] == {
        "box_xyxy": [5.5, 6.25, 7.0, 8.0], "score": 0.25, "label": 1, "category_id": 90, "name": "клетка",
    }  # fmt: skip
    assert json.loads(NOTHING.to_json())["detections"] == []
    assert "\n" not in FOUND.to_json()


def test_csv() -> None:
    rows = list(csv.reader(io.StringIO(FOUND.to_csv())))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert rows[2] == ["0.0", "0.0", "200.0", "100.0", "0.5", "0", "7", "a, b"]
    assert NOTHING.to_csv() == ",".join(CSV_COLUMNS) + "\n"


def test_yolo_is_in_shares_of_the_sides() -> None:
    lines = FOUND.to_yolo().splitlines()
    assert lines[0] == "1 0.150000 0.400000 0.200000 0.400000 0.900000"
    assert lines[1] == "0 0.500000 0.500000 1.000000 1.000000 0.500000"
    assert NOTHING.to_yolo() == ""


def test_coco_has_the_datas_own_ids() -> None:
    assert FOUND.to_coco(12)[0] == {"image_id": 12, "category_id": 90, "bbox": [10.0, 20.0, 40.0, 40.0], "score": 0.9}
    assert NOTHING.to_coco(12) == []


def test_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = types.ModuleType("supervision")
    foreign.Detections = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", foreign)
    found = FOUND.to_supervision()
    np.testing.assert_array_equal(found.xyxy, FOUND.boxes_xyxy)
    assert found.data["class_name"].tolist() == ["клетка", "a, b", "клетка"]
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="pip install supervision"):
        FOUND.to_supervision()


def test_supervision_itself_takes_them() -> None:
    supervision = pytest.importorskip("supervision")
    found = FOUND.to_supervision()
    assert isinstance(found, supervision.Detections)
    assert found.class_id.tolist() == [1, 0, 1]


def test_drawn() -> None:
    blank = np.zeros((100, 200, 3), np.uint8)
    assert FOUND.draw(blank).any()
    assert not NOTHING.draw(blank).any()

"""Pictures annotated before their EXIF rotation: whatever looks at them sees them as their boxes do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.annotations import Annotations
from detector.data.check import check_data
from detector.data.formats import load_split
from detector.data.mirror.looks import _described
from detector.data.sample import write_sample_data
from detector.data.slicing import Slicing, slice_data
from detector.evaluation import assess
from detector.evaluation.coco import scored
from detector.evaluation.detections import SplitDetections
from detector.evaluation.pictures import _panels
from tests.detector.data.test_image import with_orientation


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set, and the same one whose pictures say in EXIF that they lie on their side, which no box knows of."""
    folder = tmp_path_factory.mktemp("stored")
    for name in ("plain", "stored"):
        write_sample_data(folder / name, 12, 4, (72, 96))
    for path in (folder / "stored").rglob("*.jpg"):
        with_orientation(path, 6)
    return folder / "plain", folder / "stored"


def both(pair: tuple[Path, Path]) -> tuple[Annotations, Annotations]:
    plain, stored = (load_split(root, "train")[0] for root in pair)
    return plain, stored


def test_picture(pair: tuple[Path, Path]) -> None:
    plain, stored = both(pair)
    for index in range(len(plain)):
        np.testing.assert_array_equal(plain.picture(index), stored.picture(index))


def test_mirror_advice_looks_into_the_boxes(pair: tuple[Path, Path]) -> None:
    plain, stored = both(pair)
    rows = np.arange(len(plain.boxes_xyxy))
    assert len(rows) > 8
    for found, expected in zip(
        _described(stored, rows, stored.image_index()), _described(plain, rows, plain.image_index())
    ):
        np.testing.assert_array_equal(found, expected)
    assert not check_data(pair[1]).problems


def test_a_report_draws_boxes_where_they_are(pair: tuple[Path, Path]) -> None:
    drawn = []
    for given in both(pair):
        found = [
            (boxes, np.ones(len(boxes), np.float32), labels) for boxes, labels, _ in map(given.boxes_of, range(12))
        ]
        drawn.append(_panels(assess(scored(SplitDetections.pack(found), given), given, 0.5), 0))
    for plain, stored in zip(*drawn):
        np.testing.assert_array_equal(plain, stored)


def test_tiles_are_written_in_any_format(pair: tuple[Path, Path], tmp_path: Path) -> None:
    sliced = slice_data(pair[1], tmp_path / "tiles", "yolo", Slicing(size=64))
    assert sum(sliced.boxes.values()) > 8
    assert not check_data(tmp_path / "tiles").problems

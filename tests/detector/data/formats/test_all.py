"""What all formats share: layouts, splits, empty pictures, encodings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.formats import detect, get, load_split
from search_spaces.errors import UserError
from tests.detector.data.formats.written import coco, message, voc, yolo


def test_a_data_set_further_down_is_named(tmp_path: Path) -> None:
    voc(tmp_path / "VOCdevkit" / "VOC2007", "<annotation/>")
    with pytest.raises(
        UserError, match=r"unknown data layout; .*VOCdevkit/VOC2007 looks like one, name that; expected"
    ):
        detect(tmp_path)


def test_splits_without_images(tmp_path: Path) -> None:
    voc(tmp_path / "voc", "<annotation/>")
    (tmp_path / "voc" / "ImageSets" / "Main" / "train.txt").write_text("\n")
    assert "train.txt: no images; expected one image name per line" in message(tmp_path / "voc")
    yolo(tmp_path / "yolo", "")
    (tmp_path / "yolo" / "images" / "train" / "a.jpg").unlink()
    assert "no images for the 'train' split" in message(tmp_path / "yolo")


def test_images_without_boxes_stay(tmp_path: Path) -> None:
    voc(tmp_path / "voc", "<annotation/>")
    yolo(tmp_path / "yolo", "")
    coco(tmp_path / "coco", annotations=[])
    for name in ("voc", "yolo", "coco"):
        found, report = load_split(tmp_path / name, "train")
        assert (len(found), report.images_without_boxes, report.boxes) == (1, 1, 0)
        assert len(found.boxes_of(0).labels) == 0


def test_annotations_that_are_not_utf8_name_file_and_line(tmp_path: Path) -> None:
    bad = "d\xe9s".encode("latin-1")
    voc(tmp_path / "voc", "<annotation/>")
    label = yolo(tmp_path / "yolo", "")
    file = coco(tmp_path / "coco")
    for path, expected in (
        (tmp_path / "voc" / "classes.txt", "one class name per line"),
        (tmp_path / "voc" / "ImageSets" / "Main" / "train.txt", "one image name per line"),
        (tmp_path / "voc" / "Annotations" / "a.xml", "the XML does not parse"),
        (label, "lines 'class cx cy w h'"),
        (tmp_path / "yolo" / "data.yaml", "a data.yaml"),
        (file, "a COCO instances file"),
    ):
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(bad)
        said = message(tmp_path / path.relative_to(tmp_path).parts[0])
        assert said.startswith(f"{path}:1: ")
        assert expected in said
        path.unlink() if before is None else path.write_bytes(before)


def test_folders_of_no_known_layout(tmp_path: Path) -> None:
    assert "is empty; expected one of VOC" in message(tmp_path)
    (tmp_path / "notes.md").write_text("x")
    assert "unknown data layout; found neither pictures nor annotations; expected one of VOC" in message(tmp_path)
    assert "no such folder" in message(tmp_path / "missing")
    assert "unknown split 'vall'; did you mean val" in message(tmp_path, "vall")
    with pytest.raises(UserError, match=r"unknown data format 'vocs'; did you mean .*voc"):
        get("vocs")


@pytest.mark.parametrize(("name", "layout", "boxes"), [("bccd", "voc", 2804), ("tiny_coco", "coco", 470)])
def test_real_data(real_data: Path, name: str, layout: str, boxes: int) -> None:
    assert detect(real_data / name) == layout
    train, report = load_split(real_data / name, "train")
    val, _ = load_split(real_data / name, "val", train.class_names)
    assert report.boxes == boxes
    assert val.class_names == train.class_names
    np.testing.assert_array_equal(val.category_ids, train.category_ids)
    part = train.subset([5, 2])
    np.testing.assert_array_equal(part.boxes_of(1).boxes_xyxy, train.boxes_of(2).boxes_xyxy)
    assert part.image_paths == (train.image_paths[5], train.image_paths[2])

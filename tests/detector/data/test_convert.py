"""Converting keeps boxes to the last bit, says what is lost, and never touches what is there."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from detector.data import convert as module
from detector.data.convert import convert
from detector.data.formats import detect, load_split
from detector.data.sample import write_sample_data
from search_spaces.errors import UserError

NAMES = ("coco", "voc", "yolo")


@pytest.mark.parametrize(("start", "to"), list(itertools.product(NAMES, NAMES)))
def test_there_and_back(tmp_path: Path, start: str, to: str) -> None:
    write_sample_data(tmp_path / "a", 4, 2, (64, 96), format=start)
    done = convert(tmp_path / "a", tmp_path / "b", to)
    convert(tmp_path / "b", tmp_path / "c", start)
    assert done.source_format == start
    assert detect(tmp_path / "b") == to
    for split in ("train", "val"):
        given, _ = load_split(tmp_path / "a", split)
        for folder in ("b", "c"):
            found, _ = load_split(tmp_path / folder, split)
            assert found.class_names == given.class_names
            np.testing.assert_array_equal(found.boxes_xyxy, given.boxes_xyxy)
            np.testing.assert_array_equal(found.labels, given.labels)
            np.testing.assert_array_equal(found.offsets, given.offsets)
            for one, other in zip(found.image_paths, given.image_paths):
                assert one.name == other.name
                assert one.read_bytes() == other.read_bytes()


def crowded(root: Path) -> None:
    """A COCO data set with sparse ids, a crowd, a mask area, and equal names in two splits."""
    (root / "annotations").mkdir(parents=True)
    for split, classes in (("train", {7: "cat", 3: "dog"}), ("val", {3: "dog", 9: "cow"})):
        (root / split).mkdir()
        cv2.imwrite(str(root / split / "a.png"), np.zeros((60, 80, 3), dtype=np.uint8))
        document = {
            "images": [{"id": 5, "file_name": "a.png", "height": 60, "width": 80}],
            "categories": [{"id": number, "name": name} for number, name in classes.items()],
            "annotations": [
                {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 30, 40], "area": 200, "iscrowd": 0},
                {"id": 2, "image_id": 5, "category_id": 3, "bbox": [9, 9, 40.5, 40], "area": 1620, "iscrowd": 1},
            ],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    crowded(tmp_path / "a")
    lost = {to: " | ".join(convert(tmp_path / "a", tmp_path / to, to).lost) for to in NAMES}
    assert "2 crowd or difficult boxes: the format has no place for them, they become background" in lost["yolo"]
    assert "2 iscrowd boxes are now difficult" in lost["voc"]
    for to in ("voc", "yolo"):
        for words in ("masks", "category ids", "image ids", "mask areas"):
            assert words in lost[to]
    assert "the names of 1 pictures" in lost["voc"]
    assert "category ids" not in lost["coco"]
    train, _ = load_split(tmp_path / "coco", "train")
    assert dict(zip(train.class_names, train.category_ids.tolist())) == {"dog": 3, "cat": 7, "cow": 9}
    assert train.areas.tolist() == [200, 1620]
    assert train.image_ids.tolist() == [5]
    voc, _ = load_split(tmp_path / "voc", "val", ("dog", "cat", "cow"))
    assert voc.ignore.tolist() == [False, True]
    assert voc.image_paths[0].name == "a-2.png"
    assert len(load_split(tmp_path / "yolo", "train")[0].labels) == 1


def test_pictures_that_would_not_be_read_again_are_refused(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "a", 2, 2, (64, 96))
    path = tmp_path / "a" / "annotations" / "instances_train.json"
    name = json.loads(path.read_text())["images"][0]["file_name"]
    (picture,) = (tmp_path / "a").rglob(name)
    Image.open(picture).save(picture.with_suffix(".gif"))
    picture.unlink()
    path.write_text(path.read_text().replace(name, picture.with_suffix(".gif").name))
    for to in ("voc", "yolo"):
        with pytest.raises(UserError, match=rf"gif in a data set of {to} would not be read again; convert it to JPEG"):
            convert(tmp_path / "a", tmp_path / to, to)
        assert not (tmp_path / to).exists()
    convert(tmp_path / "a", tmp_path / "coco", "coco")
    assert len(load_split(tmp_path / "coco", "train")[0]) == 2


def test_links_share_their_bytes(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "a", 2, 0, (64, 64))
    convert(tmp_path / "a", tmp_path / "b", "yolo", link=True)
    for path in load_split(tmp_path / "b", "train")[0].image_paths:
        assert path.stat().st_nlink == 2


def test_nothing_is_overwritten_or_left_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sample_data(tmp_path / "a", 2, 1, (64, 64))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("x")
    with pytest.raises(UserError, match="mine: already exists and is not empty; choose another OUT"):
        convert(tmp_path / "a", tmp_path / "mine", "voc")
    with pytest.raises(UserError, match="unknown data format 'vocs'"):
        convert(tmp_path / "a", tmp_path / "b", "vocs")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.shutil, "copy2", full)
    with pytest.raises(UserError, match="No space left on device"):
        convert(tmp_path / "a", tmp_path / "b", "voc")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "mine"]
    assert (tmp_path / "mine" / "x").read_text() == "x"


def test_data_that_training_would_refuse(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "a", 2, 0, (64, 64))
    path = tmp_path / "a" / "images" / "train" / "train_00001.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match=r"train_00001.jpg: the image file is cut short"):
        convert(tmp_path / "a", tmp_path / "b", "voc")
    assert not (tmp_path / "b").exists()

"""Every flaw is found once, with its file and place; sound data give nothing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

from detector.data.check import DataCheck, Finding, check_data
from detector.data.check.findings import KINDS, NOTES
from detector.data.check.pictures import draw_sizes, draw_worst
from detector.data.sample import write_sample_data
from search_spaces.errors import UserError
from tests.detector.data.flawed import write_flawed
from tests.detector.data.several_sets import rooms_and_pets


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> DataCheck:
    root = tmp_path_factory.mktemp("flawed")
    write_flawed(root)
    return check_data(root)


def only(found: DataCheck, kind: str) -> list[Finding]:
    return [finding for finding in (*found.problems, *found.notes) if finding.kind == kind]


@pytest.mark.parametrize(
    ("kind", "split", "where", "reason"),
    [
        ("bad-record", "train", "labels/train/d.txt:2", "expected 'class cx cy w h'"),
        ("unknown-class", "train", "labels/train/d.txt:1", "class index 7; expected 0..2"),
        ("unreadable-image", "train", "images/train/g.png", "cut short"),
        ("class-not-in-train", "val", "labels/val/v.txt:1", "class 'cow' has boxes here (1) and none in train"),
        ("leak", "val", "images/val/copy.png", "images/train/b.png in train"),
        ("duplicate-image", "train", "images/train/h.png", "images/train/a.png"),
        ("degenerate-box", "train", "labels/train/b.txt:1", "is 0 x 12 px"),
        ("no-label-file", "train", "images/train/f.png", "it trains as background"),
        ("no-boxes", "train", "images/train/e.png", "no boxes in e.txt"),
        ("label-without-image", "", "labels/train/gone.txt", "no image"),
    ],
)
def test_each_flaw_is_found_once(flawed: DataCheck, kind: str, split: str, where: str, reason: str) -> None:
    (finding,) = only(flawed, kind)
    assert finding.split == split
    assert finding.where.endswith(where)
    assert reason in finding.reason
    assert "\n" not in str(finding)


def test_boxes_outside(flawed: DataCheck) -> None:
    partly, wholly = only(flawed, "box-outside")
    assert "reaches 8 px beyond the 80x60 image; training cuts it" in partly.reason
    assert partly.where.endswith("b.txt:2")
    assert "lies outside the 80x60 image; training drops it" in wholly.reason


def test_boxes_twice(flawed: DataCheck) -> None:
    same, other = only(flawed, "duplicate-box")
    assert same.where.endswith("c.txt:3")
    assert "is that of line 1 (another 'cat'); remove one" in same.reason
    assert other.where.endswith("c.txt:4")
    assert "('cat', and this is 'dog')" in other.reason


def test_counts_are_those_of_training(flawed: DataCheck) -> None:
    train, val = flawed.splits["train"], flawed.splits["val"]
    assert (train.images, train.images_without_boxes, train.ignored) == (7, 2, 0)
    assert train.per_class == {"cat": 6, "dog": 3, "cow": 0}
    assert val.per_class == {"cat": 1, "dog": 0, "cow": 1}
    assert train.boxes == 9


def test_problems_and_notes_are_told_apart_and_sorted(flawed: DataCheck) -> None:
    assert {finding.kind for finding in flawed.notes} <= NOTES
    assert not {finding.kind for finding in flawed.problems} & NOTES
    ranks = [finding.rank for finding in flawed.problems]
    assert ranks == sorted(ranks)
    assert json.loads(json.dumps(flawed.as_json()))["problems"][0]["kind"] == flawed.problems[0].kind
    assert set(KINDS) > NOTES


def test_pictures(flawed: DataCheck, tmp_path: Path) -> None:
    sheet = draw_worst([*flawed.problems, *flawed.notes], flawed.raw)
    assert sheet is not None
    # nine pictures, three in a row; what is wrong is drawn in red
    assert sheet.size == (3 * 480, 3 * 464)
    assert (np.asarray(sheet) == (230, 30, 40)).all(axis=-1).any()
    draw_sizes(flawed.raw, tmp_path / "sizes.png")
    assert cv2.imread(str(tmp_path / "sizes.png")) is not None
    draw_sizes({}, tmp_path / "none.png")
    assert draw_worst([], flawed.raw) is None


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
def test_sound_data_have_no_problems(tmp_path: Path, name: str) -> None:
    write_sample_data(tmp_path / "d", 8, 8, (64, 64), format=name)
    found = check_data(tmp_path / "d")
    assert found.format == name
    assert found.problems == ()


def test_coco_and_voc_mistakes(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "coco", 3, 1, (64, 96), format="coco")
    path = tmp_path / "coco" / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    document["images"][0]["height"] = 80
    document["annotations"] += [
        {"id": 901, "image_id": 77, "category_id": 1, "bbox": [1, 2, 9, 9]},
        {"id": 902, "image_id": 1, "category_id": 55, "bbox": [1, 2, 9, 9]},
        {"id": 903, "image_id": 1, "category_id": 1, "bbox": [1, 2, 9]},
    ]
    path.write_text(json.dumps(document))
    (tmp_path / "coco" / "images" / "train" / "train_00002.jpg").unlink()
    cv2.imwrite(str(tmp_path / "coco" / "images" / "train" / "new.jpg"), np.zeros((8, 8, 3), dtype=np.uint8))
    found = check_data(tmp_path / "coco")
    for kind, where, reason in (
        ("size-mismatch", "train_00000.jpg", "is 96x64 but its annotations say 96x80"),
        ("unknown-image", "annotation 901", "image_id 77"),
        ("unknown-class", "annotation 902", "category_id 55"),
        ("bad-record", "annotation 903", "malformed"),
        ("missing-image", "train_00002.jpg", "named in instances_train.json"),
        ("unlisted-image", "new.jpg", "no split lists this image"),
    ):
        (finding,) = only(found, kind)
        assert finding.where.endswith(where)
        assert reason in finding.reason
    write_sample_data(tmp_path / "voc", 3, 1, (64, 64), format="voc")
    (tmp_path / "voc" / "Annotations" / "train_00001.xml").write_text("<annotation>\n<x></annotation>")
    (tmp_path / "voc" / "Annotations" / "train_00002.xml").unlink()
    found = check_data(tmp_path / "voc")
    assert only(found, "bad-record")[0].where.endswith("train_00001.xml:2")
    assert only(found, "missing-annotation")[0].where.endswith("train_00002.xml")


def test_a_split_that_cannot_be_read_is_a_finding_and_no_layout_an_error(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "d", 2, 2, (64, 64))
    (tmp_path / "d" / "annotations" / "instances_val.json").write_text("{")
    found = check_data(tmp_path / "d")
    assert [finding.split for finding in only(found, "unreadable-annotations")] == ["val"]
    assert list(found.splits) == ["train"]
    with pytest.raises(UserError, match="no such folder"):
        check_data(tmp_path / "nowhere")


def test_splits_that_training_refuses_as_wholes(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "d", 3, 3, (64, 64), format="voc")
    lists = tmp_path / "d" / "ImageSets" / "Main"
    (lists / "val.txt").rename(lists / "test.txt")
    found = check_data(tmp_path / "d")
    (note,) = only(found, "missing-split")
    assert (note.split, note.kind in NOTES) == ("val", True)
    assert "no 'val' split (found: train, test); training needs one" in note.reason
    (lists / "test.txt").rename(lists / "val.txt")
    for path in (tmp_path / "d" / "Annotations").glob("val*"):
        path.write_text("<annotation/>")
    found = check_data(tmp_path / "d")
    (problem,) = only(found, "split-without-boxes")
    assert problem in found.problems
    assert problem.split == "val"
    assert "3 images but not one box; training refuses it" in problem.reason


def test_a_split_of_crowds_alone_has_no_box_to_learn(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "d", 3, 3, (64, 64))
    path = tmp_path / "d" / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    for entry in document["annotations"]:
        entry["iscrowd"] = 1
    path.write_text(json.dumps(document))
    found = check_data(tmp_path / "d")
    (problem,) = only(found, "split-without-boxes")
    crowds = len(document["annotations"])
    assert problem.split == "train"
    assert f"3 images but not one box ({crowds} crowd or difficult ones aside)" in problem.reason


def test_a_class_name_that_occurs_twice(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "d", 3, 3, (64, 64))
    path = tmp_path / "d" / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    before = check_data(tmp_path / "d").splits["train"].per_class
    document["categories"].append({**document["categories"][0], "id": 99})
    path.write_text(json.dumps(document))
    found = check_data(tmp_path / "d")
    (problem,) = found.problems
    assert problem.kind == "duplicate-class"
    assert "two classes are named 'disc'; expected every name once" in problem.reason
    assert found.splits["train"].per_class == before


def test_class_names_alike_and_boxes_in_fractions(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "d", 3, 3, (64, 64))
    path = tmp_path / "d" / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    document["categories"].append({"id": 99, "name": "Disc "})
    for box in document["annotations"]:
        box["bbox"] = [side / 64 for side in box["bbox"]]
    path.write_text(json.dumps(document))
    found = check_data(tmp_path / "d")
    (note,) = [note for note in found.notes if note.kind == "similar-classes"]
    assert "'disc', 'Disc' are different classes" in note.reason
    degenerate = [problem.reason for problem in found.problems if problem.kind == "degenerate-box"]
    assert len(degenerate) == len(document["annotations"])
    assert all("multiply them by their images' width and height" in reason for reason in degenerate)


def test_damage_within_a_jpeg(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "d", 2, 2, (320, 320))
    path = tmp_path / "d" / "images" / "train" / "train_00001.jpg"
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + b"\xff\xd9" + data[half + 2 :])
    (problem,) = only(check_data(tmp_path / "d"), "damaged-image")
    assert (problem.kind, problem.split, problem.where) == ("damaged-image", "train", str(path))
    assert "Corrupt JPEG data" in problem.reason


def test_several_processes_find_the_same(tmp_path: Path, flawed: DataCheck) -> None:
    write_flawed(tmp_path)
    try:
        kinds = [finding.kind for finding in check_data(tmp_path, workers=2).problems]
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert kinds == [finding.kind for finding in flawed.problems]


def test_real_data(real_data: Path) -> None:
    found = check_data(real_data / "bccd")
    assert [finding.where.rsplit("/")[-1] for finding in found.problems] == [
        "BloodImage_00343.xml: object 4",
        "BloodImage_00338.xml: object 13",
    ]


def test_a_rule_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    """Not as many unreadable splits as there are."""
    path = rooms_and_pets(tmp_path)
    assert set(check_data(path).splits) == {"train", "val"}
    path.write_text(path.read_text().replace("pets\n    rename", "pets\n    drop: [catt]\n    rename"))
    with pytest.raises(UserError, match=r"general.yaml: .*catt"):
        check_data(path)

"""COCO: what is read, and bad input in one line that says what, where, what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detector.data.formats import get, load_split
from search_spaces.errors import UserError
from tests.detector.data.formats.written import coco, message, picture


def test_coco_maps_sparse_ids_in_ascending_order(tmp_path: Path) -> None:
    coco(tmp_path)
    found, report = load_split(tmp_path, "train")
    assert found.class_names == ("dog", "cat")
    assert found.category_ids.tolist() == [3, 9]
    assert found.labels.tolist() == [1]
    assert found.ignore.tolist() == [True]
    assert found.areas.tolist() == [50.0]
    assert report.ignored == 1
    assert "1 images" in str(report)


def test_coco_beside_the_pictures(tmp_path: Path) -> None:
    path = coco(tmp_path)
    picture(tmp_path / "valid" / "a.jpg")
    path.rename(tmp_path / "valid" / "_annotations.coco.json")
    assert get("coco").splits(tmp_path) == ["val"]
    assert load_split(tmp_path, "val")[0].image_paths[0] == tmp_path / "valid" / "a.jpg"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": []}, "no images"),
        ({"images": [{"id": 7, "file_name": "b.jpg", "height": 32, "width": 48}]}, "missing image b.jpg"),
        ({"images": [{"id": 7, "height": 32, "width": 48}]}, r"images\[0\] has no 'file_name'"),
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 9, "bbox": [1, 2]}]}, "annotation 4: malformed"),
        ({"annotations": [{"id": 4, "image_id": 8, "category_id": 9, "bbox": [1, 2, 3, 4]}]}, "image_id 8"),
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}]}, "category_id 1"),
        ({"annotations": [{"id": 4, "image_id": 7, "caption": "x"}]}, "no bbox"),
        ({"categories": []}, "'categories' is empty"),
        (
            {"categories": [{"id": [1], "name": "cat"}]},
            r"categories\[0\] has the id \[1\]; expected an integer or a text",
        ),
        ({"categories": [{"id": 1, "name": None}]}, r"categories\[0\] has no 'name'"),
        ({"categories": [{"id": 1, "name": "\n "}]}, r"categories\[0\] has the name .*; expected a class name"),
        ({"categories": [{"id": 9, "name": "cat"}, {"id": 9, "name": "dog"}]}, "the id 9 occurs twice in 'categories'"),
        ({"categories": [{"id": 9, "name": "cat"}, {"id": 3, "name": "cat"}]}, "two classes are named 'cat'"),
        ({"images": [3]}, r"images\[0\] has no 'id'"),
        (
            {"images": [{"id": 7, "file_name": "a.jpg", "height": "tall", "width": 48}]},
            r"images\[0\] has the height 'tall'; expected a number of pixels",
        ),
        (
            {"images": [{"id": 7, "file_name": "a.jpg", "height": 32, "width": 48}] * 2},
            "occurs twice in 'images' ",
        ),
        (
            {"annotations": [{"id": 4, "image_id": 7, "category_id": 9, "bbox": ["x", 2, 3, 4]}]},
            "annotation 4: malform",
        ),
        ({"annotations": [{"id": 4, "image_id": [7], "category_id": 9, "bbox": [1, 2, 3, 4]}]}, "annotation 4: malfor"),
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 9, "bbox": [1, 2, 10**400, 4]}]}, "4: malformed"),
        ({"annotations": [4]}, "no bbox"),
        ({"annotations": {"1": 2}}, "no 'annotations' list"),
        ({"categories": "cat"}, "no 'categories' list"),
    ],
)
def test_coco_mistakes(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    coco(tmp_path, **changes)
    with pytest.raises(UserError, match=expected):
        load_split(tmp_path, "train")


def test_coco_ids_may_be_whole_floats(tmp_path: Path) -> None:
    coco(tmp_path, annotations=[{"id": 1, "image_id": 7.0, "category_id": 9.0, "bbox": [1, 2, 10, 10]}])
    assert load_split(tmp_path, "train")[0].labels.tolist() == [1]


def test_coco_that_is_no_object(tmp_path: Path) -> None:
    path = coco(tmp_path)
    path.write_text("[1, 2]")
    assert "expected a COCO instances file with images" in message(tmp_path)


def test_coco_json_that_does_not_parse_names_the_line(tmp_path: Path) -> None:
    path = coco(tmp_path)
    path.write_text('{\n"images": [,]}')
    assert f"{path}:2" in message(tmp_path)


def test_coco_says_what_is_malformed(tmp_path: Path) -> None:
    coco(tmp_path, annotations=[{"id": 4, "image_id": 7, "category_id": 9, "bbox": [1, 2, 3]}])
    assert "annotation 4: malformed (image_id 7, category_id 9, bbox [1, 2, 3]); expected ids" in message(tmp_path)


@pytest.mark.parametrize(
    ("box", "kept", "clipped", "dropped"),
    [
        ([-10, -10, 200, 200], [[0, 0, 48, 32]], 1, 0),
        ([500, 500, 10, 10], [], 0, 1),
        ([5, 5, 0, 10], [], 0, 1),
        ([30, 30, -10, -10], [], 0, 1),
        ([float("nan"), 5, 5, 5], [], 0, 1),
        ([5, 5, float("inf"), 5], [], 0, 1),
        ([5, 1e300, 5, 5], [], 0, 1),
    ],
)
def test_boxes_outside_and_degenerate_are_counted(
    tmp_path: Path, box: list[float], kept: list[list[float]], clipped: int, dropped: int
) -> None:
    coco(tmp_path, annotations=[{"id": 1, "image_id": 7, "category_id": 9, "bbox": box}])
    found, report = load_split(tmp_path, "train")
    assert found.boxes_xyxy.tolist() == kept
    assert (report.boxes, report.clipped, report.dropped) == (len(kept), clipped, dropped)
    assert f"{clipped} boxes clipped at the border, {dropped} dropped" in str(report)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = coco(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load_split(tmp_path, "train")[0]) == 1


def test_other_classes_are_matched_by_name_with_a_warning(tmp_path: Path) -> None:
    coco(tmp_path)
    with pytest.warns(UserWarning, match=r"train \(COCO\): its classes .* \(missing here: cow\); matched by name"):
        found, _ = load_split(tmp_path, "train", ("cow", "cat", "dog"))
    assert found.labels.tolist() == [1]
    assert found.category_ids.tolist() == [10, 9, 3]
    with pytest.raises(UserError, match=r"train2017.json: annotation 1: class 'cat' is not among the training classes"):
        load_split(tmp_path, "train", ("dog",))

"""Layouts, labels and XML as people write them: corners, folders' case, splits that are not there, keypoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.data.annotations import Annotations
from detector.data.check import check_data
from detector.data.formats import detect, load_split
from search_spaces.errors import UserError
from tests.detector.data.tool_exports import BOX, HEIGHT, WIDTH, picture, text, voc_xml, yolo_line

X0, Y0, X1, Y1 = BOX
YAML = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


def loaded(root: Path, split: str = "train") -> Annotations:
    return load_split(root, split)[0]


def yolo_set(root: Path, pictures: str = "images", labels: str = "labels", line: str | None = None) -> None:
    for split in ("train", "val"):
        picture(root / pictures / split / "p0.png")
        text(root / labels / split / "p0.txt", line or yolo_line("p0.png"))
    text(root / "data.yaml", YAML)


def test_xml_in_a_namespace(tmp_path: Path) -> None:
    picture(tmp_path / "p0.png")
    text(tmp_path / "p0.xml", voc_xml("p0.png").replace("<annotation>", '<annotation xmlns="http://example.org/voc">'))
    assert loaded(tmp_path, "all").boxes_xyxy.tolist() == [list(map(float, BOX))]


@pytest.mark.parametrize("other", [{X0: X1, X1: X0}, {Y0: Y1, Y1: Y0}, {X0: X1, X1: X0, Y0: Y1, Y1: Y0}])
@pytest.mark.parametrize("form", ["voc", "csv"])
def test_boxes_drawn_from_another_corner(tmp_path: Path, form: str, other: dict[int, int]) -> None:
    sides = [other.get(side, side) for side in BOX]
    picture(tmp_path / "p0.png")
    if form == "voc":
        tags = zip(("xmin", "ymin", "xmax", "ymax"), sides)
        box = "".join(f"<{tag}>{side}</{tag}>" for tag, side in tags)
        text(tmp_path / "p0.xml", f"<annotation><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>")
    else:
        text(tmp_path / "t.csv", f"filename,class,xmin,ymin,xmax,ymax\np0.png,cat,{','.join(map(str, sides))}\n")
    with pytest.warns(UserWarning, match="1 boxes whose corners are written the other way round"):
        assert loaded(tmp_path, "all").boxes_xyxy.tolist() == [list(map(float, BOX))]


@pytest.mark.parametrize(
    ("pictures", "labels"),
    [("Images", "Labels"), ("IMAGES", "LABELS"), ("images", "Labels"), ("image", "label"), ("imgs", "labels")],
)
def test_yolo_folders_in_any_case_and_by_their_other_names(tmp_path: Path, pictures: str, labels: str) -> None:
    yolo_set(tmp_path, pictures, labels)
    if pictures.lower() != "images":
        text(tmp_path / "data.yaml", YAML.replace("images", pictures))
    for split in ("train", "val"):
        assert len(loaded(tmp_path, split).boxes_xyxy) == 1


def test_a_split_that_is_not_there_is_not_the_whole_set(tmp_path: Path) -> None:
    yolo_set(tmp_path)
    text(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnames: [cat, dog]\n")
    with pytest.raises(UserError, match=r"train/images: no such folder or list of images"):
        loaded(tmp_path)


def test_folders_above_a_split_may_be_of_another_machine(tmp_path: Path) -> None:
    yolo_set(tmp_path)
    text(
        tmp_path / "data.yaml",
        "train: /home/train/pets/images/train\nval: D:\\x\\images\\val\nnames: [cat, dog]\n",
    )
    assert [path.parent.name for path in (*loaded(tmp_path).image_paths, *loaded(tmp_path, "val").image_paths)] == [
        "train",
        "val",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.4 0.4 0.3 0.3 2 0.4 0.4 1", r"a box and its keypoints; say kpt_shape: \[2, 3\] in data.yaml"),
        ("0 0.5 0.5 0.4 0.4 0.3 0.3 2 0.4 0.4 1 0 0 0", r"say kpt_shape: \[3, 3\]"),
        ("0 0.5 0.5 0.4 0.4 0.93", "take the score, or the number of the track, away"),
    ],
)
def test_label_lines_that_are_more_than_a_box(tmp_path: Path, line: str, expected: str) -> None:
    yolo_set(tmp_path, line=line)
    with pytest.raises(UserError, match=expected):
        loaded(tmp_path)


def test_a_polygon_that_ends_at_the_border_is_no_keypoints(tmp_path: Path) -> None:
    yolo_set(tmp_path, line="0 0.25 0.25 0.5 0.25 0.5 0.75 1 0.75 0.25 1")
    assert loaded(tmp_path).boxes_xyxy.tolist() == [[0.25 * WIDTH, 0.25 * HEIGHT, WIDTH, HEIGHT]]


def test_a_set_without_any_class_is_checked(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / split / "p0.png")
        text(tmp_path / split / "p0.xml", f"<annotation><size><width>{WIDTH}</width></size></annotation>")
    assert [finding.kind for finding in check_data(tmp_path).problems].count("split-without-boxes") == 2


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("train.json", {"info": {}, "categories": {"label": {"labels": []}}, "items": [{"id": "a", "annotations": [{}],
         "image": {"path": "a.png"}}]}, "JSON of an unknown kind: export as COCO instead"),
        ("output.manifest", '{"source-ref": "s3://b/a.png"}\n', "JSON lines: export as COCO, VOC or YOLO instead"),
        ("train.json.gz", "x", "an archive: unpack it first"),
    ],
)  # fmt: skip
def test_exports_that_are_not_read_name_the_next_step(
    tmp_path: Path, name: str, content: object, expected: str
) -> None:
    picture(tmp_path / "a.png")
    text(tmp_path / "annotations" / name, content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match="unknown data layout") as caught:
        detect(tmp_path)
    assert expected in str(caught.value)

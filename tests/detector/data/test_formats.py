"""Bad input, format by format: one line that says what, where, what was expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detector.data.formats import detect, get, load_split
from search_spaces.errors import UserError


def picture(path: Path, size: tuple[int, int] = (32, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((*size, 3), dtype=np.uint8))


def coco(root: Path, **changes: Any) -> Path:
    document: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 32, "width": 48}],
        "categories": [{"id": 9, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 9, "bbox": [1, 2, 10, 10], "area": 50, "iscrowd": 1}],
    }
    document.update(changes)
    picture(root / "train2017" / "a.jpg")
    path = root / "annotations" / "instances_train2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document))
    return path


def yolo(root: Path, line: str, config: str = "train: images/train\nnames: {0: cat, 1: dog}\n") -> Path:
    picture(root / "images" / "train" / "a.jpg")
    label = root / "labels" / "train" / "a.txt"
    label.parent.mkdir(parents=True)
    label.write_text(line)
    (root / "data.yaml").write_text(config)
    return label


def voc(root: Path, xml: str) -> None:
    picture(root / "JPEGImages" / "a.jpg")
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    (root / "Annotations" / "a.xml").write_text(xml)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\n")


def message(root: Path, split: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        load_split(root, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 .5 .5 .2 .2\n2 .5 .5 .2 .2", "a.txt:2: class index 2; expected 0..1"),
        ("0 .5 .5 .2", "a.txt:1: '0 .5 .5 .2'; expected 'class cx cy w h'"),
        ("cat .5 .5 .2 .2", "expected 'class cx cy w h'"),
        ("0 100 50 20 20", "a.txt:1: 100 is not normalised"),
        ("0.5 .5 .5 .2 .2", "a.txt:1: class index 0.5; expected 0..1"),
        ("nan .5 .5 .2 .2", "expected 'class cx cy w h'"),
    ],
)
def test_yolo_bad_lines(tmp_path: Path, line: str, expected: str) -> None:
    yolo(tmp_path, line)
    assert expected in message(tmp_path)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("train: images/train\n", "no class names"),
        ("train: images/train\nnames: [cat, dog]\nnc: 3\n", "nc is 3 but 'names' lists 2"),
        ("train: images/train\nnames: {1: cat, 2: dog}\n", "expected 0..1"),
        ("train: images/nowhere\nnames: [cat, dog]\n", "no such folder"),
        ("train: [\n", "does not parse"),
        ("train: images/train\nnames: [cat, '']\n", "the name of class 1 is ''; expected a class name"),
        ("train: images/train\nnames: [cat, [dog]]\n", "the name of class 1 is"),
        ("train: images/train\nnames: [cat]\nnc: x\n", "nc is 'x'; expected the number of classes"),
        ("train: {a: b}\nnames: [cat]\n", "train is {'a': 'b'}; expected a folder, a .txt list"),
        ('train: "images\\train"\nnames: [cat]\n', "backslashes in double quotes are escapes"),
        ('train: "images\\special"\nnames: [cat]\n', "backslashes in double quotes are escapes"),
        ("- train\n", "expected keys train, val and names; found list"),
        ("train: images/train\nnames: [cat, cat]\n", "two classes are named 'cat'"),
        ("val: images/train\nnames: [cat, dog]\n", "no 'train' split; found: val"),
    ],
)
def test_yolo_bad_config(tmp_path: Path, config: str, expected: str) -> None:
    yolo(tmp_path, "0 .5 .5 .2 .2", config)
    assert expected in message(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    ("config", "entries"),
    [
        ("path: {root}\ntrain: images/train\nnames: [cat, dog]\nnc: 2\n", 2),
        ("path: data\ntrain: images/train\nval: images/train\nnames: {{0: cat, 1: dog}}\n", 2),
        ("path: ../moved/elsewhere\ntrain: images/train\nnames: [cat, dog]\n", 2),
        ("train: [images/train, images/more]\nnames: [cat, dog]\n", 3),
        ("train: list.txt\nnames: [cat, dog]\n", 2),
        ("train: here.txt\nnames: [cat, dog]\n", 1),
        ("path: .\ntrain: [list.txt, images/more]\nnc: 2\n", 3),
    ],
)
def test_yolo_configs_of_that_ecosystem(
    tmp_path: Path, config: str, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    yolo(root, "1 .5 .5 .2 .2\n", config.format(root=root))
    picture(root / "images" / "train" / "b.jpg")
    picture(root / "images" / "more" / "c.jpg")
    (root / "list.txt").write_text(f"./images/train/a.jpg\n\n{root}/images/train/b.jpg\n")
    (root / "here.txt").write_text("data/images/train/a.jpg\n")
    monkeypatch.chdir(tmp_path)
    found, _ = load_split(root / "data.yaml", "train")
    assert len(found) == entries
    assert found.labels.tolist() == [1]
    assert found.class_names == (
        ("class_0", "class_1") if "nc: 2\n" in config and "names" not in config else ("cat", "dog")
    )


def test_yolo_pictures_of_other_types_are_named(tmp_path: Path) -> None:
    yolo(tmp_path, "0 0.5 0.5 0.2 0.2")
    (tmp_path / "images" / "train" / "b.gif").write_bytes(b"GIF89a")
    assert len(load_split(tmp_path, "train")[0]) == 1, "without labels it is no part of the data"
    (tmp_path / "labels" / "train" / "b.txt").write_text("1 0.5 0.5 0.2 0.2")
    with pytest.raises(UserError, match=r"b\.gif: labelled, but not of a type that is read; expected \.bmp"):
        load_split(tmp_path, "train")


@pytest.mark.parametrize("names", ["{'1': dog, '0': cat}", "{1: dog, 0: cat}", "[cat, dog]"])
def test_yolo_names_in_any_order_and_quoted(tmp_path: Path, names: str) -> None:
    yolo(tmp_path, "1 .5 .5 .2 .2", f"train: images/train\nnames: {names}\n")
    found, _ = load_split(tmp_path, "train")
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [1]


def test_yolo_exports_of_a_folder_per_split(tmp_path: Path) -> None:
    config = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 1\nnames: ['cat']\n"
    for split in ("train", "valid"):
        picture(tmp_path / split / "images" / "a.jpg")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / "a.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "data.yaml").write_text(config)
    for split, folder in (("train", "train"), ("val", "valid")):
        found, _ = load_split(tmp_path, split)
        assert found.image_paths == (tmp_path / folder / "images" / "a.jpg",)
        assert found.labels.tolist() == [0]


def test_yolo_equal_names_in_two_folders(tmp_path: Path) -> None:
    yolo(tmp_path, "0 .5 .5 .2 .2\n", "train: [images/train, images/more]\nnames: [cat, dog]\n")
    picture(tmp_path / "images" / "more" / "a.jpg")
    (tmp_path / "labels" / "more").mkdir()
    (tmp_path / "labels" / "more" / "a.txt").write_text("1 .5 .5 .2 .2\n1 .2 .2 .2 .2\n")
    found, _ = load_split(tmp_path, "train")
    assert [path.parent.name for path in found.image_paths] == ["train", "more"]
    assert found.labels.tolist() == [0, 1, 1]


def test_yolo_keypoints_are_passed_over(tmp_path: Path) -> None:
    keypoints = " ".join(["0.9 0.9"] * 4)
    yolo(tmp_path, f"1 .5 .5 .5 .5 {keypoints}\n", "train: images/train\nnames: [cat, dog]\nkpt_shape: [4, 2]\n")
    np.testing.assert_allclose(load_split(tmp_path, "train")[0].boxes_xyxy, [[12, 8, 36, 24]])


def test_yolo_split_that_is_one_image(tmp_path: Path) -> None:
    yolo(tmp_path, "", "train: images/train/a.jpg\nnames: [cat]\n")
    assert "is one image; expected a folder of images or a .txt list" in message(tmp_path)


def test_yolo_image_that_cannot_be_read(tmp_path: Path) -> None:
    yolo(tmp_path, "0 .5 .5 .2 .2")
    (tmp_path / "images" / "train" / "a.jpg").write_bytes(b"no jpeg")
    assert "a.jpg: not a readable image; expected JPEG" in message(tmp_path)


def test_yolo_polygon_becomes_its_bounding_box(tmp_path: Path) -> None:
    yolo(tmp_path, "1 .25 .25 .5 .75 .75 .5\n")
    found, _ = load_split(tmp_path / "data.yaml", "train")
    np.testing.assert_allclose(found.boxes_xyxy, [[12, 8, 36, 24]])
    assert found.labels.tolist() == [1]


def test_yolo_exported_parent_paths_resolve(tmp_path: Path) -> None:
    yolo(tmp_path, "0 .5 .5 .2 .2", "train: ../images/train\nnames: [cat]\n")
    assert len(load_split(tmp_path, "train")[0]) == 1


def test_voc_broken_xml_names_file_and_line(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation>\n<size>\n</annotation>")
    assert "a.xml:3: the XML does not parse" in message(tmp_path)


def test_voc_without_size_reads_the_header_and_clips(tmp_path: Path) -> None:
    box = "<bndbox><xmin>-4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>99</ymax></bndbox>"
    thin = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>4</xmax><ymax>9</ymax></bndbox>"
    objects = f"<object><name>x</name><difficult>1</difficult>{box}</object><object><name>x</name>{thin}</object>"
    voc(tmp_path, f"<annotation>{objects}</annotation>")
    found, report = load_split(tmp_path, "train")
    assert found.sizes_hw.tolist() == [[32, 48]]
    assert found.boxes_xyxy.tolist() == [[0, 2, 20, 32]]
    assert found.ignore.tolist() == [True]
    assert (report.clipped, report.dropped) == (1, 1)


def test_voc_beside_the_pictures(tmp_path: Path) -> None:
    box = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>9</ymax></bndbox>"
    for split, name in (("train", "b"), ("valid", "a")):
        picture(tmp_path / split / f"{name}.jpg")
        xml = f"<annotation><object><name>{name}</name>{box}</object></annotation>"
        (tmp_path / split / f"{name}.xml").write_text(xml)
    assert detect(tmp_path) == "voc"
    assert get("voc").splits(tmp_path) == ["train", "val"]
    found, _ = load_split(tmp_path, "val")
    assert found.image_paths == (tmp_path / "valid" / "a.jpg",)
    assert found.class_names == ("b", "a")
    with pytest.raises(UserError, match=r"valid/a.xml: object 1: class 'a' is not among the training classes; .*b"):
        load_split(tmp_path, "val", ("b",))


def test_voc_names_with_spaces_and_columns(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation/>")
    picture(tmp_path / "JPEGImages" / "my picture.jpg")
    (tmp_path / "Annotations" / "my picture.xml").write_text("<annotation/>")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a  1\nmy picture\n")
    found, _ = load_split(tmp_path, "train")
    assert [path.name for path in found.image_paths] == ["a.jpg", "my picture.jpg"]


def test_voc_class_that_the_list_lacks(tmp_path: Path) -> None:
    box = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>9</ymax></bndbox>"
    voc(tmp_path, f"<annotation><object><name>dgo</name>{box}</object></annotation>")
    (tmp_path / "classes.txt").write_text("dog\n")
    assert "a.xml: object 1: class 'dgo' is not in the list of classes; did you mean dog" in message(tmp_path)


@pytest.mark.parametrize(
    ("tag", "ignored"),
    [
        ("", False),
        ("<difficult/>", False),
        ("<difficult>0</difficult>", False),
        ("<difficult> 1 </difficult>", True),
        ("<difficult>True</difficult>", True),
        ("<difficult>Unspecified</difficult>", False),
    ],
)
def test_voc_difficult_as_tools_write_it(tmp_path: Path, tag: str, ignored: bool) -> None:
    box = "<bndbox><xmin>4</xmin><ymin>2</ymin><xmax>20</xmax><ymax>9</ymax></bndbox>"
    voc(tmp_path, f"<annotation><object><name>x</name>{tag}{box}</object></annotation>")
    assert load_split(tmp_path, "train")[0].ignore.tolist() == [ignored]


def test_voc_difficult_that_is_neither(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation><object><name>x</name><difficult>hard</difficult></object></annotation>")
    (tmp_path / "Annotations" / "a.xml").write_text(
        (tmp_path / "Annotations" / "a.xml").read_text().replace("</difficult>", "</difficult><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>")
    )  # fmt: skip
    assert "a.xml: object 1: <difficult> is 'hard'; expected 0 or 1" in message(tmp_path)


def test_voc_lists_with_file_names(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation/>")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a.jpg\n")
    assert load_split(tmp_path, "train")[0].image_paths == (tmp_path / "JPEGImages" / "a.jpg",)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("b.jpg\n")
    assert "no annotation file for an image of the split" in message(tmp_path)


def test_a_data_set_further_down_is_named(tmp_path: Path) -> None:
    voc(tmp_path / "VOCdevkit" / "VOC2007", "<annotation/>")
    with pytest.raises(
        UserError, match=r"unknown data layout; .*VOCdevkit/VOC2007 looks like one, name that; expected"
    ):
        detect(tmp_path)


def test_coco_says_what_is_malformed(tmp_path: Path) -> None:
    coco(tmp_path, annotations=[{"id": 4, "image_id": 7, "category_id": 9, "bbox": [1, 2, 3]}])
    assert "annotation 4: malformed (image_id 7, category_id 9, bbox [1, 2, 3]); expected ids" in message(tmp_path)


def test_voc_number_that_is_none(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation><object><name>x</name><bndbox><xmin>a</xmin></bndbox></object></annotation>")
    assert "<bndbox/xmin> is 'a'" in message(tmp_path)


def test_voc_box_that_is_missing(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation><object><name>x</name></object></annotation>")
    assert "a.xml: object 1: <bndbox/xmin> is missing; expected a number of pixels" in message(tmp_path)


def test_voc_object_without_a_name_and_image_without_a_file(tmp_path: Path) -> None:
    voc(tmp_path, "<annotation><object/></annotation>")
    assert "a.xml: object 1: an object has no name" in message(tmp_path)
    (tmp_path / "Annotations" / "a.xml").unlink()
    assert "a.xml: no annotation file for an image of the split" in message(tmp_path)


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


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = coco(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load_split(tmp_path, "train")[0]) == 1


def test_folders_of_no_known_layout(tmp_path: Path) -> None:
    assert "is empty; expected one of VOC" in message(tmp_path)
    (tmp_path / "notes.md").write_text("x")
    assert "unknown data layout; found neither pictures nor annotations; expected one of VOC" in message(tmp_path)
    assert "no such folder" in message(tmp_path / "missing")
    assert "unknown split 'vall'; did you mean val" in message(tmp_path, "vall")
    with pytest.raises(UserError, match=r"unknown data format 'vocs'; did you mean .*voc"):
        get("vocs")


def test_other_classes_are_matched_by_name_with_a_warning(tmp_path: Path) -> None:
    coco(tmp_path)
    with pytest.warns(UserWarning, match=r"train \(COCO\): its classes .* \(missing here: cow\); matched by name"):
        found, _ = load_split(tmp_path, "train", ("cow", "cat", "dog"))
    assert found.labels.tolist() == [1]
    assert found.category_ids.tolist() == [10, 9, 3]
    with pytest.raises(UserError, match=r"train2017.json: annotation 1: class 'cat' is not among the training classes"):
        load_split(tmp_path, "train", ("dog",))


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

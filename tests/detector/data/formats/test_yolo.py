"""YOLO: what is read, and bad input in one line that says what, where, what was expected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.formats import load_split
from search_spaces.errors import UserError
from tests.detector.data.formats.written import message, picture, yolo


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

"""COCO, VOC and YOLO files as people and tools really write them: ids, sizes, masks, paths."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from detector.data.annotations import Annotations
from detector.data.formats import load_split
from detector.data.formats._masks import mask_box
from detector.data.formats.coco import write as write_coco
from search_spaces.errors import UserError
from tests.detector.data.tool_exports import BOX, HEIGHT, WIDTH, coco, picture, text

FILES = ("p0.png", "p1.png")


def coco_set(root: Path, **changes: Any) -> dict[str, Any]:
    document = coco(FILES)
    document.update(changes)
    for name in FILES:
        picture(root / "images/train" / name)
    text(root / "annotations/train.json", document)
    return document


def loaded(root: Path, split: str = "train") -> Annotations:
    return load_split(root, split)[0]


def assert_two_boxes(found: Annotations) -> None:
    assert [path.name for path in found.image_paths] == list(FILES)
    assert found.boxes_xyxy.tolist() == [list(map(float, BOX))] * 2
    assert found.sizes_hw.tolist() == [[HEIGHT, WIDTH]] * 2
    assert [found.class_names[label] for label in found.labels] == ["cat", "dog"]


@pytest.mark.parametrize(
    "rename", [lambda i: f"train_{i:07d}_v", str, float, lambda i: i + 2**70, lambda i: -(2**63) + i, lambda i: f"0{i}"]
)
def test_coco_ids_of_any_kind(tmp_path: Path, rename: Any) -> None:
    document = coco(FILES)
    for entry in document["images"]:
        entry["id"] = rename(entry["id"])
    for entry in document["annotations"]:
        entry["image_id"] = rename(entry["image_id"])
        entry["id"] = rename(entry["id"])
    coco_set(tmp_path, **document)
    found = loaded(tmp_path)
    assert_two_boxes(found)
    write_coco(tmp_path / "again", "train", found)
    again = json.loads((tmp_path / "again/annotations/instances_train.json").read_text())
    assert len({entry["id"] for entry in again["images"]}) == 2


def test_coco_category_ids_beyond_64_bits_keep_their_order_and_are_said(tmp_path: Path) -> None:
    document = coco(FILES)
    for entry in document["categories"]:
        entry["id"] = 2**70 - entry["id"]
    for entry in document["annotations"]:
        entry["category_id"] = 2**70 - entry["category_id"]
    coco_set(tmp_path, **document)
    with pytest.warns(UserWarning, match="category ids are no 64-bit whole numbers; the classes are numbered from 1"):
        found = loaded(tmp_path)
    assert found.class_names == ("dog", "cat")
    assert found.category_ids.tolist() == [1, 2]
    assert [found.class_names[label] for label in found.labels] == ["cat", "dog"]


def test_coco_ids_as_text_and_number_are_one(tmp_path: Path) -> None:
    document = coco(FILES)
    for entry in document["annotations"]:
        entry.update(image_id=str(entry["image_id"]), category_id=f"{entry['category_id']}", iscrowd="0")
    coco_set(tmp_path, **document)
    found = loaded(tmp_path)
    assert_two_boxes(found)
    assert not found.ignore.any()


def test_coco_id_that_no_image_has_is_shown_as_written(tmp_path: Path) -> None:
    document = coco(FILES)
    document["annotations"][0]["image_id"] = "nobody"
    coco_set(tmp_path, **document)
    with pytest.raises(UserError, match=r"annotation 0: image_id 'nobody', which 'images' lacks"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    "size",
    [
        {},
        {"width": None, "height": None},
        {"width": 80.0, "height": "60"},
        {"width": 80.5, "height": 60},
        {"width": 0, "height": 0},
    ],
)
def test_coco_sizes_that_are_missing_come_from_the_picture(tmp_path: Path, size: dict[str, Any]) -> None:
    document = coco(FILES)
    for entry in document["images"]:
        del entry["width"], entry["height"]
        entry.update(size)
    coco_set(tmp_path, **document)
    assert_two_boxes(loaded(tmp_path))


@pytest.mark.parametrize("bbox", ["absent", [], None])
def test_coco_boxes_from_polygons(tmp_path: Path, bbox: Any) -> None:
    document = coco(FILES)
    x0, y0, x1, y1 = BOX
    for entry in document["annotations"]:
        entry.update(segmentation=[[x0, y0, x1, y0, x1, y1], [x0, y1, x1, y1, x0, y0]], bbox=bbox)
        if bbox == "absent":
            del entry["bbox"]
    coco_set(tmp_path, **document)
    with pytest.warns(UserWarning, match="2 annotations without a box: the box around the mask is taken"):
        assert_two_boxes(loaded(tmp_path))


@pytest.mark.parametrize("seed", range(20))
def test_boxes_of_run_lengths_are_those_of_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(3, 40, 2).tolist()
    mask = np.zeros((height, width), np.uint8, order="F")
    for _ in range(int(rng.integers(1, 4))):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        mask[y : y + int(rng.integers(1, 9)), x : x + int(rng.integers(1, 9))] = 1
    if seed % 4 == 0:
        mask[:, 1] = 1
    packed = coco_mask.encode(mask)
    x, y, w, h = coco_mask.toBbox(packed).tolist()
    runs, value = [0], 0
    for pixel in mask.ravel(order="F").tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    for counts in (packed["counts"].decode(), runs):
        assert mask_box({"size": [height, width], "counts": counts}) == (x, y, x + w, y + h)


@pytest.mark.parametrize(
    "mask",
    [
        {},
        [],
        [[1, 2]],
        [["x", 1, 2, 3]],
        {"size": [4], "counts": [1]},
        {"size": [4, 4], "counts": [1, 99]},
        {"size": [0, 4], "counts": [0, 1]},
        {"size": [4, 4], "counts": "~~~"},
        {"size": [4, 4], "counts": [16]},
        {"size": [4, 4], "counts": [1, -1]},
        {"size": [1e9, 1e30], "counts": "0"},
        "x",
    ],
)
def test_what_is_no_mask(mask: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        mask_box(mask)


def test_coco_rotated_boxes_become_their_hull(tmp_path: Path) -> None:
    document = coco(FILES)
    document["annotations"][0].update(bbox=[30, 20, 20, 10], attributes={"rotation": 90.0})
    coco_set(tmp_path, **document)
    with pytest.warns(UserWarning, match="1 rotated boxes: the upright box around each is taken"):
        np.testing.assert_allclose(loaded(tmp_path).boxes_xyxy[0], [35, 15, 45, 35], atol=1e-4)


def test_voc_rotated_boxes_become_their_hull(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rotated = "<robndbox><cx>40</cx><cy>25</cy><w>20</w><h>10</h><angle>1.5707963</angle></robndbox>"
    text(tmp_path / "a.xml", f"<annotation><object><name>cat</name>{rotated}</object></annotation>")
    with pytest.warns(UserWarning, match="1 rotated boxes"):
        np.testing.assert_allclose(loaded(tmp_path, "all").boxes_xyxy, [[35, 15, 45, 35]], atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "images\\train\\p0.png",
        "D:\\set\\images\\train\\p0.png",
        "..\\..\\media\\upload\\4\\p0.png",
        "/data/upload/p0.png",
        "P0.PNG",
    ],
)
def test_coco_paths_of_other_machines(tmp_path: Path, name: str) -> None:
    document = coco(FILES)
    document["images"][0]["file_name"] = name
    coco_set(tmp_path, **document)
    assert_two_boxes(loaded(tmp_path))


def test_coco_pictures_in_subfolders(tmp_path: Path) -> None:
    coco_set(tmp_path)
    (tmp_path / "images/train/part").mkdir()
    (tmp_path / "images/train/p1.png").rename(tmp_path / "images/train/part/p1.png")
    assert_two_boxes(loaded(tmp_path))


def test_names_in_two_unicode_forms_are_one_picture(tmp_path: Path) -> None:
    decomposed, composed = (unicodedata.normalize(form, "Straße é") for form in ("NFD", "NFC"))
    picture(tmp_path / f"images/train/{decomposed}.png")
    text(tmp_path / f"labels/train/{composed}.txt", "0 .5 .5 .5 .5\n")
    text(tmp_path / "data.yaml", f"train: images/train\nnames: [{decomposed}]\n")
    found = loaded(tmp_path)
    assert len(found.labels) == 1
    assert found.class_names == (composed,)


def test_classes_in_two_unicode_forms_are_one(tmp_path: Path) -> None:
    coco_set(tmp_path, categories=[{"id": 1, "name": "cafe\u0301"}, {"id": 2, "name": "dog"}])
    found, _ = load_split(tmp_path, "train", ("caf\u00e9", "dog"))
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize("turned_size", [True, False])
def test_sizes_tell_whether_annotations_were_made_before_the_turn(tmp_path: Path, turned_size: bool) -> None:
    from detector.data.dataset import check_images
    from detector.data.image import read_image

    pixels = np.full((60, 80, 3), 100, np.uint8)
    pixels[15:45, 20:50] = (220, 20, 20)
    shown = np.rot90(pixels, -1) if turned_size else pixels
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images/train").mkdir(parents=True)
    for name in FILES:
        Image.fromarray(pixels).save(
            tmp_path / "images/train" / name, "JPEG", exif=exif, icc_profile=bytes(9000), quality=95
        )
    height, width = shown.shape[:2]
    y, x = np.nonzero(shown[..., 0] > 200)
    document = coco(FILES)
    for entry in document["images"]:
        entry.update(width=width, height=height)
    for entry in document["annotations"]:
        entry["bbox"] = [int(x.min()), int(y.min()), int(x.max() - x.min() + 1), int(y.max() - y.min() + 1)]
    text(tmp_path / "annotations/train.json", document)
    found = loaded(tmp_path)
    check_images(found)
    image = read_image(found.image_paths[0], expected_hw=(height, width))
    x0, y0, x1, y1 = found.boxes_xyxy[0].astype(int).tolist()
    assert image[y0:y1, x0:x1, 0].mean() > 200 > 120 > image[y0:y1, x0:x1, 1].mean()

"""Small data sets as VOC, COCO and YOLO write them, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detector.data.formats import load_split
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

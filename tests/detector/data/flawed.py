"""A YOLO data set with one of everything that a check must find."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

NAMES = ("cat", "dog", "cow")


def picture(path: Path, seed: int, size: tuple[int, int] = (60, 80)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8))
    return path


def label(root: Path, split: str, name: str, *lines: str) -> None:
    path = root / "labels" / split / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_flawed(root: Path) -> None:
    """train: a..g, val: a, v; every flaw once."""
    for seed, name in enumerate("abcdefg"):
        picture(root / "images" / "train" / f"{name}.png", seed)
    label(root, "train", "a", "0 .5 .5 .2 .2", "1 .2 .2 .1 .1")
    label(root, "train", "b", "0 .5 .5 0 .2", "0 .9 .5 .4 .2", "0 1.5 .5 .2 .2")
    label(root, "train", "c", "0 .5 .5 .2 .2", "1 .3 .3 .2 .2", "0 .5 .5 .201 .2", "1 .5 .5 .2 .2")
    label(root, "train", "d", "7 .5 .5 .2 .2", "0 .5 .5", "0 .5 .5 .3 .3")
    label(root, "train", "e")
    label(root, "train", "gone", "0 .5 .5 .2 .2")
    label(root, "train", "g", "1 .5 .5 .2 .2")
    cut = root / "images" / "train" / "g.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    shutil.copy(root / "images" / "train" / "a.png", root / "images" / "train" / "h.png")
    label(root, "train", "h", "0 .5 .5 .2 .2")
    picture(root / "images" / "val" / "v.png", 99)
    label(root, "val", "v", "2 .5 .5 .2 .2")
    shutil.copy(root / "images" / "train" / "b.png", root / "images" / "val" / "copy.png")
    label(root, "val", "copy", "0 .5 .5 .2 .2")
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: [{', '.join(NAMES)}]\n")

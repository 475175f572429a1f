"""Small data sets of several kinds, and the file that makes them one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from detector.data import formats
from detector.data.annotations import RawBoxes, pack

SIZE = (64, 64)
Boxes = Sequence[tuple[int, str]]
"""(image, class) of each box."""


def write_set(
    root: Path, classes: Sequence[str], boxes: Mapping[str, Boxes], images: int = 2, format: str = "coco"
) -> Path:
    """A data set of grey noise with `images` pictures in each split of `boxes`; every box is 20 x 20 px, side by side."""
    plugin = formats.writable(format)
    for number, (split, rows) in enumerate(boxes.items()):
        folder = plugin.image_folder(root, split)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{root.name}_{split}_{i}.png" for i in range(images)]
        for i, path in enumerate(paths):
            rng = np.random.default_rng([sum(root.name.encode()), number, i])
            cv2.imwrite(str(path), rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8))
        taken = [sum(other == image for other, _ in rows[:place]) for place, (image, _) in enumerate(rows)]
        corners = np.array([[2 + 21 * (k % 3), 2 + 21 * (k // 3)] for k in taken], dtype=np.float64).reshape(-1, 2)
        raw = RawBoxes(
            image=np.array([image for image, _ in rows], dtype=np.int64),
            boxes_xyxy=np.concatenate([corners, corners + 20], axis=1),
            labels=np.array([classes.index(name) for _, name in rows], dtype=np.int64),
            ignore=np.zeros(len(rows), dtype=np.bool_),
        )
        annotations, _ = pack("given", classes, paths, np.tile(np.array(SIZE, dtype=np.int32), (images, 1)), raw)
        plugin.write(root, split, annotations)
    return root


def rooms_and_pets(root: Path) -> Path:
    """Two sets and their file: a room's `Sofa` is a pet picture's `couch`, both have a `Chair`, one has a `Mouse` that is
    an animal."""
    write_set(
        root / "rooms", ("Sofa", "Chair", "mouse"),
        {"train": [(0, "Sofa"), (0, "Chair"), (1, "mouse")], "val": [(0, "Chair"), (1, "Sofa")]},
    )  # fmt: skip
    write_set(
        root / "pets", ("couch", "chair", "Mouse", "cat"),
        {"train": [(0, "couch"), (0, "Mouse"), (1, "cat"), (1, "chair")], "val": [(0, "cat"), (1, "Mouse")]}, format="voc",
    )  # fmt: skip
    return write_list(
        root,
        "sets:\n  rooms: {path: rooms}\n  pets:\n    path: pets\n    rename: {Mouse: mouse (animal)}\n"
        "aliases:\n  couch: [Sofa]\n",
    )


def write_list(root: Path, text: str, name: str = "general.yaml") -> Path:
    path = root / name
    path.write_text(f"label_space: 1\n{text}")
    return path

"""Random truth and detections of it: crowds, classes without boxes, images without boxes or without detections, ties."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detector.data.annotations import Annotations, RawBoxes, pack
from detector.evaluation import SplitDetections

SIDE = 400


def random_truth(seed: int, images: int = 8, num_classes: int = 4) -> Annotations:
    """The last class has no box that counts, the first image no box at all."""
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(1, images, 5 * images))
    corners = rng.uniform(0, SIDE - 130, (len(image), 2))
    sides = np.exp(rng.uniform(np.log(8), np.log(130), (len(image), 2)))
    labels = rng.integers(0, num_classes, len(image))
    ignore = (rng.random(len(image)) < 0.15) | (labels == num_classes - 1)
    raw = RawBoxes(
        image=image, boxes_xyxy=np.concatenate([corners, corners + sides], axis=1), labels=labels, ignore=ignore
    )
    names = [f"class {label}" for label in range(num_classes)]
    paths = [Path(f"{number}.jpg") for number in range(images)]
    ids = np.sort(rng.choice(10_000, images, replace=False)).astype(np.int64)
    categories = np.sort(rng.choice(900, num_classes, replace=False)).astype(np.int64)
    sizes = np.full((images, 2), SIDE, dtype=np.int32)
    return pack("scene", names, paths, sizes, raw, image_ids=ids, category_ids=categories)[0]


def random_detections(truth: Annotations, seed: int) -> SplitDetections:
    """Shifted truth (some of it twice or as another class) and false boxes; scores of two decimals tie; the last image
    has none."""
    rng = np.random.default_rng([seed, 1])
    images = []
    for index in range(len(truth)):
        boxes, labels, _ = truth.boxes_of(index)
        picked = rng.integers(0, max(len(boxes), 1), len(boxes) * 2 if index < len(truth) - 1 else 0)
        near = boxes[picked] + rng.normal(0, 0.08, (len(picked), 4)) * np.tile(boxes[picked, 2:] - boxes[picked, :2], 2)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        false = np.sort(rng.uniform(0, SIDE, (4 if len(picked) else 0, 2, 2)), axis=1).reshape(-1, 4)
        other = rng.integers(0, truth.num_classes, len(picked) + len(false))
        kept = np.concatenate([np.where(rng.random(len(picked)) < 0.25, -1, labels[picked]), np.full(len(false), -1)])
        found = np.where(kept < 0, other, kept)
        images.append((np.concatenate([near, false]), rng.integers(1, 100, len(found)) / 100, found))
    return SplitDetections.pack(images)

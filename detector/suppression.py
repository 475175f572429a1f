"""From decoded predictions to detections, in numpy: score threshold, suppression per class, the best few."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int64]

_BLOCK = 256
_SMALLEST_AREA = 1e-9  # px^2, as in detector.boxes


def suppress(
    boxes_A4: Floats,
    scores_AC: Floats,
    score_threshold: float | Floats = 0.05,
    iou_threshold: float = 0.7,
    max_detections: int = 500,
) -> tuple[Floats, Floats, Integers]:
    """Detections of one image: boxes (N, 4) in pixels, scores (N,), labels (N,) int64, best first, N <= max_detections.

    score_threshold: one for all classes, or one of each (C,). Every (prior, class) pair above it is a candidate, without
    a limit; a candidate goes if its IoU with a better one of its class that stays is above `iou_threshold`. Equal scores
    rank by prior, then class. The defaults are the published ones (mob models: 0.03 and 0.65).
    """
    scores_AC = np.asarray(scores_AC, dtype=np.float32)
    prior, label = np.nonzero(scores_AC > np.asarray(score_threshold, dtype=np.float32))
    score = scores_AC[prior, label]
    best_first = np.argsort(-score, kind="stable")
    prior, label, score = prior[best_first], label[best_first].astype(np.int64), score[best_first]
    boxes = np.asarray(boxes_A4, dtype=np.float32)[prior]
    keep = greedy(boxes, label, iou_threshold, max_detections)
    return boxes[keep], score[keep], label[keep]


def greedy(boxes: Floats, labels: Integers, iou_threshold: float, limit: int) -> Integers:
    """Positions (at most `limit`, ascending) kept of boxes (N, 4) with labels (N,) that are sorted best first.

    All classes are taken together in order of score, comparing within a class only, since that may stop as soon as
    `limit` stay: what is left could neither be kept nor suppress what is. Block by block: first what the boxes kept so far
    suppress, then what is left within the block.
    """
    kept: Integers = np.empty(0, dtype=np.int64)
    for start in range(0, len(boxes), _BLOCK):
        if len(kept) >= limit:
            break
        block = np.arange(start, min(start + _BLOCK, len(boxes)))
        block = block[~_overlaps(boxes, labels, kept, block, iou_threshold).any(axis=0)]
        alive = np.ones(len(block), dtype=bool)
        within = np.triu(_overlaps(boxes, labels, block, block, iou_threshold), k=1)
        for row in np.flatnonzero(within.any(axis=1)):
            if alive[row]:
                alive &= ~within[row]
        kept = np.concatenate((kept, block[alive]))
    return kept[:limit]


def _areas(boxes: Floats) -> Floats:
    width, height = np.maximum(boxes[2:] - boxes[:2], 0)
    product: Floats = width * height
    return product


def _overlaps(
    boxes: Floats,
    labels: Integers,
    first: Integers,
    second: Integers,
    iou_threshold: float,
) -> NDArray[np.bool_]:
    """Whether box `first[i]` and box `second[j]` share their class and have an IoU above the threshold, (I, J)."""
    a = np.ascontiguousarray(boxes[first].T)[:, :, None]
    b = np.ascontiguousarray(boxes[second].T)[:, None, :]
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = _areas(a) + _areas(b) - shared
    iou = shared / np.maximum(union, np.float32(_SMALLEST_AREA))
    above: NDArray[np.bool_] = (iou > iou_threshold) & (labels[first][:, None] == labels[second][None, :])
    return above

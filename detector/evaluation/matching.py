"""Which detection found which box, as COCO matches them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.evaluation.detections import MAX_DETECTIONS, SplitDetections

IOU_THRESHOLD = 0.5
Doubles: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Matches:
    """What became of D detections at one IoU threshold, each compared with boxes of its own class alone.

    truth (D,) int64: the row of the annotations' box that it found, -1 for none
    left_out (D,) bool: on an ignored box, or not among the best of its image and class that count; neither right nor wrong
    """

    truth: npt.NDArray[np.int64]
    left_out: npt.NDArray[np.bool_]


def match(
    detections: SplitDetections, annotations: Annotations, iou_threshold: float = IOU_THRESHOLD,
    max_detections: int = MAX_DETECTIONS,
) -> Matches:  # fmt: skip
    """Match detections to boxes of the same images in the same order.

    By falling score, each takes the free box of its class that it overlaps most, if the IoU is at least the threshold;
    an ignored box, which any number may share, is the last choice, and overlap with it is the share of the detection
    that lies on it. Raises ValueError when the numbers of images differ.
    """
    if len(detections) != len(annotations):
        raise ValueError(f"detections of {len(detections)} images, annotations of {len(annotations)}")
    truth = np.full(len(detections.labels), -1, dtype=np.int64)
    left_out = np.zeros(len(detections.labels), dtype=np.bool_)
    for image in range(len(annotations)):
        start, end = (int(offset) for offset in detections.offsets[image : image + 2])
        boxes, labels, ignore = annotations.boxes_of(image)
        order = start + np.argsort(-detections.scores[start:end], kind="stable")
        beyond = _rank_in_class(detections.labels[order]) >= max_detections
        left_out[order[beyond]] = True
        order = order[~beyond]
        if not len(order) or not len(labels):
            continue
        overlaps = overlap(detections.boxes_xyxy[order], boxes, ignore)
        overlaps[detections.labels[order][:, None] != labels] = 0.0
        found, shared = _greedy(overlaps, ignore, iou_threshold)
        truth[order] = np.where(found < 0, -1, found + int(annotations.offsets[image]))
        left_out[order[shared]] = True
    return Matches(truth, left_out)


def match_rest(overlaps: Doubles, iou_threshold: float = IOU_THRESHOLD) -> npt.NDArray[np.int64]:
    """Of detections by falling score (n) and free boxes (g), the column that each takes (n,), -1 for none."""
    return _greedy(overlaps, np.zeros(overlaps.shape[1], dtype=np.bool_), iou_threshold)[0]


def overlap(found_xyxy: npt.ArrayLike, truth_xyxy: npt.ArrayLike, ignore: npt.NDArray[np.bool_]) -> Doubles:
    """IoU of boxes (n, 4) with boxes (g, 4): (n, g); with an ignored one, the share of the first that lies in it."""
    found = np.asarray(found_xyxy, dtype=np.float64).reshape(-1, 1, 4)
    truth = np.asarray(truth_xyxy, dtype=np.float64).reshape(1, -1, 4)
    corners = np.minimum(found[..., 2:], truth[..., 2:]) - np.maximum(found[..., :2], truth[..., :2])
    shared = corners.clip(min=0).prod(axis=-1)
    areas = (found[..., 2:] - found[..., :2]).prod(axis=-1)
    union = np.where(ignore, areas, areas + (truth[..., 2:] - truth[..., :2]).prod(axis=-1) - shared)
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), dtype=np.float64)


def _rank_in_class(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """How many of the same label come before, (n,)."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    return ranks


def _greedy(
    overlaps: Doubles, ignore: npt.NDArray[np.bool_], iou_threshold: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Per row: the column taken (-1: none), and whether it lies on an ignored column instead."""
    found = np.full(len(overlaps), -1, dtype=np.int64)
    shared = np.zeros(len(overlaps), dtype=np.bool_)
    threshold = min(iou_threshold, 1 - 1e-10)
    free = np.where(ignore, -1.0, overlaps)
    on_ignored = np.where(ignore, overlaps, 0.0).max(axis=1, initial=0.0) >= threshold
    for row in np.flatnonzero((overlaps >= threshold).any(axis=1)).tolist():
        # of equal ones the last, as the reference does
        column = free.shape[1] - 1 - int(np.argmax(free[row, ::-1]))
        if free[row, column] >= threshold:
            found[row] = column
            free[:, column] = -1.0
        else:
            shared[row] = bool(on_ignored[row])
    return found, shared

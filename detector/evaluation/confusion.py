"""What became of every detection and every box at one score threshold, and the confusion matrix of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.evaluation.detections import SplitDetections
from detector.evaluation.matching import Matches, match_rest, overlap

NONE, LEFT_OUT = -1, -2


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Detections that score at least `score_threshold`, and boxes, paired at IoU 0.5.

    First those of one class, as COCO matches them; then what is left, whatever its class: confusions.
    truth_of (D,) int64: the box's row that a detection is paired with, NONE: a false one, LEFT_OUT: not counted
    found_by (M,) int64: the detection's row that a box is paired with, NONE: missed, LEFT_OUT: an ignored box
    """

    score_threshold: float
    truth_of: npt.NDArray[np.int64]
    found_by: npt.NDArray[np.int64]


def outcomes(
    detections: SplitDetections, annotations: Annotations, matches: Matches, score_threshold: float
) -> Outcomes:
    """Pair detections and boxes; `matches` are those of all detections at IoU 0.5."""
    counted = (detections.scores.astype(np.float64) >= score_threshold) & ~matches.left_out
    truth_of = np.where(counted, matches.truth, LEFT_OUT)
    found_by = np.where(annotations.ignore, LEFT_OUT, NONE).astype(np.int64)
    hits = np.flatnonzero(truth_of >= 0)
    found_by[truth_of[hits]] = hits
    for image in range(len(annotations)):
        rows = np.arange(detections.offsets[image], detections.offsets[image + 1])
        boxes = np.arange(annotations.offsets[image], annotations.offsets[image + 1])
        rows, boxes = rows[truth_of[rows] == NONE], boxes[found_by[boxes] == NONE]
        if not len(rows) or not len(boxes):
            continue
        rows = rows[np.argsort(-detections.scores[rows], kind="stable")]
        overlaps = overlap(detections.boxes_xyxy[rows], annotations.boxes_xyxy[boxes], annotations.ignore[boxes])
        taken = match_rest(overlaps)
        pairs = taken >= 0
        truth_of[rows[pairs]] = boxes[taken[pairs]]
        found_by[boxes[taken[pairs]]] = rows[pairs]
    return Outcomes(score_threshold, truth_of, found_by)


def confusion_matrix(found: Outcomes, detections: SplitDetections, annotations: Annotations) -> npt.NDArray[np.int64]:
    """Counts (C + 1, C + 1): rows are the true class, columns the predicted one, the last of each the background.

    The last column holds missed boxes, the last row false detections; background against itself stays 0.
    """
    background = annotations.num_classes
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    boxes = found.found_by != LEFT_OUT
    paired = found.found_by >= 0
    predicted = np.full(len(boxes), background)
    predicted[paired] = detections.labels[found.found_by[paired]]
    np.add.at(matrix, (annotations.labels[boxes], predicted[boxes]), 1)
    false = detections.labels[found.truth_of == NONE]
    matrix[background, :background] += np.bincount(false, minlength=background)
    return matrix


def errors_of_images(
    found: Outcomes, detections: SplitDetections, annotations: Annotations
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Missed boxes (N,) and false detections (N,) of every image; a box found as another class is both."""
    image_of = np.repeat(np.arange(len(detections)), np.diff(detections.offsets))
    right = np.zeros(len(found.truth_of), dtype=np.bool_)
    paired = np.flatnonzero(found.truth_of >= 0)
    right[paired] = detections.labels[paired] == annotations.labels[found.truth_of[paired]]
    missed = (found.found_by != LEFT_OUT).copy()
    missed[found.truth_of[right]] = False
    false = (found.truth_of != LEFT_OUT) & ~right
    count = len(annotations)
    return (
        np.bincount(annotations.image_index()[missed], minlength=count),
        np.bincount(image_of[false], minlength=count),
    )

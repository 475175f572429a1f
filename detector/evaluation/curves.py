"""Precision against recall, and the score threshold that balances them best, class by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.evaluation.detections import SplitDetections
from detector.evaluation.matching import Doubles, Matches

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads precision off."""
THRESHOLDS = np.arange(5, 96) / 100
"""Of which a common score threshold is chosen: two decimals, as one would type them."""
DEFAULT_THRESHOLD = 0.3
"""When nothing was found that a threshold could be chosen by: what prediction shows unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One class's K detections that count, by falling score, against its boxes.

    scores (K,); hits (K,): how many of the first so many are right; boxes: how many there are to find
    """

    scores: Doubles
    hits: npt.NDArray[np.int64]
    boxes: int

    def precision_at_recalls(self) -> Doubles:
        """(101,): the best precision at each of RECALLS or beyond; 0 where it is not reached, nan without boxes.

        The mean is AP at this IoU.
        """
        if not self.boxes:
            return np.full(len(RECALLS), np.nan)
        precision = self.hits / np.arange(1, len(self.hits) + 1)
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        return np.asarray(envelope[np.searchsorted(self.hits / self.boxes, RECALLS)], dtype=np.float64)

    def best_f1(self) -> tuple[float, float, float, float] | None:
        """Score threshold, precision, recall and F1 where F1 is largest; None when there is no hit or no box."""
        if not self.boxes or not len(self.hits) or not self.hits[-1]:
            return None
        # a threshold cannot part equal scores
        ends = np.flatnonzero(np.append(np.diff(self.scores) != 0, True))
        f1 = 2 * self.hits[ends] / (ends + 1 + self.boxes)
        best = int(ends[np.argmax(f1)])
        hits = int(self.hits[best])
        return float(self.scores[best]), hits / (best + 1), hits / self.boxes, float(f1.max())

    def f1_at(self, thresholds: Doubles) -> Doubles:
        """F1 of the detections that score at least each threshold."""
        counts = np.searchsorted(-self.scores, -thresholds, side="right")
        hits = np.append(0, self.hits)[counts]
        return np.asarray(2 * hits / np.maximum(counts + self.boxes, 1), dtype=np.float64)


def class_curves(detections: SplitDetections, annotations: Annotations, matches: Matches) -> tuple[Curve, ...]:
    """One curve per class, in class order."""
    boxes = np.bincount(annotations.labels[~annotations.ignore], minlength=annotations.num_classes)
    scores = detections.scores.astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    order = order[~matches.left_out[order]]
    curves = []
    for label in range(annotations.num_classes):
        rows = order[detections.labels[order] == label]
        curves.append(Curve(scores[rows], np.cumsum(matches.truth[rows] >= 0), int(boxes[label])))
    return tuple(curves)


def common_threshold(curves: tuple[Curve, ...]) -> float:
    """The score threshold at which the mean F1 of the classes that have boxes is largest, to two decimals.

    DEFAULT_THRESHOLD when no detection is right.
    """
    values = [curve.f1_at(THRESHOLDS) for curve in curves if curve.boxes]
    mean = np.mean(values, axis=0) if values else np.zeros(1)
    return float(THRESHOLDS[np.argmax(mean)]) if mean.max() > 0 else DEFAULT_THRESHOLD

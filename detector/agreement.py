"""Whether two ways to compute the same boxes agree, and how far a model may be from torch. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detector.detector import Detector, Selected
from detector.model_card import ModelCard


@dataclass(frozen=True, slots=True)
class Tolerance:
    """boxes_px: of input pixels; scores; share: of the detections that must have their partner (a pair whose IoU is a
    rounding error from the threshold may fall on either side)."""

    boxes_px: float
    scores: float
    share: float

    def __str__(self) -> str:
        return f"{self.boxes_px:g} px, {self.scores:g} in scores, {self.share:.0%} of the detections"


_TOLERANCES = {
    "fp32": Tolerance(0.1, 1e-3, 0.99),
    "half": Tolerance(2.0, 2e-2, 0.95),
    "fp16": Tolerance(2.0, 2e-2, 0.95),
    "int8": Tolerance(12.0, 0.25, 0.6),
}
_PICTURE_SCORES = 1e-2
"""Where the runtime resizes: pixels may differ by one level of 255."""


def tolerance_of(card: ModelCard) -> Tolerance:
    """What a model of that precision may differ from torch by. Sums in another order, and weights of 11 bits or 8."""
    found = _TOLERANCES[card.precision]
    if card.input == "tensor":
        return found
    return Tolerance(max(found.boxes_px, 1.0), max(found.scores, _PICTURE_SCORES), min(found.share, 0.98))


@dataclass(frozen=True, slots=True)
class Differences:
    """Largest differences: boxes_px in input pixels, scores; `compared` boxes or detections, `matched` of them."""

    boxes_px: float
    scores: float
    compared: int
    matched: int

    def within(self, tolerance: Tolerance) -> bool:
        """Whether enough have their partner, and all those are near it."""
        near = self.boxes_px <= tolerance.boxes_px and self.scores <= tolerance.scores
        return near and self.matched >= tolerance.share * self.compared

    def __str__(self) -> str:
        if not self.compared:
            return "no detections to compare"
        return f"boxes {self.boxes_px:.2g} px, scores {self.scores:.2g} ({self.matched} of {self.compared} compared)"


def compare_detections(pairs: Sequence[tuple[Selected, Selected]], tolerance: Tolerance) -> Differences:
    """Match (expected, found) detections, image by image, in any order: the same label, within the tolerances."""
    worst_box = worst_score = 0.0
    compared = matched = 0
    for (boxes, certain, labels), (other_boxes, other_certain, other_labels) in pairs:
        compared += max(len(boxes), len(other_boxes))
        if not len(boxes) or not len(other_boxes):
            continue
        box = np.abs(boxes[:, None] - other_boxes[None]).max(-1)
        score = np.abs(certain[:, None] - other_certain[None])
        same = labels[:, None] == other_labels[None]
        near = same & (box <= tolerance.boxes_px) & (score <= tolerance.scores)
        partner = np.where(near, box + score, np.inf).argmin(1)
        rows = np.flatnonzero(near.any(1))
        matched += len(np.unique(partner[rows]))
        worst_box = max(worst_box, float(box[rows, partner[rows]].max(initial=0)))
        worst_score = max(worst_score, float(score[rows, partner[rows]].max(initial=0)))
    return Differences(worst_box, worst_score, compared, matched)


def check_golden(detector: Detector) -> Differences | None:
    """From the encoded golden picture of a model file to boxes, against what torch found; None for a file without one.

    Boxes are compared in pixels of the network's input. What scores about as much as the golden threshold may be there or
    not.
    """
    card, golden = detector.card, detector.card.golden
    if golden is None:
        return None
    tolerance = tolerance_of(card)
    pixels = golden.pixels()
    scale = np.array([card.image_size[1] / pixels.shape[1], card.image_size[0] / pixels.shape[0]] * 2, dtype=np.float32)
    (seen,) = detector.detect([pixels])
    found = seen.boxes_xyxy * scale, seen.scores, seen.labels
    boxes, scores, labels = golden.selected()
    expected = boxes * scale, scores, labels
    sure = golden.score_threshold + tolerance.scores
    here = compare_detections([(_above(expected, sure), found)], tolerance)
    there = compare_detections([(_above(found, sure), expected)], tolerance)
    certain = int((scores > sure).sum()), int((seen.scores > sure).sum())
    return Differences(
        max(here.boxes_px, there.boxes_px), max(here.scores, there.scores), sum(certain), here.matched + there.matched
    )


def _above(found: Selected, score: float) -> Selected:
    boxes, scores, labels = found
    return boxes[scores > score], scores[scores > score], labels[scores > score]

"""How good detections are: COCO's numbers, and per class and image what was found, missed, confused and made up."""

from __future__ import annotations

from detector.evaluation.assessment import Assessment, ClassRow, assess
from detector.evaluation.ceiling import crowding_note
from detector.evaluation.coco import METRIC_NAMES, Evaluation, Metrics, evaluate, scored
from detector.evaluation.detections import MAX_DETECTIONS, SplitDetections

__all__ = [
    "MAX_DETECTIONS",
    "METRIC_NAMES",
    "Assessment",
    "ClassRow",
    "Evaluation",
    "Metrics",
    "SplitDetections",
    "assess",
    "crowding_note",
    "evaluate",
    "scored",
]

"""Everything that a person looks at after an evaluation, and the same as tables."""

from __future__ import annotations

import json
import math
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.evaluation.coco import Evaluation
from detector.evaluation.confusion import Outcomes, confusion_matrix, errors_of_images, outcomes
from detector.evaluation.curves import Curve, class_curves, common_threshold
from detector.evaluation.matching import IOU_THRESHOLD, Doubles, match
from search_spaces.files import csv_text, write_text

BACKGROUND = "background"
TABLE_FILES = ("classes.csv", "confusion.csv", "confusion.json", "sets.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class: images that have it, boxes, AP, and precision, recall and score threshold where F1 is best (IoU 0.5).

    Ignored boxes are not counted. nan: nothing to find, or for the last four no right detection.
    """

    name: str
    images: int
    boxes: int
    ap: float
    ap50: float
    precision: float
    recall: float
    f1: float
    score_threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRow:
    """One of several data sets: its images and boxes, the classes that have some, and AP on its own images over those."""

    name: str
    images: int
    boxes: int
    classes: int
    ap: float
    ap50: float
    ap75: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """An evaluation taken apart, at IoU 0.5.

    classes: C rows; sets: one row each, none where the images are one data set's; precision (C, 101): at COCO's recalls;
    found: what became of every detection and box at its score threshold;
    confusion (C + 1, C + 1): rows true, columns predicted, background last; missed, false (N,): per image
    """

    annotations: Annotations
    evaluation: Evaluation
    classes: tuple[ClassRow, ...]
    sets: tuple[SetRow, ...]
    precision: Doubles
    found: Outcomes
    confusion: npt.NDArray[np.int64]
    missed: npt.NDArray[np.int64]
    false: npt.NDArray[np.int64]

    @property
    def score_threshold(self) -> float:
        """Of the confusion matrix and of what counts as missed and false."""
        return self.found.score_threshold

    def write_tables(self, folder: Path) -> None:
        """Write TABLE_FILES into `folder`, the last one where the images are of several data sets. Raises UserError when that
        fails."""
        columns = ["class", *list(ClassRow.__dataclass_fields__)[1:]]
        write_text(folder / "classes.csv", csv_text([columns, *(astuple(row) for row in self.classes)]))
        names = [*self.annotations.class_names, BACKGROUND]
        counts = self.confusion.tolist()
        body = [[name, *row] for name, row in zip(names, counts)]
        write_text(folder / "confusion.csv", csv_text([["true \\ predicted", *names], *body]))
        content = {
            "iou_threshold": IOU_THRESHOLD,
            "score_threshold": self.score_threshold,
            "names": names,
            "rows": "true class",
            "columns": "predicted class",
            "counts": counts,
        }
        write_text(folder / "confusion.json", json.dumps(content, ensure_ascii=False) + "\n")
        if self.sets:
            columns = list(SetRow.__dataclass_fields__)
            write_text(folder / "sets.csv", csv_text([columns, *(astuple(row) for row in self.sets)]))


def assess(evaluation: Evaluation, annotations: Annotations, score_threshold: float | None = None) -> Assessment:
    """Take an evaluation on `annotations` apart.

    score_threshold: what counts as a detection in the confusion matrix and in pictures; None: where the mean F1 of the
    classes is best.
    """
    detections = evaluation.detections
    matches = match(detections, annotations, max_detections=evaluation.max_detections)
    curves = class_curves(detections, annotations, matches)
    threshold = common_threshold(curves) if score_threshold is None else score_threshold
    found = outcomes(detections, annotations, matches, threshold)
    missed, false = errors_of_images(found, detections, annotations)
    return Assessment(
        annotations=annotations,
        evaluation=evaluation,
        classes=_rows(evaluation, annotations, curves),
        sets=_set_rows(evaluation, annotations),
        precision=np.stack([curve.precision_at_recalls() for curve in curves]),
        found=found,
        confusion=confusion_matrix(found, detections, annotations),
        missed=missed,
        false=false,
    )


def _set_rows(evaluation: Evaluation, annotations: Annotations) -> tuple[SetRow, ...]:
    origins = annotations.origins
    if origins is None:
        return ()
    rows = []
    for number, source in enumerate(origins.sources):
        metrics = evaluation.sets.get(source.name)
        if metrics is not None:
            images = origins.of_image == number
            labels = annotations.labels[images[annotations.image_index()] & ~annotations.ignore]
            rows.append(
                SetRow(
                    name=source.name, images=int(images.sum()), boxes=len(labels), classes=len(np.unique(labels)),
                    ap=metrics.ap, ap50=metrics.ap50, ap75=metrics.ap75,
                )
            )  # fmt: skip
    return tuple(rows)


def _rows(evaluation: Evaluation, annotations: Annotations, curves: tuple[Curve, ...]) -> tuple[ClassRow, ...]:
    metrics = evaluation.metrics
    kept = ~annotations.ignore
    pairs = np.unique(np.stack([annotations.image_index()[kept], annotations.labels[kept]], axis=1), axis=0)
    images = np.bincount(pairs[:, 1], minlength=annotations.num_classes)
    rows = []
    for label, (name, curve) in enumerate(zip(annotations.class_names, curves)):
        threshold, precision, recall, f1 = curve.best_f1() or (math.nan,) * 4
        rows.append(
            ClassRow(
                name=name, images=int(images[label]), boxes=curve.boxes, ap=metrics.class_ap[name],
                ap50=metrics.class_ap50[name],
                precision=precision, recall=recall, f1=f1, score_threshold=threshold,
            )
        )  # fmt: skip
    return tuple(rows)

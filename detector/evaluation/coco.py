"""COCO's twelve numbers, and AP per class, from packed arrays."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.evaluation.detections import MAX_DETECTIONS, SplitDetections


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """COCO box metrics, 0..1; nan where there is nothing to find (no box of that size or class).

    ap: mean over IoU 0.50:0.05:0.95; ar_1 / ar_10 / ar_100: recall at that many detections per image and class (ar_100 and
    all others: at as many as the evaluation counts, 100 unless told otherwise).
    small, medium, large: areas below 32^2, up to 96^2, above (original pixels). Per class: by name, in class order.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_1: float
    ar_10: float
    ar_100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    class_ap: dict[str, float]
    class_ap50: dict[str, float]

    def numbers(self) -> dict[str, float]:
        """The twelve numbers by name, in COCO's order."""
        return {name: getattr(self, name) for name in METRIC_NAMES}

    def __str__(self) -> str:
        shown = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar_100")
        found = ((name, getattr(self, name)) for name in shown)
        return "  ".join(f"{name} {value:.3f}" for name, value in found if not math.isnan(value))


METRIC_NAMES = tuple(name for name in Metrics.__dataclass_fields__ if not name.startswith("class_"))


class Evaluation(NamedTuple):
    """Detections of a split and what they are worth, with so many of an image and class counted.

    sets: the metrics on each data set's own images, by its name, where the split is of several. `detections` then are those
    of classes that an image's data set labels: of others, nobody knows whether they are right.
    """

    detections: SplitDetections
    metrics: Metrics
    max_detections: int = MAX_DETECTIONS
    sets: Mapping[str, Metrics] = MappingProxyType({})


def evaluate(
    detections: SplitDetections, annotations: Annotations, *, backend: str | None = None,
    max_detections: int = MAX_DETECTIONS,
) -> Metrics:  # fmt: skip
    """Score detections against annotations of the same images in the same order.

    Ignored boxes count as COCO crowds. backend: 'hotcoco' or 'pycocotools' (the reference); None takes the first that
    is installed. max_detections: the best of each image and class that count (COCO's maxDets). Raises ValueError when
    the numbers of images differ.
    """
    if len(detections) != len(annotations):
        raise ValueError(f"detections of {len(detections)} images, annotations of {len(annotations)}")
    if backend is None:
        backend = "hotcoco" if importlib.util.find_spec("hotcoco") is not None else "pycocotools"
    evaluator = _run(backend, _ground_truth(annotations), _results(detections, annotations), max_detections)
    # (IoU threshold, recall, class, area range, max detections), -1 where there is no ground truth.
    precision = np.asarray(evaluator.eval["precision"])[:, :, :, 0, -1]
    names = annotations.class_names
    return Metrics(
        **dict(zip(METRIC_NAMES, _stats(evaluator))),
        class_ap={name: _mean(precision[:, :, c]) for c, name in enumerate(names)},
        class_ap50={name: _mean(precision[0, :, c]) for c, name in enumerate(names)},
    )


def scored(detections: SplitDetections, annotations: Annotations, max_detections: int = MAX_DETECTIONS) -> Evaluation:
    """Detections that can be judged, with their metrics, as `evaluate` gives them: of the split, and of each data set in
    it."""
    detections = detections.judged(annotations)
    metrics = evaluate(detections, annotations, max_detections=max_detections)
    return Evaluation(detections, metrics, max_detections, _of_sets(detections, annotations, max_detections))


def _of_sets(detections: SplitDetections, annotations: Annotations, max_detections: int) -> dict[str, Metrics]:
    origins = annotations.origins
    found: dict[str, Metrics] = {}
    if origins is None:
        return found
    for number, source in enumerate(origins.sources):
        images = np.flatnonzero(origins.of_image == number)
        if len(images):
            part = annotations.subset(images.tolist())
            found[source.name] = evaluate(detections.of_images(images), part, max_detections=max_detections)
    return found


def _stats(evaluator: Any) -> list[float]:
    """COCO's twelve numbers. The backends' own summaries know no other limit than 100 detections."""
    # (IoU threshold, recall, class, area range, max detections) and without recall; -1 where there is no ground truth
    precision, recall = (np.asarray(evaluator.eval[name]) for name in ("precision", "recall"))
    aps = [precision[:, :, :, 0, -1], precision[0, :, :, 0, -1], precision[5, :, :, 0, -1]]
    aps += [precision[:, :, :, area, -1] for area in (1, 2, 3)]
    recalls = [recall[:, :, 0, most] for most in range(3)] + [recall[:, :, area, -1] for area in (1, 2, 3)]
    return [_mean(values) for values in (*aps, *recalls)]


def _run(backend: str, truth: dict[str, Any], results: dict[str, Any], max_detections: int) -> Any:
    """The backend's evaluator after its run, without its prints."""
    if backend == "hotcoco":
        module = importlib.import_module("hotcoco")
        coco_type, evaluator_type = module.COCO, module.COCOeval
    else:
        coco_type = importlib.import_module("pycocotools.coco").COCO
        evaluator_type = importlib.import_module("pycocotools.cocoeval").COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        indexed = []
        for document in (truth, results):
            coco = coco_type()
            coco.dataset = document
            coco.createIndex()
            indexed.append(coco)
        evaluator = evaluator_type(indexed[0], indexed[1], "bbox")
        evaluator.params.maxDets = [min(1, max_detections), min(10, max_detections), max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def _ground_truth(annotations: Annotations) -> dict[str, Any]:
    rows = _rows(annotations.image_index(), annotations.labels, annotations.boxes_xyxy)
    for row, area, crowd in zip(rows, annotations.areas.tolist(), annotations.ignore.tolist()):
        row["area"] = area
        row["iscrowd"] = int(crowd)
    return _document(annotations, rows)


def _results(detections: SplitDetections, annotations: Annotations) -> dict[str, Any]:
    image = np.repeat(np.arange(len(detections), dtype=np.int64), np.diff(detections.offsets))
    rows = _rows(image, detections.labels, detections.boxes_xyxy)
    for row, score in zip(rows, detections.scores.tolist()):
        row["area"] = row["bbox"][2] * row["bbox"][3]
        row["iscrowd"] = 0
        row["score"] = score
    return _document(annotations, rows)


def _rows(
    image: npt.NDArray[np.int64], labels: npt.NDArray[np.int32], boxes_xyxy: npt.NDArray[np.float32]
) -> list[dict[str, Any]]:
    sides = boxes_xyxy.astype(np.float64)
    sides[:, 2:] -= sides[:, :2]
    columns = zip(image.tolist(), labels.tolist(), sides.tolist())
    # Ids start at 1: the reference takes 0 for "not matched".
    return [
        {"id": i, "image_id": picture + 1, "category_id": label + 1, "bbox": box}
        for i, (picture, label, box) in enumerate(columns, start=1)
    ]


def _document(annotations: Annotations, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A COCO document whose image and category ids are places counted from 1."""
    sizes = annotations.sizes_hw.tolist()
    return {
        "images": [{"id": i, "height": h, "width": w, "file_name": ""} for i, (h, w) in enumerate(sizes, start=1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(annotations.class_names, start=1)],
        "annotations": rows,
    }


def _mean(precision: npt.NDArray[np.float64]) -> float:
    counted = precision[precision > -1]
    return float(counted.mean()) if counted.size else math.nan

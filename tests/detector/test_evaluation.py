"""The twelve numbers equal the reference's on files; perfect detections score 1; nothing to find is nan."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.data.annotations import Annotations, RawBoxes, pack
from detector.data.formats import load_split
from detector.evaluation import METRIC_NAMES, SplitDetections, coco, evaluate
from tests.detector.detection_scenes import random_detections, random_truth

BACKENDS = [
    "pycocotools",
    pytest.param(
        "hotcoco", marks=pytest.mark.skipif(importlib.util.find_spec("hotcoco") is None, reason="not installed")
    ),
]


def truth(ignore: tuple[bool, ...] = (False, False, False)) -> Annotations:
    """Three images; boxes of class a (10 px), a (50 px) in the first, b (100 px) in the second; c has none."""
    raw = RawBoxes(
        image=np.array([0, 0, 1]),
        boxes_xyxy=np.array([[5, 5, 15, 15], [20, 20, 70, 70], [10, 10, 110, 110]], dtype=np.float64),
        labels=np.array([0, 0, 1]),
        ignore=np.array(ignore),
    )
    paths = [Path(f"{i}.jpg") for i in range(3)]
    return pack("t", ("a", "b", "c"), paths, np.full((3, 2), 120, dtype=np.int32), raw)[0]


def copied(annotations: Annotations) -> SplitDetections:
    found = [annotations.boxes_of(i) for i in range(len(annotations))]
    return SplitDetections.pack([(boxes, np.ones(len(labels)), labels) for boxes, labels, _ in found])


def disturbed(annotations: Annotations, seed: int) -> SplitDetections:
    """Shifted truth with wrong labels here and there, and false boxes."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(len(annotations)):
        boxes, labels, _ = annotations.boxes_of(i)
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        noisy = boxes + rng.normal(0, 0.08, boxes.shape) * sides
        false = np.sort(rng.uniform(0, 300, (5, 2, 2)), axis=1).reshape(-1, 4)
        changed = np.where(rng.random(len(labels)) < 0.2, rng.integers(0, annotations.num_classes, len(labels)), labels)
        all_labels = np.concatenate([changed, rng.integers(0, annotations.num_classes, 5)])
        images.append((np.concatenate([noisy, false]), rng.random(len(all_labels)), all_labels))
    return SplitDetections.pack(images)


@pytest.mark.parametrize("backend", BACKENDS)
def test_perfect_detections(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = evaluate(copied(truth()), truth(), backend=backend)
    assert all(value == pytest.approx(1.0) for name, value in metrics.numbers().items() if name != "ar_1")
    assert metrics.ar_1 == pytest.approx(0.75)
    assert metrics.class_ap["a"] == pytest.approx(1.0)
    assert metrics.class_ap50["b"] == pytest.approx(1.0)
    assert math.isnan(metrics.class_ap["c"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_detections(backend: str) -> None:
    metrics = evaluate(SplitDetections.pack([((), (), ())] * 3), truth(), backend=backend)
    assert metrics.ap == metrics.ar_100 == metrics.class_ap50["a"] == 0.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_ground_truth_is_nan(backend: str) -> None:
    metrics = evaluate(copied(truth()), truth((True, True, True)), backend=backend)
    assert all(math.isnan(value) for value in metrics.numbers().values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_ignored_boxes_neither_help_nor_hurt(backend: str) -> None:
    metrics = evaluate(copied(truth()), truth((False, True, False)), backend=backend)
    assert metrics.ap == pytest.approx(1.0)
    assert math.isnan(metrics.ap_medium)


@pytest.mark.skipif(importlib.util.find_spec("hotcoco") is None, reason="not installed")
@pytest.mark.parametrize("seed", range(6))
def test_both_backends_give_the_same_numbers(seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    annotations = random_truth(seed, images=20, num_classes=6)
    assert annotations.ignore.any()
    assert (np.diff(annotations.category_ids) > 1).any()
    detections = random_detections(annotations, seed)
    assert 0 in np.diff(annotations.offsets)
    assert 0 in np.diff(detections.offsets)
    reference = evaluate(detections, annotations, backend="pycocotools")
    fast = evaluate(detections, annotations, backend="hotcoco")
    assert 0.05 < reference.ap < 0.95
    assert fast.numbers() == pytest.approx(reference.numbers(), abs=1e-9, nan_ok=True)
    assert fast.class_ap == pytest.approx(reference.class_ap, abs=1e-9, nan_ok=True)
    assert fast.class_ap50 == pytest.approx(reference.class_ap50, abs=1e-9, nan_ok=True)
    nothing = SplitDetections.pack([((), (), ())] * len(annotations))
    both = [evaluate(nothing, annotations, backend=name).numbers() for name in ("pycocotools", "hotcoco")]
    assert both[0] == pytest.approx(both[1], abs=1e-9, nan_ok=True)
    assert capfd.readouterr().out == ""


def test_hotcoco_is_taken_when_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    run = coco._run
    monkeypatch.setattr(coco, "_run", lambda backend, *rest: used.append(backend) or run("pycocotools", *rest))
    for found in (True, False):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, found=found: found or None)
        evaluate(copied(truth()), truth())
    assert used == ["hotcoco", "pycocotools"]


def test_numbers_of_images_must_agree() -> None:
    with pytest.raises(ValueError, match="2 images, annotations of 3"):
        evaluate(SplitDetections.pack([((), (), ())] * 2), truth())


@pytest.mark.parametrize("world", [1, 2, 3, 11])
def test_shares_of_processes_make_up_the_whole(world: int) -> None:
    whole = random_detections(random_truth(5), 5)  # eight images
    shares = [SplitDetections.pack([whole.image(image) for image in range(rank, 8, world)]) for rank in range(world)]
    again = SplitDetections.interleaved(shares)
    for key in ("boxes_xyxy", "scores", "labels", "offsets"):
        np.testing.assert_array_equal(getattr(again, key), getattr(whole, key))


@pytest.mark.parametrize("backend", BACKENDS)
def test_equals_the_reference_on_files(real_data: Path, backend: str) -> None:
    annotations, _ = load_split(real_data / "tiny_coco", "val")
    detections = disturbed(annotations, 0)
    metrics = evaluate(detections, annotations, backend=backend)
    image = np.repeat(annotations.image_ids, np.diff(detections.offsets)).astype(np.float64)
    sides = detections.boxes_xyxy.astype(np.float64)
    sides[:, 2:] -= sides[:, :2]
    category = annotations.category_ids[detections.labels].astype(np.float64)
    table = np.column_stack([image, sides, detections.scores, category])
    path = next((real_data / "tiny_coco" / "annotations").glob("*val*.json"))
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(str(path))
        evaluator = COCOeval(reference, reference.loadRes(table), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    assert 0.05 < metrics.ap < 0.95
    np.testing.assert_allclose([metrics.numbers()[name] for name in METRIC_NAMES], evaluator.stats, atol=1e-9)

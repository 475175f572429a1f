"""Matches, curves and confusions against slow obvious ones, and against COCO's numbers."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.annotations import Annotations, RawBoxes, pack
from detector.evaluation import Assessment, Evaluation, SplitDetections, assess, evaluate
from detector.evaluation.curves import DEFAULT_THRESHOLD, THRESHOLDS, class_curves
from detector.evaluation.matching import match
from detector.evaluation.pictures import COLOURS, NUM_RANDOM, choose_images, compare
from tests.detector.detection_scenes import random_detections, random_truth

SEEDS = st.integers(0, 10_000)


def assessed(truth: Annotations, found: SplitDetections, threshold: float | None = None) -> Assessment:
    return assess(Evaluation(found, evaluate(found, truth)), truth, threshold)


def iou(a: list[float], b: list[float], crowd: bool = False) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    area = (a[2] - a[0]) * (a[3] - a[1])
    return shared / (area if crowd else area + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def slow_pairs(
    truth: Annotations, found: SplitDetections, threshold: float
) -> tuple[dict[int, int], set[int], dict[int, int]]:
    """Detections with a box of their class, detections on ignored boxes, and pairs of different classes after that."""
    hits: dict[int, int] = {}
    dropped: set[int] = set()
    confused: dict[int, int] = {}
    for image in range(len(truth)):
        boxes = range(truth.offsets[image], truth.offsets[image + 1])
        rows = [r for r in range(found.offsets[image], found.offsets[image + 1]) if float(found.scores[r]) >= threshold]
        rows.sort(key=lambda r: -found.scores[r])
        for same_class in (True, False):
            pairs = hits if same_class else confused
            for row in rows:
                if row in hits or row in dropped:
                    continue
                best, at = 0.5, None
                for box in boxes:
                    taken = box in hits.values() or box in confused.values()
                    if taken or truth.ignore[box] or (same_class and truth.labels[box] != found.labels[row]):
                        continue
                    overlap = iou(found.boxes_xyxy[row].tolist(), truth.boxes_xyxy[box].tolist())
                    if overlap >= best:
                        best, at = overlap, box
                if at is not None:
                    pairs[row] = at
                elif same_class and any(
                    truth.ignore[b] and truth.labels[b] == found.labels[row]
                    and iou(found.boxes_xyxy[row].tolist(), truth.boxes_xyxy[b].tolist(), crowd=True) >= 0.5
                    for b in boxes
                ):  # fmt: skip
                    dropped.add(row)
    return hits, dropped, confused


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.sampled_from([0.05, 0.3, 0.62, 0.9]))
def test_confusions_equal_the_slow_ones(seed: int, threshold: float) -> None:
    truth = random_truth(seed)
    found = random_detections(truth, seed)
    result = assessed(truth, found, threshold)
    hits, dropped, confused = slow_pairs(truth, found, threshold)
    background = truth.num_classes
    expected = np.zeros((background + 1, background + 1), dtype=int)
    pairs = hits | confused
    for row, box in pairs.items():
        expected[truth.labels[box], found.labels[row]] += 1
    for box in np.flatnonzero(~truth.ignore).tolist():
        expected[truth.labels[box], background] += box not in pairs.values()
    for row, score in enumerate(found.scores.tolist()):
        if score >= threshold and row not in pairs and row not in dropped:
            expected[background, found.labels[row]] += 1
    np.testing.assert_array_equal(result.confusion, expected)
    image_of = np.repeat(np.arange(len(found)), np.diff(found.offsets))
    counted = [r for r in range(len(image_of)) if found.scores[r].astype(float) >= threshold and r not in dropped]
    assert Counter(dict(enumerate(result.false.tolist()))) == Counter(
        {i: sum(image_of[r] == i and r not in hits for r in counted) for i in range(len(truth))}
    )
    found_boxes = Counter(int(image_of[row]) for row in hits)
    boxes = np.bincount(truth.image_index()[~truth.ignore], minlength=len(truth))
    assert result.missed.tolist() == [int(n) - found_boxes[i] for i, n in enumerate(boxes)]


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_curves_are_cocos_and_their_mean_is_ap50(seed: int) -> None:
    truth = random_truth(seed)
    found = random_detections(truth, seed)
    result = assessed(truth, found)
    metrics = result.evaluation.metrics
    for row, precision in zip(result.classes, result.precision):
        assert precision.mean() == pytest.approx(metrics.class_ap50[row.name], abs=1e-9, nan_ok=True)
        assert (np.diff(precision) <= 0).all() or math.isnan(precision[0])
    with_boxes = [row for row in result.classes if row.boxes]
    assert [row.boxes > 0 for row in result.classes] == [True, True, True, False]
    assert np.mean([row.ap for row in with_boxes]) == pytest.approx(metrics.ap, abs=1e-9)
    assert np.mean([row.ap50 for row in with_boxes]) == pytest.approx(metrics.ap50, abs=1e-9)
    assert math.isnan(result.classes[-1].ap)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_best_f1_is_the_best_of_all_thresholds(seed: int) -> None:
    truth = random_truth(seed)
    found = random_detections(truth, seed)
    result = assessed(truth, found)
    scores = sorted(set(found.scores.astype(float).tolist()), reverse=True)
    totals = {score: slow_counts(truth, found, score) for score in scores}
    for label, row in enumerate(result.classes[:-1]):
        # Of thresholds with the same F1, rounding may choose either.
        chosen = min(scores, key=lambda score: abs(score - row.score_threshold))
        assert row.score_threshold == pytest.approx(chosen)
        assert (row.precision, row.recall, row.f1) == pytest.approx(totals[chosen][label])
        assert row.f1 == pytest.approx(max(totals[score][label][2] for score in scores))
        assert row.images == len({int(i) for i in truth.image_index()[(truth.labels == label) & ~truth.ignore]})
    at_grid = [np.mean([f1 for *_, f1 in slow_counts(truth, found, float(t))[:-1]]) for t in THRESHOLDS[::10]]
    curves = class_curves(found, truth, match(found, truth))
    np.testing.assert_allclose(np.mean([c.f1_at(THRESHOLDS[::10]) for c in curves[:-1]], axis=0), at_grid)
    best_grid = np.mean([curve.f1_at(np.array([result.score_threshold])) for curve in curves[:-1]])
    assert best_grid >= max(at_grid) - 1e-12


def slow_counts(truth: Annotations, found: SplitDetections, threshold: float) -> list[tuple[float, float, float]]:
    """Precision, recall and F1 of every class at a score threshold."""
    hits, dropped, _ = slow_pairs(truth, found, threshold)
    rows = []
    for label in range(truth.num_classes):
        kept = (found.labels == label) & (found.scores.astype(float) >= threshold)
        counted = [row for row in np.flatnonzero(kept).tolist() if row not in dropped]
        right = sum(row in hits for row in counted)
        boxes = int(((truth.labels == label) & ~truth.ignore).sum())
        precision, recall = right / max(len(counted), 1), right / max(boxes, 1)
        rows.append((precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0))
    return rows


def test_only_the_hundred_best_of_an_image_and_class_count() -> None:
    boxes = np.array([[10.0, 10, 60, 60]])
    raw = RawBoxes(
        image=np.zeros(1, np.int64), boxes_xyxy=boxes, labels=np.zeros(1, np.int64), ignore=np.zeros(1, np.bool_)
    )
    truth = pack("t", ("a", "b"), [Path("0.jpg")], np.full((1, 2), 400, dtype=np.int32), raw)[0]
    false = np.tile([[200.0, 200, 260, 260]], (100, 1))
    scores = np.concatenate([np.full(100, 0.9), [0.8]])
    alone = SplitDetections.pack([(np.concatenate([false, boxes]), scores, np.zeros(101))])
    assert assessed(truth, alone, 0.5).confusion.tolist() == [[0, 0, 1], [0, 0, 0], [100, 0, 0]]
    shared = SplitDetections.pack([(np.concatenate([false, boxes]), scores, [1] * 100 + [0])])
    assert assessed(truth, shared, 0.5).confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 100, 0]]


def test_without_any_detection(tmp_path: Path) -> None:
    truth = random_truth(0)
    result = assessed(truth, SplitDetections.pack([((), (), ())] * len(truth)))
    assert result.score_threshold == DEFAULT_THRESHOLD
    assert result.false.sum() == 0
    assert result.missed.sum() == (~truth.ignore).sum() == result.confusion[:, -1].sum()
    assert math.isnan(result.classes[0].score_threshold)
    result.write_tables(tmp_path)
    row = next(csv.DictReader((tmp_path / "classes.csv").open()))
    assert (row["class"], row["ap"], row["precision"], row["score_threshold"]) == ("class 0", "0.0", "", "")


def test_tables_hold_the_counts(tmp_path: Path) -> None:
    truth = random_truth(3)
    result = assessed(truth, random_detections(truth, 3), 0.4)
    result.write_tables(tmp_path)
    content = json.loads((tmp_path / "confusion.json").read_text())
    assert (content["score_threshold"], content["iou_threshold"]) == (0.4, 0.5)
    assert content["counts"] == result.confusion.tolist()
    header, *rows = csv.reader((tmp_path / "confusion.csv").open())
    assert header[1:] == [*truth.class_names, "background"] == [row[0] for row in rows]
    assert [[int(cell) for cell in row[1:]] for row in rows] == content["counts"]
    with pytest.raises(ValueError, match="detections of 1 images, annotations of 8"):
        match(SplitDetections.pack([((), (), ())]), truth)


def test_the_worst_images_come_first_and_errors_have_their_colours(tmp_path: Path) -> None:
    from detector.drawing import write_picture

    truth = random_truth(5, images=12)
    for path in truth.image_paths:
        write_picture(np.full((400, 400, 3), 235, dtype=np.uint8), tmp_path / path.with_suffix(".png"))
    truth = pack(
        "s", truth.class_names, [tmp_path / path.with_suffix(".png") for path in truth.image_paths], truth.sizes_hw,
        RawBoxes(
            image=truth.image_index(), boxes_xyxy=truth.boxes_xyxy, labels=truth.labels.astype(np.int64),
            ignore=truth.ignore,
        ),
    )[0]  # fmt: skip
    result = assessed(truth, random_detections(truth, 5), 0.5)
    errors = result.missed + result.false
    chosen = choose_images(result)
    assert [errors[i] for i in chosen["worst"]] == sorted(errors, reverse=True)[:6]
    assert len(chosen["random"]) == NUM_RANDOM
    assert not set(chosen["worst"]) & set(chosen["random"])
    assert choose_images(result, seed=1) != chosen == choose_images(result)
    for one in compare(result):
        shown = {state: (one.truth == colour).all(axis=-1).any() for state, colour in COLOURS.items()}
        assert bool(shown["missed"]) <= bool(result.missed[one.index])
        assert not shown["false"]
        false = (one.predicted == COLOURS["false"]).all(axis=-1).any()
        assert bool(false) <= bool(result.false[one.index])
    assert any((one.truth == COLOURS["missed"]).all(axis=-1).any() for one in compare(result))
    assert any((one.predicted == COLOURS["false"]).all(axis=-1).any() for one in compare(result))

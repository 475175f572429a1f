"""Crowd boxes from the file to the loss and the metrics; inputs that are not square, likewise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detector.criterion import DetectionCriterion
from detector.data.annotations import Annotations
from detector.data.dataset import DetectionDataset
from detector.data.formats import load_split
from detector.data.loader import Batch, build_loader
from detector.data.sample import write_sample_data
from detector.evaluation import SplitDetections, evaluate
from detector.evaluation.inference import detect_all
from detector.priors import priors

SHAPE = (320, 416)


@pytest.fixture
def crowd(tmp_path: Path) -> Annotations:
    """One picture: a cat at the left, a crowd of cats over the right half."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train").mkdir()
    cv2.imwrite(str(tmp_path / "train" / "a.png"), np.full((100, 200, 3), 90, dtype=np.uint8))
    document = {
        "images": [{"id": 5, "file_name": "a.png", "height": 100, "width": 200}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 3, "bbox": [10, 20, 50, 60], "area": 3000, "iscrowd": 0},
            {"id": 2, "image_id": 5, "category_id": 3, "bbox": [100, 0, 100, 100], "area": 9000, "iscrowd": 1},
        ],
    }
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(document))
    return load_split(tmp_path, "train")[0]


def only_batch(annotations: Annotations) -> Batch:
    (batch,) = build_loader(DetectionDataset(annotations, SHAPE), 4, shuffle=False)
    assert batch.images.shape[-2:] == SHAPE
    return batch


def test_priors_in_a_crowd_learn_nothing(crowd: Annotations) -> None:
    points = priors(SHAPE)
    logits = torch.zeros(1, len(points), 1, requires_grad=True)
    sides = torch.zeros(1, len(points), 32, requires_grad=True)
    losses = DetectionCriterion()(logits, sides, points, only_batch(crowd))
    losses["total"].backward()
    assert losses["num_positives"] > 0
    assert logits.grad is not None
    taught = logits.grad[0, :, 0] != 0
    in_crowd = points[:, 0] >= SHAPE[1] / 2
    assert not taught[in_crowd].any()
    assert taught[~in_crowd].all()


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_detections_in_a_crowd_are_no_false_ones(crowd: Annotations, backend: str) -> None:
    pytest.importorskip(backend)
    cat, in_crowd, elsewhere = [10, 20, 60, 80], [120, 10, 150, 50], [62, 80, 90, 98]
    found = SplitDetections.pack([([in_crowd, in_crowd, cat], [0.9, 0.8, 0.7], [0, 0, 0])])
    assert evaluate(found, crowd, backend=backend).ap == pytest.approx(1.0)
    wrong = SplitDetections.pack([([elsewhere, elsewhere, cat], [0.9, 0.8, 0.7], [0, 0, 0])])
    assert evaluate(wrong, crowd, backend=backend).ap < 0.4


class Oracle(nn.Module):
    """Answers each picture with its own boxes: what is left to go wrong is the way from and to original pixels."""

    def __init__(self, batches: Iterator[Batch], num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self._batches = batches
        self._num_classes = num_classes

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        batch = next(self._batches)
        assert images.shape == (len(batch), 3, *SHAPE)
        scores = torch.zeros(*batch.labels.shape, self._num_classes)
        scores.scatter_(2, batch.labels[..., None], 0.9 * batch.valid[..., None])
        return batch.boxes_xyxy, scores


@pytest.mark.parametrize("size", [(96, 64), (64, 160)])
def test_boxes_return_to_original_pixels_when_nothing_is_square(tmp_path: Path, size: tuple[int, int]) -> None:
    write_sample_data(tmp_path / "d", 5, 0, size)
    annotations, _ = load_split(tmp_path / "d", "train")
    loader = build_loader(DetectionDataset(annotations, SHAPE), 2, shuffle=False)
    oracle = Oracle(iter(list(loader)), annotations.num_classes)
    found = detect_all(oracle, loader, score_threshold=0.5, iou_threshold=0.99)  # type: ignore[arg-type]
    assert evaluate(found, annotations).ap == pytest.approx(1.0)

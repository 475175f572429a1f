"""Does the exported file compute what torch computes? Asked before it gets its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detector.deploy import Floats, Model, load_model
from detector.deploy._export.stand_in import StandIn
from detector.detector import Detector, Selected
from detector.model_card import ModelCard
from detector.network import Network
from detector.suppression import suppress
from search_spaces.errors import UserError

_MATCHED_SHARE = 0.99
"""Of the detections: a pair whose IoU is a rounding error from the threshold may fall on either side."""


_DISTINCT_SHARE = 0.99


@dataclass(frozen=True, slots=True)
class Differences:
    """Largest differences: boxes_px in input pixels, scores; `compared` boxes or detections, `matched` of them."""

    boxes_px: float
    scores: float
    compared: int
    matched: int

    def __str__(self) -> str:
        return f"boxes {self.boxes_px:.2g} px, scores {self.scores:.2g} ({self.matched} of {self.compared} compared)"


class Verifier:
    """Holds what torch's training form gives on two inputs (noise, a drawn scene); compares exported files with it."""

    def __init__(self, network: Network, card: ModelCard, half: bool) -> None:
        self.card = card
        self._boxes_px, self._scores = (2.0, 2e-2) if half else (0.1, 1e-3)
        self._inputs = probe_images(card.batch or 2, card.image_size)
        self._network = network.eval()
        self._raw: list[tuple[Floats, Floats]] = []

    def check_raw(self, path: Path) -> Differences:
        """Compare a raw export with torch. Raises UserError when it is too far off or not finite."""
        model = load_model(path)
        self._raw = [_raw_outputs(model, images) for images in self._inputs]
        boxes_px = scores = 0.0
        for images, (found_boxes, found_scores) in zip(self._inputs, self._raw):
            with torch.inference_mode():
                boxes, probabilities = self._network(torch.from_numpy(images))
            boxes_px = max(boxes_px, _largest(boxes.numpy(), found_boxes))
            scores = max(scores, _largest(probabilities.numpy(), found_scores))
        compared = sum(boxes[..., 0].size for boxes, _ in self._raw)
        found = Differences(boxes_px, scores, compared, compared)
        if not (boxes_px <= self._boxes_px and scores <= self._scores):
            raise self._failure(path, f"differs from torch: {found}")
        return found

    def check_stand_in(self, path: Path, known: StandIn) -> Differences:
        """Compare NMS behind a model of known outputs with `detector.suppression`. Raises UserError as below."""
        return self._compare(path, known.card, [(known.boxes, known.scores)])

    def check_detections(self, path: Path) -> Differences:
        """Compare an export with NMS inside with `detector.suppression` on the raw export's outputs; after `check_raw`.

        Images whose candidates score alike (a network hardly trained) are left out: NMS has no one right answer there.
        Raises UserError when the detections are not the same.
        """
        return self._compare(path, self.card, self._raw)

    def _compare(self, path: Path, card: ModelCard, raw: Sequence[tuple[Floats, Floats]]) -> Differences:
        detector = Detector(load_model(path))
        limits = card.score_threshold, card.iou_threshold, card.max_detections
        pairs: list[tuple[Selected, Selected]] = []
        for images, (boxes, scores) in zip(self._inputs, raw):
            expected = [suppress(b, s, *limits) for b, s in zip(boxes, scores)]
            together = zip(expected, detector.detect_tensor(images), scores)
            pairs += [(one, other) for one, other, s in together if not _saturated(s[s > card.score_threshold])]
        found = compare_detections(pairs, self._boxes_px, self._scores)
        if found.matched < _MATCHED_SHARE * found.compared:
            raise self._failure(path, f"NMS gives other detections than torch: {found}")
        return found

    def _failure(self, path: Path, reason: str) -> UserError:
        limits = f"allowed: {self._boxes_px} px, {self._scores}"
        return UserError(f"{path.name}: the export {reason}; {limits}. Nothing was written; please report this model")


def probe_images(batch: int, image_size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Two inputs (batch, 3, H, W), 0..255: noise, and coloured rectangles on a slope of brightness, with grain."""
    generator = np.random.default_rng(0)
    height, width = image_size
    noise = generator.integers(0, 256, (batch, 3, height, width)).astype(np.float32)
    slope = np.linspace(0, 160, width)[None, :] + np.linspace(0, 60, height)[:, None]
    scene = np.broadcast_to(slope, noise.shape).astype(np.float32)
    for picture in scene:
        for _ in range(8):
            top, left = int(generator.integers(0, height - 8)), int(generator.integers(0, width - 8))
            down, right = (int(n) for n in generator.integers(8, max(height, width) // 2 + 8, 2))
            picture[:, top : top + down, left : left + right] = generator.integers(0, 256, (3, 1, 1))
    # grain: on flat colour neighbours score the same, and which of two equals NMS keeps is anybody's choice
    scene += generator.uniform(0, 6, scene.shape).astype(np.float32)
    return noise, scene


def compare_detections(pairs: Sequence[tuple[Selected, Selected]], boxes_px: float, scores: float) -> Differences:
    """Match (expected, found) detections, image by image, in any order: the same label, within the tolerances."""
    worst_box = worst_score = 0.0
    compared = matched = 0
    for (boxes, certain, labels), (other_boxes, other_certain, other_labels) in pairs:
        compared += max(len(boxes), len(other_boxes))
        if not len(boxes) or not len(other_boxes):
            continue
        box = np.abs(boxes[:, None] - other_boxes[None]).max(-1)
        score = np.abs(certain[:, None] - other_certain[None])
        near = (labels[:, None] == other_labels[None]) & (box <= boxes_px) & (score <= scores)
        partner = np.where(near, box + score, np.inf).argmin(1)
        rows = np.flatnonzero(near.any(1))
        matched += len(np.unique(partner[rows]))
        worst_box = max(worst_box, float(box[rows, partner[rows]].max(initial=0)))
        worst_score = max(worst_score, float(score[rows, partner[rows]].max(initial=0)))
    return Differences(worst_box, worst_score, compared, matched)


def _saturated(scores: Floats) -> bool:
    """Whether so many candidates score the same that NMS has no one right answer (a network not trained yet)."""
    return len(np.unique(scores)) < _DISTINCT_SHARE * len(scores)


def _raw_outputs(model: Model, images: Floats) -> tuple[Floats, Floats]:
    boxes, scores = model.run(images)
    return boxes.astype(np.float32), scores.astype(np.float32)


def _largest(expected: Floats, found: Floats) -> float:
    """Largest absolute difference; infinite for another shape or values that are not finite."""
    if expected.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(expected - found).max(initial=0))

"""Does the exported file compute what torch computes? Asked before it gets its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.agreement import Differences, Tolerance, check_golden, compare_detections, tolerance_of
from detector.data.image import Pixels, resize_stretch
from detector.deploy import Floats, Model, Outputs, load_model
from detector.detector import Detector, Selected
from detector.export.bisection import where_it_leaves
from detector.export.stand_in import StandIn
from detector.golden import Golden, decoded, drawn_scene, encoded_picture
from detector.model_card import ModelCard
from detector.network import Network
from detector.suppression import suppress
from search_spaces.errors import UserError

_DISTINCT_SHARE = 0.99
GRID = 32
BATCHES = (1, 3)
"""Tried where the batch is free."""


class Verifier:
    """Holds what torch's training form gives on two inputs (noise, a drawn scene); compares exported files with it.

    onnx: the ONNX model that the file was made from, to say where it goes wrong; None where it was made from none.
    """

    def __init__(self, network: Network, card: ModelCard, onnx: Callable[[], Any] | None) -> None:
        self.card = card
        self._tolerance = tolerance_of(replace(card, input="tensor"))
        counts = BATCHES if card.batch is None else (card.batch,)
        sizes = (card.image_size, other_size(card.image_size)) if card.free_size else (card.image_size,)
        self._inputs = [images for size in sizes for count in counts for images in probe_images(count, size)]
        self._network = network.eval()
        self._onnx = onnx
        self._raw: list[tuple[Floats, Floats]] = []

    def check_raw(self, path: Path) -> Differences:
        """Compare a raw export with torch. Raises UserError when it is too far off or not finite."""
        model = load_model(path)
        self._raw = [_raw_outputs(model, images) for images in self._inputs]
        boxes_px = scores = 0.0
        for images, (found_boxes, found_scores) in zip(self._inputs, self._raw):
            boxes, probabilities = _torch_run(self._network, images)
            boxes_px = max(boxes_px, _largest(boxes, found_boxes))
            scores = max(scores, _largest(probabilities, found_scores))
        compared = sum(boxes[..., 0].size for boxes, _ in self._raw)
        found = Differences(boxes_px, scores, compared, compared)
        if not found.within(self._tolerance):
            where = where_it_leaves(self._network, self._onnx(), self._inputs[-1]) if self._onnx is not None else ""
            raise _failure(path, f"differs from torch: {found}{where and f'; {where}'}", self._tolerance)
        return found

    def check_stand_in(self, path: Path, known: StandIn) -> Differences:
        """Compare NMS behind a model of known outputs with `detector.suppression`. Raises UserError as below."""
        inputs = [images for images in self._inputs if images.shape[2:] == self.card.image_size]
        counts = [len(images) for images in inputs]
        raw = [(known.boxes[np.arange(count) % 2], known.scores[np.arange(count) % 2]) for count in counts]
        return self._compare(path, known.card, inputs, raw)

    def check_detections(self, path: Path) -> Differences:
        """Compare an export with NMS inside with `detector.suppression` on the raw export's outputs; after `check_raw`.

        Images whose candidates score alike (a network hardly trained) are left out: NMS has no one right answer there.
        Raises UserError when the detections are not the same.
        """
        return self._compare(path, self.card, self._inputs, self._raw)

    def golden(self, picture: Pixels | None) -> Golden:
        """The picture, or a drawn one, and what torch finds in it."""
        size = self.card.picture_size
        if picture is None:
            picture = drawn_scene(size or (self.card.image_size[0] * 3 // 4, self.card.image_size[1] * 7 // 8))
        elif size is not None:
            picture = resize_stretch(picture, np.zeros((0, 4), dtype=np.float32), size)[0]
        data = encoded_picture(picture)
        card = replace(self.card, output="raw", input="tensor", batch=None)
        torch_detector = Detector(Model(card, lambda images: _torch_run(self._network, images)))
        (found,) = torch_detector.detect([decoded(data)])
        if _saturated(found.scores):
            return Golden.of(data, found[:0], 1.0)
        return Golden.of(data, found, card.score_threshold)

    def check_golden(self, path: Path) -> Differences:
        """From the file's own golden picture to boxes. Raises UserError when torch's are not found."""
        detector = Detector(load_model(path))
        found = check_golden(detector)
        assert found is not None
        tolerance = tolerance_of(detector.card)
        if not found.within(tolerance):
            raise _failure(path, f"finds other boxes than torch in the golden picture: {found}", tolerance)
        return found

    def _compare(
        self, path: Path, card: ModelCard, inputs: Sequence[Floats], raw: Sequence[tuple[Floats, Floats]]
    ) -> Differences:
        detector = Detector(load_model(path))
        limits = card.score_threshold, card.iou_threshold, card.max_detections
        pairs: list[tuple[Selected, Selected]] = []
        for images, (boxes, scores) in zip(inputs, raw):
            expected = [suppress(b, s, *limits) for b, s in zip(boxes, scores)]
            together = zip(expected, detector.detect_tensor(images), scores)
            pairs += [(one, other) for one, other, s in together if not _saturated(s[s > card.score_threshold])]
        found = compare_detections(pairs, self._tolerance)
        if not found.within(self._tolerance):
            raise _failure(path, f"NMS gives other detections than torch: {found}", self._tolerance)
        return found


def _failure(path: Path, reason: str, allowed: Tolerance) -> UserError:
    return UserError(
        f"{path.name}: the export {reason}; allowed: {allowed}. Nothing was written; please report this model"
    )


def other_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """Another size that a model of free size is tried at."""
    height, width = image_size
    return height + GRID, width - GRID if width > GRID else width + 2 * GRID


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


def _torch_run(network: Network, images: Any) -> Outputs:
    with torch.inference_mode():
        boxes, scores = network(torch.from_numpy(images))
    return boxes.numpy(), scores.numpy()


def _saturated(scores: Floats) -> bool:
    """Whether so many candidates score the same that NMS has no one right answer (a network not trained yet)."""
    return len(np.unique(scores)) < _DISTINCT_SHARE * len(scores)


def _raw_outputs(model: Model, images: Floats) -> tuple[Floats, Floats]:
    boxes, scores = model.run(images)
    return boxes.astype(np.float32), scores.astype(np.float32)


def _largest(expected: Any, found: Floats) -> float:
    """Largest absolute difference; infinite for another shape or values that are not finite."""
    if expected.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(expected - found).max(initial=0))

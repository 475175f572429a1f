"""Running a model file, whatever it is: one plug-in per file suffix (`pt.py`, `onnx.py`, `xml.py`).

A plug-in has `load(path) -> (ModelCard, run)`; `run` maps images (N, 3, H, W) float32, RGB 0..255, to the arrays that
the card names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from detector.model_card import ModelCard
from search_spaces.errors import UserError
from search_spaces.plugins import load_plugin, plugin_names

Floats: TypeAlias = npt.NDArray[np.float32]
Run: TypeAlias = Callable[[Floats], tuple[npt.NDArray[np.generic], ...]]


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """Detections of one image, best first: boxes_xyxy (K, 4) pixels, scores (K,), labels (K,)."""

    boxes_xyxy: Floats
    scores: Floats
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Backend:
    """A loaded model. `run` gives its outputs as they are, calling it gives detections."""

    card: ModelCard
    run: Run

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.card.class_names

    @property
    def image_size(self) -> tuple[int, int]:
        """Height, width of the input in pixels."""
        return self.card.image_size

    def __call__(self, images: Floats) -> list[ImageDetections]:
        """Detections of images (N, 3, H, W) float32, RGB 0..255; boxes in input pixels.

        Any N: a model of a fixed batch runs as often as needed, its last call filled up with zeros.
        """
        batch = self.card.batch or max(len(images), 1)
        found: list[ImageDetections] = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            empty = np.zeros((batch - len(part), *part.shape[1:]), dtype=np.float32)
            outputs = self.run(np.concatenate([part, empty]))
            found += [self._detections(outputs, row) for row in range(len(part))]
        return found

    def detect(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[ImageDetections]:
        """Detections of pictures (height, width, 3) uint8 RGB of any size; boxes in their own pixels, cut to them."""
        from detector.data.image import resize_stretch

        images, scales = [], []
        for picture in pictures:
            resized, one = resize_stretch(picture, np.ones((1, 4), dtype=np.float32), self.image_size)
            images.append(resized.transpose(2, 0, 1))
            scales.append(one)
        if not images:
            return []
        found = self(np.stack(images).astype(np.float32))
        return [
            replace(one, boxes_xyxy=_cut(one.boxes_xyxy / scale, picture.shape[:2]))
            for one, scale, picture in zip(found, scales, pictures)
        ]

    def at_least(self, score_threshold: float) -> Backend:
        """The same model with a score threshold of at least this."""
        return replace(self, card=replace(self.card, score_threshold=max(score_threshold, self.card.score_threshold)))

    def _detections(self, outputs: tuple[npt.NDArray[np.generic], ...], row: int) -> ImageDetections:
        card = self.card
        boxes, scores = (np.asarray(output[row], dtype=np.float32) for output in outputs[:2])
        if card.output == "raw":
            return postprocess_arrays(boxes, scores, card.score_threshold, card.iou_threshold, card.max_detections)
        labels = np.asarray(outputs[2][row], dtype=np.int64)
        count = min(int(outputs[3][row]), card.max_detections)
        count = int((scores[:count] > card.score_threshold).sum())
        return ImageDetections(boxes[:count], scores[:count], labels[:count])


def load_backend(
    path: str | Path,
    *,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
) -> Backend:
    """A model by its file: a checkpoint (.pt), an ONNX model (.onnx) or an OpenVINO model (.xml, its .bin beside it).

    Thresholds that are given replace the file's. Raises UserError, one line, for a file that is missing, of another
    kind or damaged, and for a threshold that a model with NMS inside cannot follow.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in plugin_names("detector.backends"):
        known = ", ".join(f".{name}" for name in plugin_names("detector.backends"))
        raise UserError(f"{path}: cannot run a {path.suffix or 'file without a suffix'}; expected one of {known}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a checkpoint (best.pt) or an export of one")
    card, run = load_plugin("detector.backends", suffix).load(path)
    wanted = {"score_threshold": score_threshold, "iou_threshold": iou_threshold, "max_detections": max_detections}
    changes = {key: value for key, value in wanted.items() if value is not None}
    if card.output == "nms":
        _check_built_in(card, changes, path)
    return Backend(replace(card, **changes), run)


def postprocess_arrays(
    boxes_A4: Floats, scores_AC: Floats, score_threshold: float, iou_threshold: float, max_detections: int
) -> ImageDetections:
    """`detector.postprocess` for arrays: boxes (A, 4) and scores (A, C) of one image."""
    import torch

    from detector.postprocess import postprocess

    tensors = torch.from_numpy(np.ascontiguousarray(boxes_A4)), torch.from_numpy(np.ascontiguousarray(scores_AC))
    boxes, scores, labels = postprocess(*tensors, score_threshold, iou_threshold, max_detections)
    return ImageDetections(boxes.numpy(), scores.numpy(), labels.numpy())


def _cut(boxes: Floats, size_hw: tuple[int, ...]) -> Floats:
    height, width = size_hw
    return np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float32)).astype(np.float32)


def _check_built_in(card: ModelCard, changes: dict[str, float], path: Path) -> None:
    """A model with NMS inside can be made stricter after the fact, not laxer."""
    problems = {
        "--score-threshold": changes.get("score_threshold", card.score_threshold) < card.score_threshold,
        "--iou-threshold": changes.get("iou_threshold", card.iou_threshold) != card.iou_threshold,
        "--max-detections": changes.get("max_detections", card.max_detections) > card.max_detections,
    }
    wrong = next((option for option, bad in problems.items() if bad), None)
    if wrong is not None:
        raise UserError(
            f"{path}: {wrong} cannot be met, NMS is built in (score {card.score_threshold:g}, "
            f"IoU {card.iou_threshold:g}, at most {card.max_detections}); export again with {wrong}, or with --raw"
        )

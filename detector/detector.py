"""A trained detector, ready to use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from detector.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from detector.data.annotations import Annotations
from detector.data.dataset import DetectionDataset
from detector.data.formats import load_split
from detector.data.image import read_image, resize_stretch
from detector.data.loader import build_loader
from detector.evaluation import Evaluation, Metrics, scored
from detector.network import Network
from detector.postprocess import postprocess
from detector.training.evaluator import clip_boxes, counted_of, detect_all, detections_for, selection_of
from detector.training.presets import postprocess_defaults
from search_spaces.errors import UserError
from search_spaces.structure import Structure

ImageLike: TypeAlias = str | Path | npt.NDArray[np.uint8]
PREDICT_SCORE_THRESHOLD = 0.3


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found in one image, best first.

    boxes_xyxy (n, 4) float32, pixels of the image as given; scores (n,) float32; labels (n,) int64; names: n class names
    """

    boxes_xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.float32], float, str]]:
        """(box (4,), score, class name) one by one."""
        return iter(zip(self.boxes_xyxy, self.scores.tolist(), self.names))


class Detector:
    """`Detector.load("best.pt").predict("street.jpg")`."""

    def __init__(self, checkpoint: Checkpoint, device: str | torch.device = "cpu") -> None:
        self.checkpoint = checkpoint
        self.device = torch.device(device)
        self._network: Network = checkpoint.network().deploy().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Detector:
        """From a checkpoint. Raises UserError for a file that is not one."""
        return cls(load_checkpoint(path), device)

    @property
    def structure(self) -> Structure:
        """The structure, with the classes and image size it was trained for."""
        return self.checkpoint.structure

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by label."""
        return self.checkpoint.class_names

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that images are stretched to."""
        return self.structure.image_size

    @property
    def network(self) -> Network:
        """The network in deploy form: images (B, 3, H, W) RGB 0..255 -> boxes (B, A, 4) and scores (B, A, C)."""
        return self._network

    @overload
    def predict(
        self, image: ImageLike, *, score_threshold: float = ..., iou_threshold: float | None = ...,
        max_detections: int = ...,
    ) -> Detection: ...  # fmt: skip

    @overload
    def predict(
        self, image: list[ImageLike] | tuple[ImageLike, ...], *, score_threshold: float = ...,
        iou_threshold: float | None = ..., max_detections: int = ...,
    ) -> list[Detection]: ...  # fmt: skip

    def predict(
        self,
        image: ImageLike | list[ImageLike] | tuple[ImageLike, ...],
        *,
        score_threshold: float = PREDICT_SCORE_THRESHOLD,
        iou_threshold: float | None = None,
        max_detections: int = 500,
    ) -> Detection | list[Detection]:
        """Find objects in one image (a path, or RGB pixels (H, W, 3) uint8), or in each of a list.

        score_threshold: 0..1, 0.3 shows what one would look at; iou_threshold: of the suppression, None: as published.
        Raises UserError for an image that cannot be read or has another shape.
        """
        if isinstance(image, (list, tuple)):
            return [self._one(item, score_threshold, iou_threshold, max_detections) for item in image]
        return self._one(image, score_threshold, iou_threshold, max_detections)

    def evaluate(self, data: str | Path, split: str = "val", *, batch_size: int = 16, workers: int = 0) -> Metrics:
        """COCO metrics on a split of a data set; score and IoU threshold as in the training's own evaluations."""
        annotations, _ = load_split(Path(data), split, self.class_names)
        return self.evaluate_split(annotations, batch_size=batch_size, workers=workers).metrics

    def evaluate_split(
        self, annotations: Annotations, *, batch_size: int = 16, workers: int = 0, max_detections: int | None = None
    ) -> Evaluation:
        """All detections in the images of a split that is loaded already, and their metrics.

        max_detections: the best of each image and class that count; None: as in the training's own evaluations.
        """
        counted = counted_of(self.checkpoint) if max_detections is None else max_detections
        loader = build_loader(
            DetectionDataset(annotations, self.image_size, cache_bytes=0), batch_size, shuffle=False, workers=workers
        )
        selection = selection_of(self.checkpoint)
        selection["max_detections"] = detections_for(selection["max_detections"], counted)
        return scored(detect_all(self._network, loader, **selection), annotations, counted)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint, without training state."""
        kept = self.checkpoint
        slim = Checkpoint(
            kept.structure, kept.class_names, kept.best_weights, kept.category_ids, None, kept.config, kept.metrics,
            kept.preprocessing,
        )  # fmt: skip
        save_checkpoint(slim, Path(path))

    @torch.inference_mode()
    def _one(self, image: ImageLike, score: float, iou: float | None, limit: int) -> Detection:
        pixels = _pixels(image)
        stretched, _ = resize_stretch(pixels, np.zeros((0, 4), dtype=np.float32), self.image_size)
        tensor = torch.from_numpy(stretched).to(self.device).permute(2, 0, 1)[None].float()
        boxes_BA4, scores_BAC = self._network(tensor)
        threshold = postprocess_defaults(self.structure)[1] if iou is None else iou
        boxes, scores, labels = postprocess(boxes_BA4[0], scores_BAC[0], score, threshold, limit)
        return self._detection(clip_boxes(boxes, *self.image_size), scores, labels, pixels.shape[:2])

    def _detection(self, boxes: Tensor, scores: Tensor, labels: Tensor, image_hw: tuple[int, ...]) -> Detection:
        scale = np.array([image_hw[1] / self.image_size[1], image_hw[0] / self.image_size[0]] * 2, dtype=np.float32)
        found = labels.cpu().numpy()
        names = tuple(self.class_names[label] for label in found.tolist())
        return Detection(boxes.cpu().numpy() * scale, scores.cpu().numpy(), found, names)


def _pixels(image: ImageLike) -> npt.NDArray[np.uint8]:
    if isinstance(image, (str, Path)):
        return read_image(Path(image))
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f"an image is a path or an array (height, width, 3) uint8 RGB; found {found}")
    if not image.size:
        raise UserError(f"the image is empty: {image.shape}")
    return image

"""Detections of many images as packed numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations

MAX_DETECTIONS = 100
"""Per image and class, as COCO counts."""


@dataclass(frozen=True, slots=True)
class SplitDetections:
    """Detections of N images; those of image i are rows `offsets[i]:offsets[i + 1]`.

    boxes_xyxy (D, 4) float32, original image pixels; scores (D,) float32; labels (D,) int32; offsets (N + 1,) int64
    """

    boxes_xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def pack(cls, images: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]]) -> SplitDetections:
        """From one (boxes_xyxy (n, 4), scores (n,), labels (n,)) per image, in the annotations' order."""
        boxes = [np.asarray(b, dtype=np.float32).reshape(-1, 4) for b, _, _ in images]
        scores = [np.asarray(s, dtype=np.float32).reshape(-1) for _, s, _ in images]
        labels = [np.asarray(c, dtype=np.int32).reshape(-1) for _, _, c in images]
        return cls(
            boxes_xyxy=np.concatenate([np.zeros((0, 4), dtype=np.float32), *boxes]),
            scores=np.concatenate([np.zeros(0, dtype=np.float32), *scores]),
            labels=np.concatenate([np.zeros(0, dtype=np.int32), *labels]),
            offsets=np.cumsum([0, *(len(b) for b in boxes)]).astype(np.int64),
        )

    @classmethod
    def interleaved(cls, shares: Sequence[SplitDetections]) -> SplitDetections:
        """The whole of what was dealt out to W processes: image i is image i // W of share i % W."""
        dealt = [shares[image % len(shares)].image(image // len(shares)) for image in range(sum(map(len, shares)))]
        return cls.pack(dealt)

    def judged(self, annotations: Annotations) -> SplitDetections:
        """Those that `annotations` of the same images can tell right from wrong: where images come from several data sets,
        detections of classes that an image's set does not label are left out."""
        if annotations.origins is None:
            return self
        image = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        labelled = annotations.origins.labelled(annotations.class_names)
        return self.select(labelled[annotations.origins.of_image[image], self.labels])

    def of_images(self, images: npt.NDArray[np.int64]) -> SplitDetections:
        """Those of some images (0-based), in that order."""
        return SplitDetections.pack([self.image(int(index)) for index in images])

    def select(self, keep: npt.NDArray[np.bool_]) -> SplitDetections:
        """Those that a mask (D,) holds for; the images stay."""
        kept = np.concatenate([[0], np.cumsum(keep)])
        return SplitDetections(
            self.boxes_xyxy[keep], self.scores[keep], self.labels[keep], kept[self.offsets].astype(np.int64)
        )

    def image(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """boxes_xyxy (n, 4), scores (n,), labels (n,) of one image."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        return self.boxes_xyxy[rows], self.scores[rows], self.labels[rows]

"""A picture, encoded, and what a model must find in it: the check that a model file carries with itself. Imports no torch."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from detector.data.image import Pixels

if TYPE_CHECKING:
    from detector.detections import Detections

MOST_BYTES = 200_000
LONGEST_PX = 640
MOST_EXPECTED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """picture: bytes of a picture file, in base64. boxes_xyxy (pixels of the picture), scores, labels: the best of what torch
    found in it with the checkpoint, above `score_threshold`."""

    picture: str
    boxes_xyxy: tuple[tuple[float, float, float, float], ...]
    scores: tuple[float, ...]
    labels: tuple[int, ...]
    score_threshold: float

    @classmethod
    def of(cls, picture: bytes, found: Detections, score_threshold: float) -> Golden:
        """What was found in an encoded picture, the best MOST_EXPECTED of it; boxes to a thousandth of a pixel."""
        best = found[:MOST_EXPECTED]
        left_out = float(found.scores[MOST_EXPECTED]) if len(found) > MOST_EXPECTED else score_threshold
        x1, y1, x2, y2 = (np.round(column.astype(np.float64), 3).tolist() for column in best.boxes_xyxy.T)
        return cls(
            picture=base64.b64encode(picture).decode(), boxes_xyxy=tuple(zip(x1, y1, x2, y2)),
            scores=tuple(np.round(best.scores.astype(np.float64), 6).tolist()), labels=tuple(best.labels.tolist()),
            score_threshold=left_out,
        )  # fmt: skip

    def pixels(self) -> Pixels:
        """The picture (H, W, 3) uint8 RGB."""
        return decoded(base64.b64decode(self.picture))

    def selected(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """boxes_xyxy (K, 4), scores (K,), labels (K,)."""
        boxes = np.array(self.boxes_xyxy, dtype=np.float32).reshape(-1, 4)
        return boxes, np.array(self.scores, dtype=np.float32), np.array(self.labels, dtype=np.int64)


def decoded(picture: bytes) -> Pixels:
    """The pixels (H, W, 3) uint8 RGB of an encoded picture."""
    stored = cv2.imdecode(np.frombuffer(picture, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert stored is not None
    return np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def encoded_picture(pixels: Pixels) -> bytes:
    """A picture (H, W, 3) uint8 RGB as a PNG, or where that is large as a JPEG of at most LONGEST_PX on its longer side."""
    turned = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".png", turned, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    if len(data) <= MOST_BYTES:
        return data
    scale = min(1.0, LONGEST_PX / max(pixels.shape[:2]))
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    small = cv2.resize(turned, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def drawn_scene(size_hw: tuple[int, int], seed: int = 0) -> Pixels:
    """Coloured rectangles and discs on a slope of brightness, (H, W, 3) uint8: a picture where none is given."""
    generator = np.random.default_rng(seed)
    height, width = size_hw
    slope = np.linspace(0, 160, width)[None, :, None] + np.linspace(0, 60, height)[:, None, None]
    scene = np.ascontiguousarray(np.broadcast_to(slope, (height, width, 3)).astype(np.uint8))
    for number in range(12):
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        x, y = int(generator.integers(0, width)), int(generator.integers(0, height))
        side = int(generator.integers(8, max(height, width) // 4 + 9))
        if number % 2:
            cv2.rectangle(scene, (x, y), (x + side, y + side // 2), colour, -1)
        else:
            cv2.circle(scene, (x, y), side // 2, colour, -1)
    return scene

"""Clips made on the spot, and a detector that finds their bright blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np

from detector.data.image import Pixels
from detector.detections import Detections
from detector.model_card import ModelCard
from detector.prediction.frames import Frame

NAMES = ("block", "a/b: кот")
WIDTH, HEIGHT, FPS = 160, 96, 25.0
CARD = ModelCard(
    class_names=NAMES, category_ids=(7, 3), image_size=(64, 96), output="raw", batch=None, score_threshold=0.3,
    iou_threshold=0.6, max_detections=100, preprocessing={}, structure="", tool_version="0",
)  # fmt: skip


def left_edge(index: int) -> int:
    """Where the block of a clip's frame begins: it moves four pixels a frame, and comes back after 25."""
    return 8 + 4 * (index % 25)


def shot(index: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """A white block of 32 x 24 pixels on a dark ground, RGB; brighter with the frame's number."""
    pixels = np.full((height, width, 3), 20 + index % 60, dtype=np.uint8)
    left = left_edge(index)
    pixels[30:54, left : left + 32] = 255
    return pixels


def clip(path: Path, frames: int = 10, codec: str = "mp4v", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """A video of `shot`s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), FPS, size)
    assert writer.isOpened()
    for index in range(frames):
        writer.write(cv2.cvtColor(shot(index, *size), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def find_blocks(pictures: Sequence[Pixels]) -> list[Detections]:
    """The bounding box of each bright block; label 0, score 0.9, and 0.4 for blocks that touch a border."""
    return [_blocks(picture) for picture in pictures]


def _blocks(picture: Pixels) -> Detections:
    height, width = picture.shape[:2]
    _, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 0] > 170).astype(np.uint8))
    boxes = [[x, y, x + w, y + h] for x, y, w, h, area in stats[1:].tolist() if area > 20]
    whole = [box[0] > 0 and box[1] > 0 and box[2] < width and box[3] < height for box in boxes]
    return detections(boxes, [0.9 if inside else 0.4 for inside in whole], size_hw=(height, width))


def detections(
    boxes: Sequence[Sequence[float]],
    scores: Sequence[float],
    labels: Sequence[int] | None = None,
    size_hw: tuple[int, int] = (HEIGHT, WIDTH),
) -> Detections:
    """As a detector gives them."""
    return Detections(
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4), scores=np.array(scores, dtype=np.float32),
        labels=np.array(labels or [0] * len(scores), dtype=np.int64), class_names=NAMES, category_ids=CARD.category_ids,
        image_size=size_hw,
    )  # fmt: skip


def frame(index: int | None = None, name: str = "clip.mp4", **more: object) -> Frame:
    """A frame of a video, or a picture."""
    seconds = None if index is None else index / FPS
    fields = {"seconds": seconds, "fps": None if index is None else FPS, **more}
    return Frame(name=PurePath(name), pixels=shot(index or 0), index=index, **fields)  # type: ignore[arg-type]

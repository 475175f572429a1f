"""The model as a prediction asks it: with a threshold for each class, and in tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from detector.data.image import Pixels
from detector.detections import Detections
from detector.detector import PREDICT_SCORE_THRESHOLD, Detector
from detector.prediction.thresholds import Thresholds
from detector.tiling import OVERLAP, cut_sides, fits_no_tile, merged, tiles_of

Look: TypeAlias = Callable[[Sequence[Pixels]], list[Detections]]


def prepared(
    detector: Detector, thresholds: Thresholds, *, iou: float | None = None, max_detections: int | None = None
) -> tuple[Detector, Look]:
    """The model at the lowest threshold that is asked for, and a function that keeps what is above its class's: as asked,
    else as the model file says, else the default.

    Raises UserError for a class that the model does not know, and for what a model with NMS inside cannot follow.
    """
    card = detector.card
    default = max(PREDICT_SCORE_THRESHOLD, card.score_threshold)
    if thresholds.others is None and card.class_thresholds is not None:
        own = {name: max(least, card.score_threshold) for name, least in zip(card.class_names, card.class_thresholds)}
        thresholds = replace(thresholds, named={**own, **(thresholds.named or {})})
    by_label = thresholds.by_label(detector.class_names, default)
    asked = detector.with_thresholds(score=thresholds.least(default), iou=iou, max_detections=max_detections)

    def look(pictures: Sequence[Pixels]) -> list[Detections]:
        return [found[found.scores > by_label[found.labels]] for found in asked.detect_each(pictures)]

    return asked, look if thresholds.named else lambda pictures: list(asked.detect_each(pictures))


def in_tiles(
    look: Look, tile_hw: tuple[int, int], iou_threshold: float, max_detections: int, overlap: float = OVERLAP
) -> Look:
    """The same on pictures cut into tiles, and for what no tile holds on each picture as a whole; see `detector.tiling`.

    A picture no larger than a tile is looked at as it is.
    """

    def one(picture: Pixels) -> Detections:
        size_hw = (picture.shape[0], picture.shape[1])
        tiles = tiles_of(size_hw, tile_hw, overlap)
        if len(tiles) == 1:
            return look([picture])[0]
        parts = [np.ascontiguousarray(picture[t.y : t.y + t.height, t.x : t.x + t.width]) for t in tiles]
        whole, *found = look([picture, *parts])
        whole = whole[fits_no_tile(whole.boxes_xyxy, tiles)]
        boxes, cut = [whole.boxes_xyxy], [np.zeros((len(whole), 4), dtype=np.bool_)]
        for tile, part in zip(tiles, found):
            moved = part.boxes_xyxy + np.array([tile.x, tile.y] * 2, dtype=np.float32)
            boxes.append(moved)
            cut.append(cut_sides(moved, tile, size_hw))
        scores = np.concatenate([whole.scores, *(part.scores for part in found)])
        labels = np.concatenate([whole.labels, *(part.labels for part in found)])
        kept = merged(np.concatenate(boxes), scores, labels, np.concatenate(cut), iou_threshold)
        return replace(whole, boxes_xyxy=kept[0], scores=kept[1], labels=kept[2])[:max_detections]

    return lambda pictures: [one(picture) for picture in pictures]

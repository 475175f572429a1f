"""Overlapping tiles of large pictures, and detections in them put together to those of the picture.

A detector shrinks a large picture to its input size, and small objects with it; a tile comes as it is. What a tile's border
cuts is found whole in a neighbour, in the picture as a whole if it is too large for that, or put together from its pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

OVERLAP = 0.2
_AT_BORDER = 0.01
"""As a share of the tile's side: how near to an inner border a box counts as cut by it."""
_INSIDE = 0.5
"""Of a cut box's area: so much within another box makes it a part of that."""
_ALONG = 0.6
"""IoU of two pieces' extents along the border between them: from this on they are one object."""

Floats: TypeAlias = npt.NDArray[np.float32]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tile:
    """Left, top, width and height in pixels of the picture."""

    x: int
    y: int
    width: int
    height: int


def tiles_of(size_hw: tuple[int, int], tile_hw: tuple[int, int], overlap: float = OVERLAP) -> list[Tile]:
    """The tiles that cover a picture, row by row: as few as overlap by that share of a side at least, evenly spread."""
    (height, width), (tall, wide) = size_hw, tile_hw
    tall, wide = min(tall, height), min(wide, width)
    return [Tile(x, y, wide, tall) for y in starts(height, tall, overlap) for x in starts(width, wide, overlap)]


def starts(side: int, tile: int, overlap: float) -> list[int]:
    """Where the tiles along one side begin; the last ends at the border."""
    if side <= tile:
        return [0]
    step = max(1, round(tile * (1 - overlap)))
    count = -(-(side - tile) // step) + 1
    # evenly, so that no two tiles overlap nearly wholly at the border
    return [round(i * (side - tile) / (count - 1)) for i in range(count)]


def fits_no_tile(boxes_xyxy: Floats, tiles: Sequence[Tile]) -> Bools:
    """(K,): whether a box (K, 4) px may be cut wherever it lies. All others are whole in some tile, at the tile's scale: what
    a look at the picture as a whole says of them is worth less."""
    overlaps = [tiles[0].width, tiles[0].height]
    for axis, places in enumerate((sorted({tile.x for tile in tiles}), sorted({tile.y for tile in tiles}))):
        steps = [after - before for before, after in pairwise(places)]
        overlaps[axis] = overlaps[axis] - max(steps) if steps else 1 << 30
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    return np.asarray((sides > np.array(overlaps, dtype=np.float32)).any(axis=1))


def cut_sides(boxes_xyxy: Floats, tile: Tile, size_hw: tuple[int, int]) -> Bools:
    """(K, 4): whether the tile's left, top, right, bottom border, where it lies inside the picture, cuts a box (K, 4) px
    of the picture."""
    near_x, near_y = max(1.0, tile.width * _AT_BORDER), max(1.0, tile.height * _AT_BORDER)
    right, bottom = tile.x + tile.width, tile.y + tile.height
    return np.stack(
        [
            (boxes_xyxy[:, 0] <= tile.x + near_x) & (tile.x > 0),
            (boxes_xyxy[:, 1] <= tile.y + near_y) & (tile.y > 0),
            (boxes_xyxy[:, 2] >= right - near_x) & (right < size_hw[1]),
            (boxes_xyxy[:, 3] >= bottom - near_y) & (bottom < size_hw[0]),
        ],
        axis=1,
    )


def merged(
    boxes_xyxy: Floats,
    scores: Floats,
    labels: npt.NDArray[np.int64],
    cut: Bools,
    iou_threshold: float,
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Detections of all tiles (K, 4), (K,), (K,) as those of the picture, best first.

    cut (K, 4): see `cut_sides`. Within a class, whole boxes suppress by IoU as always. A cut box goes into the whole one that
    holds most of it, which takes the better score; pieces on two sides of a border that fit together become one.
    """
    kept_boxes, kept_scores, kept_labels = [], [], []
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        boxes, values = _merged_class(boxes_xyxy[mine], scores[mine], cut[mine], iou_threshold)
        kept_boxes.append(boxes)
        kept_scores.append(values)
        kept_labels.append(np.full(len(values), label, dtype=np.int64))
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *kept_boxes])
    values = np.concatenate([np.zeros(0, np.float32), *kept_scores])
    found = np.concatenate([np.zeros(0, np.int64), *kept_labels])
    order = np.argsort(-values, kind="stable")
    return boxes[order], values[order], found[order]


def _merged_class(boxes: Floats, scores: Floats, cut: Bools, iou_threshold: float) -> tuple[Floats, Floats]:
    """Whole boxes first, best first, then pieces, largest first: what is one of those kept already goes into it."""
    kept, values, ends = np.zeros_like(boxes), np.zeros_like(scores), np.zeros_like(cut)
    count = 0
    pieces: Bools = np.asarray(cut.any(axis=1))
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for i in np.lexsort((-scores, np.where(pieces, -areas, 0), pieces)).tolist():
        box, others, piece = boxes[i], kept[:count], bool(pieces[i])
        shared, iou = _overlap(box, others)
        going_on = _going_on(box, cut[i], others, ends[:count])
        inside = (shared > _INSIDE * areas[i]) & piece
        same: Bools = (iou > iou_threshold) | inside
        if going_on.any():
            home = int(np.argmax(np.where(going_on, values[:count], -1)))
            kept[home] = [*np.minimum(box[:2], kept[home, :2]), *np.maximum(box[2:], kept[home, 2:])]
            ends[home] &= cut[i]
        elif same.any():
            home = int(np.argmax(np.where(same, iou, -1)))
        else:
            kept[count], values[count], ends[count] = box, scores[i], cut[i]
            count += 1
            continue
        if piece:
            values[home] = max(values[home], scores[i])
    return kept[:count], values[:count]


def _overlap(box: Floats, others: Floats) -> tuple[Floats, Floats]:
    """Area (N,) shared by the box and each other, and their IoU."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    return shared, shared / np.maximum(union, np.float32(1e-9))


def _going_on(box: Floats, cut: Bools, others: Floats, open_sides: Bools) -> Bools:
    """Whether a piece goes on where others (N, 4) end: cut on facing sides, touching, and as far along the border."""
    result = np.zeros(len(others), dtype=np.bool_)
    for axis in (0, 1):
        low, high, across = axis, axis + 2, 1 - axis
        touch = (box[low] <= others[:, high]) & (others[:, low] <= box[high])
        facing = (cut[low] & open_sides[:, high]) | (cut[high] & open_sides[:, low])
        shared = np.minimum(box[across + 2], others[:, across + 2]) - np.maximum(box[across], others[:, across])
        whole = np.maximum(box[across + 2], others[:, across + 2]) - np.minimum(box[across], others[:, across])
        result |= touch & facing & (shared > _ALONG * whole)
    return result

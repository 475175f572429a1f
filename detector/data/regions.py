"""Which data set each place of a picture comes from, while mosaic, mixup and maps put pictures of several sets together.

A *region map* is (L, h, w) uint8: at each place of a coarse grid the number of the data set that is seen there, or NOWHERE
for what is no picture (the grey outside). A second layer holds what mixup lays over the first. L is 0 where the data are
one set: then nobody needs it. A plain picture is one place, (1, 1, 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

RegionMap: TypeAlias = npt.NDArray[np.uint8]

CELL_PX = 8
"""Of the grid, looked up at its cells' centres: the finest stride of the head."""
NOWHERE = 255
MOST_SETS = 254
LAYERS = 2
NO_MAP: RegionMap = np.zeros((0, 1, 1), dtype=np.uint8)
NO_MAP.setflags(write=False)


def plain(number: int) -> RegionMap:
    """Of a picture of data set `number`."""
    return np.full((1, 1, 1), number, dtype=np.uint8)


def mapped(
    maps: Sequence[RegionMap | None], rectangles: npt.NDArray[np.float32], matrix: npt.NDArray[np.float64],
    size_hw: tuple[int, int],
) -> RegionMap:  # fmt: skip
    """What is seen after `matrix` (2, 3) has mapped pictures at `rectangles` (n, 4) into a frame of `size_hw`.

    maps: the pictures' own, of plain pictures or none (what a map does not show).
    """
    if not any(one is not None and len(one) for one in maps):
        return NO_MAP
    height, width = (side // CELL_PX for side in size_hw)
    back = np.asarray(cv2.invertAffineTransform(matrix), dtype=np.float64)
    x, y = np.meshgrid((np.arange(width) + 0.5) * CELL_PX, (np.arange(height) + 0.5) * CELL_PX)
    there_x = back[0, 0] * x + back[0, 1] * y + back[0, 2]
    there_y = back[1, 0] * x + back[1, 1] * y + back[1, 2]
    found = np.full((1, height, width), NOWHERE, dtype=np.uint8)
    for one, (left, top, right, bottom) in zip(maps, rectangles):
        if one is not None:
            inside = (there_x >= left) & (there_x < right) & (there_y >= top) & (there_y < bottom)
            found[0, inside] = one[0, 0, 0]
    return found


def laid_over(first: RegionMap, second: RegionMap) -> RegionMap:
    """Both pictures seen at once, as mixup does."""
    if not len(first):
        return NO_MAP
    shape = (max(first.shape[1], second.shape[1]), max(first.shape[2], second.shape[2]))
    return np.concatenate([np.broadcast_to(one, (len(one), *shape)) for one in (first, second)])


def oriented(regions: RegionMap, *, left_right: bool, up_down: bool, quarter_turns: int) -> RegionMap:
    """As `detector.data.geometry.orient` turns and mirrors the picture."""
    turned = np.rot90(regions, quarter_turns, axes=(1, 2))
    turned = turned[:, :, ::-1] if left_right else turned
    return turned[:, ::-1] if up_down else turned


def whole(regions: RegionMap, size_hw: tuple[int, int]) -> RegionMap:
    """Of a finished picture of `size_hw`: (LAYERS, height / 8, width / 8), stretched where need be; (0, ...) without sets."""
    height, width = (side // CELL_PX for side in size_hw)
    if not len(regions):
        return np.zeros((0, height, width), dtype=np.uint8)
    rows = ((np.arange(height) + 0.5) * regions.shape[1] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * regions.shape[2] / width).astype(np.int64)
    found = np.full((LAYERS, height, width), NOWHERE, dtype=np.uint8)
    found[: len(regions)] = regions[:, rows[:, None], columns]
    return found

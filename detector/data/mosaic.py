"""Four pictures around a random point, laid out first and drawn later: only as much of them as will be seen.

What follows a mosaic is an affine map to half of its side, which shows a part of it. Where the map is known, pictures that
it leaves out are not even decoded, and the others are copied as far as they are seen. The result is that of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.data.geometry import Boxes, Matrix, Picture, clip_boxes, keep_visible, warp_boxes
from detector.data.image import Pixels

_PLACES = ((-1, -1), (0, -1), (-1, 0), (0, 0))
_EDGE_PX = 2
"""What interpolation reads beside a point, and rounding besides."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each tile's corner lies on a canvas of twice the `size_hw` (height, width) of a tile. `others`: indices of the
    pictures after the first, three or none."""

    size_hw: tuple[int, int]
    others: tuple[int, ...]
    corners_xy: tuple[tuple[int, int], ...]

    @property
    def canvas_hw(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return 2 * self.size_hw[0], 2 * self.size_hw[1]

    def rectangles(self) -> Boxes:
        """The tiles (n, 4) on the canvas, cut to it; x1, y1, x2, y2."""
        height, width = self.size_hw
        whole = np.array([[x, y, x + width, y + height] for x, y in self.corners_xy], dtype=np.float32)
        return clip_boxes(whole, self.canvas_hw)


def lay_out(size_hw: tuple[int, int], partners: npt.NDArray[np.int64], rng: np.random.Generator) -> Layout:
    """Three partners and the point where the four meet, at a quarter of the canvas from its border at least."""
    height, width = size_hw
    others = rng.choice(partners, 3) if len(partners) else partners
    x_mid, y_mid = int(rng.uniform(0.5 * width, 1.5 * width)), int(rng.uniform(0.5 * height, 1.5 * height))
    corners = tuple((x_mid + left * width, y_mid + top * height) for left, top in _PLACES)
    return Layout(size_hw, tuple(int(other) for other in others), corners[: 1 + len(others)])


def seen(layout: Layout, matrix: Matrix) -> list[bool]:
    """Which tiles `matrix`, from the canvas to a frame of a tile's size, can show anything of.

    Judged by the hull of the mapped tile, so that a box of a tile that is not seen has no hull in the frame either.
    """
    height, width = layout.size_hw
    margin = _EDGE_PX * (1 + float(np.abs(matrix[:, :2]).sum(axis=1).max()))
    hulls = warp_boxes(layout.rectangles(), matrix)
    inside = (hulls[:, :2] < (width + margin, height + margin)) & (hulls[:, 2:] > -margin)
    return [bool(both.all()) for both in inside]


def draw(layout: Layout, tiles: Sequence[Picture | None], matrix: Matrix, fill: int) -> Pixels:
    """The canvas (2h, 2w, 4), RGB and one more channel of no meaning, right where `matrix` shows it; anything elsewhere.

    Four channels, because OpenCV warps them in less than half the time of three.
    """
    x0, y0, x1, y1 = _window(layout, matrix)
    canvas = np.empty((*layout.canvas_hw, 4), dtype=np.uint8)
    canvas[y0:y1, x0:x1] = fill
    height, width = layout.size_hw
    for tile, (x, y) in zip(tiles, layout.corners_xy):
        left, top, right, bottom = max(x, x0), max(y, y0), min(x + width, x1), min(y + height, y1)
        if tile is not None and left < right and top < bottom:
            part = tile.image[top - y : bottom - y, left - x : right - x]
            cv2.cvtColor(part, cv2.COLOR_RGB2RGBA, dst=canvas[top:bottom, left:right])
    return canvas


def boxes_on_canvas(layout: Layout, tiles: Sequence[Picture | None], min_visible: float) -> Picture:
    """The tiles' boxes on the canvas, cut to it, as a picture without pixels; too small remains are dropped."""
    nothing = np.zeros((0, 0, 3), dtype=np.uint8)
    whole, labels, ignore = [], [], []
    for tile, (x, y) in zip(tiles, layout.corners_xy):
        if tile is not None:
            whole.append(tile.boxes_xyxy + np.array([x, y, x, y], dtype=np.float32))
            labels.append(tile.labels)
            ignore.append(tile.ignore)
    boxes = np.concatenate(whole)
    cut = Picture(nothing, clip_boxes(boxes, layout.canvas_hw), np.concatenate(labels), np.concatenate(ignore))
    return keep_visible(cut, boxes, 1.0, min_visible)


def _window(layout: Layout, matrix: Matrix) -> tuple[int, int, int, int]:
    """The part of the canvas (x1, y1, x2, y2) that `matrix` shows, with the edge that interpolation reads."""
    height, width = layout.size_hw
    back = cv2.invertAffineTransform(matrix)
    frame = np.array([[0, 0, width, height]], dtype=np.float32)
    x0, y0, x1, y1 = warp_boxes(frame, np.asarray(back, dtype=np.float64))[0].tolist()
    bounds = np.floor([x0 - _EDGE_PX, y0 - _EDGE_PX]), np.ceil([x1 + _EDGE_PX, y1 + _EDGE_PX])
    limit = np.array(layout.canvas_hw[::-1])
    low, high = (np.clip(bound, 0, limit).astype(int).tolist() for bound in bounds)
    return low[0], low[1], high[0], high[1]

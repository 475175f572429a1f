"""Images and boxes under affine maps and mirrors: the maths that mosaic, mixup and the affine share.

A map M is (2, 3):
[x', y'] = M [x, y, 1]."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from detector.data.image import Pixels
from detector.data.regions import NO_MAP, RegionMap, oriented

Boxes = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]


class Picture(NamedTuple):
    """An image (H, W, 3) uint8 with boxes_xyxy (n, 4) float32 px, labels (n,) int32 and ignore (n,) bool.

    regions: of which data set its parts are (detector/data/regions.py); (0, ...) where the data are one set.
    """

    image: Pixels
    boxes_xyxy: Boxes
    labels: npt.NDArray[np.int32]
    ignore: npt.NDArray[np.bool_]
    regions: RegionMap = NO_MAP


def affine_matrix(
    source_hw: tuple[int, int],
    target_hw: tuple[int, int],
    *,
    scale: float = 1.0,
    degrees: float = 0.0,
    shear_degrees: tuple[float, float] = (0.0, 0.0),
    shift: tuple[float, float] = (0.0, 0.0),
) -> Matrix:
    """Rotate, scale and shear about the source's centre, which lands on the target's centre plus `shift` (x, y) px.

    A positive angle turns counter-clockwise as seen on screen.
    """
    angle = math.radians(degrees)
    turn = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    shear_x, shear_y = (math.tan(math.radians(value)) for value in shear_degrees)
    linear = np.array([[1.0, shear_x], [shear_y, 1.0]]) @ turn
    # Boxes are pixel edges: the centre of a picture W wide is W / 2.
    centre = np.array([source_hw[1], source_hw[0]]) / 2
    target = np.array([target_hw[1], target_hw[0]]) / 2 + np.array(shift)
    return np.concatenate([linear, (target - linear @ centre)[:, None]], axis=1)


def warp(image: Pixels, matrix: Matrix, size_hw: tuple[int, int], fill: int) -> Pixels:
    """Map an image (H, W, 3) through `matrix` (pixel edges) into (height, width, 3); a fourth channel is left out.

    OpenCV maps four channels in less than half the time of three, and to the same values.
    """
    # OpenCV counts from pixel centres: shift by half a pixel on both sides.
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    four = image if image.shape[2] == 4 else cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    warped = cv2.warpAffine(
        four, centred, size_hw[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 4
    )
    return np.asarray(cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), dtype=np.uint8)


def warp_boxes(boxes_xyxy: Boxes, matrix: Matrix) -> Boxes:
    """The axis-aligned hulls of the mapped boxes (n, 4), unclipped."""
    x, y = boxes_xyxy[:, [0, 2, 2, 0]], boxes_xyxy[:, [1, 1, 3, 3]]
    mapped_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    mapped_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    hulls = [mapped_x.min(axis=1), mapped_y.min(axis=1), mapped_x.max(axis=1), mapped_y.max(axis=1)]
    return np.stack(hulls, axis=1).astype(np.float32)


def clip_boxes(boxes_xyxy: Boxes, size_hw: tuple[int, int]) -> Boxes:
    """Boxes (n, 4) cut to an image of `size_hw`."""
    height, width = size_hw
    return np.clip(boxes_xyxy, 0, np.array([width, height, width, height], dtype=np.float32)).astype(np.float32)


def box_areas(boxes_xyxy: Boxes) -> npt.NDArray[np.float32]:
    """Areas (n,) px^2; 0 for an inverted box."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)


def keep_visible(picture: Picture, whole: Boxes, min_side_px: float, min_visible: float) -> Picture:
    """Drop boxes under `min_side_px`, and those of which less than `min_visible` of `whole` (n, 4) is left.

    An ignored box stays however little is left of it: what it covers is still unlabelled.
    """
    if not len(picture.boxes_xyxy):
        return picture
    sides = picture.boxes_xyxy[:, 2:] - picture.boxes_xyxy[:, :2]
    enough = box_areas(picture.boxes_xyxy) >= min_visible * box_areas(whole)
    keep = (sides >= min_side_px).all(axis=1) & (enough | picture.ignore)
    return picture._replace(
        boxes_xyxy=picture.boxes_xyxy[keep], labels=picture.labels[keep], ignore=picture.ignore[keep]
    )


def orient(picture: Picture, *, left_right: bool, up_down: bool, quarter_turns: int) -> Picture:
    """Turn by 90 degrees counter-clockwise `quarter_turns` times, then mirror. Boxes follow exactly.

    A quarter turn of an image that is not square changes its shape.
    """
    image, boxes = picture.image, picture.boxes_xyxy
    for _ in range(quarter_turns % 4):
        width = image.shape[1]
        image = np.asarray(cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE), dtype=np.uint8)
        boxes = np.stack([boxes[:, 1], width - boxes[:, 2], boxes[:, 3], width - boxes[:, 0]], axis=1)
    height, width = image.shape[:2]
    if left_right or up_down:
        code = -1 if left_right and up_down else int(left_right)
        image = np.asarray(cv2.flip(image, code), dtype=np.uint8)
    if left_right:
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    if up_down:
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1)
    regions = oriented(picture.regions, left_right=left_right, up_down=up_down, quarter_turns=quarter_turns)
    return picture._replace(image=image, boxes_xyxy=boxes.astype(np.float32, copy=False), regions=regions)

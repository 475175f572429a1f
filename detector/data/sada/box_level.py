"""One picture under SADA: a sub-policy drawn, boxes chosen, changed pixels blended in around them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from detector.data.geometry import Boxes, Picture, box_areas, clip_boxes, keep_visible
from detector.data.image import Pixels
from detector.data.sada.colour import COLOUR_OPS
from detector.data.sada.geometric import Move, move_of
from detector.data.sada.policy import Operation, Policy, blended_shares, size_classes

Weights = npt.NDArray[np.float32]


def augment_boxes(
    picture: Picture,
    policy: Policy,
    progress: float,
    rng: np.random.Generator,
    *,
    fill: int = 114,
    min_side_px: float = 2.0,
    min_visible: float = 0.1,
    mirror: bool = True,
) -> Picture:
    """`picture` with one random sub-policy: its colour step, then its geometric step; the input is left as it was.

    progress: 0..1, the share of the training before the no-mosaic phase that is done; probabilities are scaled by it.
    A translation adds a box, as far as it stays in the image (the last two settings as in `keep_visible`). Crowd and
    ignored boxes are never chosen. mirror=False: boxes are not mirrored where the policy says so.
    """
    colour, geometric = policy.sub_policies[int(rng.integers(len(policy.sub_policies)))]
    if rng.random() < colour.probability * progress:
        chosen = _choose(picture, policy, rng)
        picture = picture._replace(image=change_colours(picture.image, picture.boxes_xyxy[chosen], colour, policy))
    if rng.random() < geometric.probability * progress:
        chosen = _choose(picture, policy, rng)
        move = move_of(geometric.op, geometric.level, negative=bool(rng.random() < 0.5))
        if mirror or not move.mirror:
            picture = move_boxes(picture, chosen, move, fill=fill, min_side_px=min_side_px, min_visible=min_visible)
    return picture


def change_colours(image: Pixels, boxes_xyxy: Boxes, step: Operation, policy: Policy) -> Pixels:
    """`image` with `step`'s colour operation blended in around boxes (n, 4) px."""
    if not len(boxes_xyxy):
        return image
    size_hw = (image.shape[0], image.shape[1])
    share = blended_shares(box_areas(boxes_xyxy), size_hw, policy)
    return _blend(image, COLOUR_OPS[step.op](image, step.level), gaussian_map(boxes_xyxy, share, size_hw))


def move_boxes(
    picture: Picture,
    chosen: npt.NDArray[np.int64],
    move: Move,
    *,
    fill: int = 114,
    min_side_px: float = 2.0,
    min_visible: float = 0.1,
) -> Picture:
    """`picture` with the crops of the `chosen` boxes (indices) changed and blended in, one after the other.

    A shifted crop is pasted at its new place with a new box, unless too little of it would stay in the image.
    """
    if any(move.shift):
        return _with_copies(picture, chosen, move, min_side_px, min_visible)
    image = picture.image.copy()
    for x0, y0, x1, y1 in _whole_pixels(picture.boxes_xyxy[chosen]):
        if x1 > x0 and y1 > y0:
            _paste(image, move.apply(picture.image[y0:y1, x0:x1], fill), (x0, y0))
    return picture._replace(image=image)


def gaussian_map(boxes_xyxy: Boxes, shares: npt.NDArray[np.float64], size_hw: tuple[int, int]) -> Weights:
    """Weights (H, W) in 0..1: the sum, cut at 1, of a Gaussian at each box (n, 4) px of positive sides.

    shares (n,): k, with standard deviations (h / H) r and (w / W) r, r^2 = k H W / 2 pi: in a square image the area
    under a map is k times the box's.
    """
    radius = np.sqrt(shares * (size_hw[0] * size_hw[1] / (2 * math.pi)))
    profiles = []
    for axis, side in ((1, size_hw[0]), (0, size_hw[1])):
        low, high = boxes_xyxy[:, axis].astype(np.float64), boxes_xyxy[:, axis + 2].astype(np.float64)
        deviation = (high - low) / side * radius
        # Pixel i covers i..i + 1: its centre is compared with the box's.
        distance = np.arange(side) + 0.5 - ((low + high) / 2)[:, None]
        profiles.append(np.exp(-0.5 * np.square(distance / deviation[:, None])).astype(np.float32))
    return np.asarray(np.minimum(profiles[0].T @ profiles[1], 1), dtype=np.float32)


def _choose(picture: Picture, policy: Policy, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Indices of the boxes to augment: each with its size class's probability."""
    areas = box_areas(picture.boxes_xyxy)
    classes = size_classes(areas, (picture.image.shape[0], picture.image.shape[1]))
    drawn = rng.random(len(areas)) < np.array(policy.box_probabilities)[classes]
    return np.flatnonzero(drawn & (areas > 0) & ~picture.ignore).astype(np.int64)


def _with_copies(
    picture: Picture, chosen: npt.NDArray[np.int64], move: Move, min_side_px: float, min_visible: float
) -> Picture:
    size_hw = (picture.image.shape[0], picture.image.shape[1])
    shift_x, shift_y = (round(shift) for shift in move.shift)
    whole = picture.boxes_xyxy[chosen] + np.array([shift_x, shift_y] * 2, dtype=np.float32)
    # The labels carry along which boxes are left.
    none_ignored = np.zeros(len(chosen), dtype=np.bool_)
    copies = Picture(picture.image, clip_boxes(whole, size_hw), chosen.astype(np.int32), none_ignored)
    copies = keep_visible(copies, whole, min_side_px, min_visible)
    image = picture.image.copy()
    for x0, y0, x1, y1 in _whole_pixels(picture.boxes_xyxy[copies.labels]):
        if x1 > x0 and y1 > y0:
            _paste(image, picture.image[y0:y1, x0:x1], (x0 + shift_x, y0 + shift_y))
    return picture._replace(
        image=image,
        boxes_xyxy=np.concatenate([picture.boxes_xyxy, copies.boxes_xyxy]),
        labels=np.concatenate([picture.labels, picture.labels[copies.labels]]),
        ignore=np.concatenate([picture.ignore, copies.ignore]),
    )


def _whole_pixels(boxes_xyxy: Boxes) -> list[list[int]]:
    rounded: list[list[int]] = np.rint(boxes_xyxy).astype(np.int64).tolist()
    return rounded


def _paste(image: Pixels, crop: Pixels, corner_xy: tuple[int, int]) -> None:
    """Blend a crop (h, w, 3) into `image` in place, its corner at x, y, strongest at its centre (k = 1).

    The crop stands for the image in the map's deviations: both are the root of h w / 2 pi.
    """
    x, y = corner_xy
    height, width = crop.shape[:2]
    weights = gaussian_map(np.array([[0, 0, width, height]], dtype=np.float32), np.ones(1), (height, width))
    top, left = max(-y, 0), max(-x, 0)
    bottom, right = min(height, image.shape[0] - y), min(width, image.shape[1] - x)
    if bottom > top and right > left:
        under = image[y + top : y + bottom, x + left : x + right]
        under[...] = _blend(under, crop[top:bottom, left:right], weights[top:bottom, left:right])


def _blend(image: Pixels, changed: Pixels, weights: Weights) -> Pixels:
    """`changed` where weights (H, W) are 1, `image` where they are 0."""
    return np.asarray(cv2.blendLinear(changed, image, weights, 1 - weights), dtype=np.uint8)

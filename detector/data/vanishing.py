"""Boxes that are too small to learn from once pictures are stretched to the network's size."""

from __future__ import annotations

import numpy as np

from detector.data.annotations import Annotations
from search_spaces.errors import UserError
from search_spaces.saying import Say

MANY = 0.3
"""From this share of vanishing boxes on, it is said."""


def tell_of_vanishing(annotations: Annotations, size_hw: tuple[int, int], min_side_px: float, say: Say) -> None:
    """Say how many boxes have a side under `min_side_px` (as augmentation drops them) in pictures of `size_hw`, if many.

    Raises UserError when all of them have: such a training learns nothing.
    """
    kept = ~annotations.ignore
    if not kept.any():
        return
    sides = (annotations.boxes_xyxy[:, 2:] - annotations.boxes_xyxy[:, :2])[kept]
    scale = np.array(size_hw[::-1]) / annotations.sizes_hw[annotations.image_index()[kept]][:, ::-1]
    shortest = (sides * scale).min(axis=1)
    share = float((shortest < min_side_px).mean())
    height, width = size_hw
    remedy = "raise --image-size, or cut the pictures into tiles: tinynas data slice"
    if share == 1:
        raise UserError(
            f"--image-size {height}x{width}: all {len(shortest)} boxes have a side under {min_side_px:g} px in pictures of "
            f"that size (in the median {np.median(shortest):.2g} px), so nothing can be learnt; {remedy}"
        )
    if share > MANY:
        small = f"a side under {min_side_px:g} px at {height}x{width}"
        say(f"note: {share:.0%} of the boxes have {small} and are not learnt; {remedy}")

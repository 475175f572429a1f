"""Image sizes as a person writes them."""

from __future__ import annotations

import re

from search_spaces.errors import UserError

MULTIPLE = 32


def parse_image_size(text: str) -> tuple[int, int]:
    """`640` or `480x640` (height x width). Raises UserError unless both sides are multiples of 32, at least 32."""
    match = re.fullmatch(r"\s*(\d+)(?:\s*[xX,]\s*(\d+))?\s*", text)
    if match is None:
        raise UserError(f"image size {text!r}: expected H or HxW in pixels, as in 640 or 480x640")
    height = int(match.group(1))
    width = int(match.group(2) or height)
    for side in (height, width):
        if side < MULTIPLE or side % MULTIPLE:
            nearest = max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE)
            raise UserError(f"image size {text!r}: {side} is not a multiple of {MULTIPLE}; the nearest is {nearest}")
    return height, width

"""SADA's geometric operations: what happens to a box's crop (h, w, 3), and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from detector.data.geometry import affine_matrix, warp
from detector.data.image import Pixels

MAX_LEVEL = 10
MAX_DEGREES = 30.0
MAX_SHEAR_DEGREES = 15.0
MAX_SHIFT_PX = 120.0


@dataclass(frozen=True, slots=True)
class Move:
    """What one operation does to a crop: a mirror, or an affine map about its centre, or a shift (x, y) px."""

    mirror: bool = False
    degrees: float = 0.0
    shear_degrees: tuple[float, float] = (0.0, 0.0)
    shift: tuple[float, float] = (0.0, 0.0)

    def apply(self, crop: Pixels, fill: int) -> Pixels:
        """The changed crop, of the same shape; `fill` where a turn or shear leaves nothing. A shift changes no pixel."""
        if self.mirror:
            return np.asarray(cv2.flip(crop, 1), dtype=np.uint8)
        if not self.degrees and not any(self.shear_degrees):
            return crop
        size_hw = (crop.shape[0], crop.shape[1])
        matrix = affine_matrix(size_hw, size_hw, degrees=self.degrees, shear_degrees=self.shear_degrees)
        return warp(crop, matrix, size_hw, fill)


GEOMETRIC_OPS: Mapping[str, Callable[[float], Move]] = MappingProxyType(
    {
        "mirror": lambda _: Move(mirror=True),
        "rotate": lambda strength: Move(degrees=MAX_DEGREES * strength),
        "shear_x": lambda strength: Move(shear_degrees=(MAX_SHEAR_DEGREES * strength, 0.0)),
        "shear_y": lambda strength: Move(shear_degrees=(0.0, MAX_SHEAR_DEGREES * strength)),
        "translate_x": lambda strength: Move(shift=(MAX_SHIFT_PX * strength, 0.0)),
        "translate_y": lambda strength: Move(shift=(0.0, MAX_SHIFT_PX * strength)),
    }
)
"""In the order that the policy's numbers count them; the argument is level / 10, its sign the direction."""


def move_of(op: str, level: int, *, negative: bool) -> Move:
    """The move of a named operation at `level` 0..10."""
    return GEOMETRIC_OPS[op]((-level if negative else level) / MAX_LEVEL)

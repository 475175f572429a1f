"""Cells of a grid that no row gives: their neighbours continued, so that interpolation has something to stand on.

Whatever is read from them is reported as extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
STEEPEST = 1.2
"""Largest slope of log latency over the log of a dimension that a continuation follows."""


def fill_holes(logs: Floats, knots: Sequence[Floats]) -> Floats:
    """A grid of log latency (in, out, area) with its NaNs filled; `knots`: the log coordinates of each axis.

    Along the area first, then in channels, then out channels, each cell goes on from the two before it (with one known
    cell only: in proportion), upwards and then downwards.
    """
    filled = logs.copy()
    while np.isnan(filled).any():
        for axis in (2, 0, 1):
            lines = np.moveaxis(filled, axis, 0)
            _continue(lines, knots[axis])
            _continue(lines[::-1], knots[axis][::-1])
    return filled


def _continue(lines: Floats, knots: Floats) -> None:
    """Fill NaNs of `lines` (len(knots), ...) in place from the cells before them."""
    for place in range(1, len(knots)):
        holes = np.isnan(lines[place]) & ~np.isnan(lines[place - 1])
        if not holes.any():
            continue
        step = knots[place] - knots[place - 1]
        slope = np.ones(lines.shape[1:])
        if place > 1:
            rise = (lines[place - 1] - lines[place - 2]) / (knots[place - 1] - knots[place - 2])
            slope = np.where(np.isnan(rise), 1.0, np.clip(rise, 0.0, STEEPEST))
        lines[place][holes] = (lines[place - 1] + slope * step)[holes]

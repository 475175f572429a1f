"""The box around a mask as COCO files hold them: polygons, or run lengths, plain or packed into a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detector.data.formats._entries import Sides
from detector.data.scalars import number, shown, whole


def mask_box(segmentation: Any) -> Sides:
    """xyxy in pixels around a mask. Raises ValueError for what is none, or is empty."""
    if isinstance(segmentation, dict):
        return _run_length_box(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("no bbox and no segmentation")
    # one polygon without the list around it is common
    polygons = segmentation if isinstance(segmentation[0], (list, tuple)) else [segmentation]
    points = [number(value) for polygon in polygons for value in _pairs(polygon)]
    if len(points) < 4:
        raise ValueError(f"the polygon {shown(segmentation)} has no two points")
    return min(points[0::2]), min(points[1::2]), max(points[0::2]), max(points[1::2])


def _pairs(polygon: Any) -> Sequence[Any]:
    if not isinstance(polygon, (list, tuple)):
        raise ValueError(f"{shown(polygon)} is no polygon")
    return polygon[: len(polygon) // 2 * 2]


def _run_length_box(mask: dict[str, Any]) -> Sides:
    """Runs of zeros and ones in turn, down the columns of a picture of `size` (height, width)."""
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"the mask's size is {shown(size)}; expected [height, width]")
    height, width = whole(size[0]), whole(size[1])
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not 0 < height < 1 << 31 or not 0 < width < 1 << 31:
        raise ValueError(f"the mask's counts are {shown(counts)}; expected run lengths")
    lengths = np.array([whole(run) for run in runs], dtype=np.float64)
    if not len(lengths) or (lengths < 0).any() or lengths.sum() > float(height) * width:
        raise ValueError(f"the mask's counts do not fit into {height} x {width} pixels")
    ends = np.cumsum(lengths)
    starts, ends = (ends - lengths)[1::2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts] - 1
    if not len(starts):
        raise ValueError("the mask is empty")
    first, last = starts // height, ends // height
    across = first != last  # a run over more than one column touches its first and its last row
    top = np.where(across, 0, starts % height)
    bottom = np.where(across, height - 1, ends % height)
    return float(first.min()), float(top.min()), float(last.max() + 1), float(bottom.max() + 1)


def _unpacked(text: str) -> list[int]:
    """COCO's packed run lengths: five bits a character, each run but the first three as a difference to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 40:
            raise ValueError(f"the mask's counts hold {character!r}; expected packed run lengths")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs

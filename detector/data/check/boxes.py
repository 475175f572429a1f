"""Boxes that cannot be learnt from: without area, outside their image, annotated twice; and images without any."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from detector.data.annotations import clip, has_area
from detector.data.check.findings import Box, Finding
from detector.data.raw_split import RawSplit
from detector.evaluation.ceiling import crowded_images, note_of

BORDER_PX = 1.0
"""How far a box may reach beyond the border without a word (rounding, and pixels counted from 1)."""
SAME_PX = 1.0
"""Two boxes whose four sides differ by no more are the same place."""


def check(name: str, split: RawSplit) -> list[Finding]:
    """All findings about the boxes of the split called `name`."""
    return [*_sound(name, split), *_twice(name, split), *_empty(name, split), *_crowded(name, split)]


def _crowded(name: str, split: RawSplit) -> Iterator[Finding]:
    kept = ~split.boxes.ignore
    note = note_of(*crowded_images(split.boxes.image[kept], split.boxes.labels[kept]))
    if note:
        yield Finding(kind="crowded", split=name, where=split.source, reason=note)


def _sound(name: str, split: RawSplit) -> Iterator[Finding]:
    given = split.boxes.boxes_xyxy
    sizes = split.sizes_hw[split.boxes.image]
    inside, _ = clip(given, sizes)
    with np.errstate(invalid="ignore"):
        sides = given[:, 2:] - given[:, :2]
        degenerate = ~has_area(given)
        excess = np.abs(given - inside).max(axis=1, initial=0.0)
        gone = ~has_area(inside) & ~degenerate
        outside = ~degenerate & ((excess > BORDER_PX) | gone)
    fractions = len(given) > 0 and bool((given <= 1).all())
    hint = "; all boxes here lie within 0 and 1: multiply them by their images' width and height" if fractions else ""
    for row in np.flatnonzero(degenerate).tolist():
        width, height = sides[row].tolist()
        reason = f"the box {_shown(given[row])} is {width:g} x {height:g} px; expected at least 1 px; training drops it{hint}"
        yield _finding("degenerate-box", name, split, row, reason, 1.0)
    for row in np.flatnonzero(outside).tolist():
        size = f"{sizes[row, 1]}x{sizes[row, 0]} image"
        if gone[row]:
            reason = f"the box {_shown(given[row])} lies outside the {size}; training drops it"
        else:
            reason = f"the box {_shown(given[row])} reaches {excess[row]:g} px beyond the {size}; training cuts it"
        yield _finding("box-outside", name, split, row, reason, float(excess[row]))


def _twice(name: str, split: RawSplit) -> Iterator[Finding]:
    """Neighbours in order of the left side are compared, then the next but one, until none is near enough."""
    rows = np.flatnonzero(~split.boxes.ignore & np.isfinite(split.boxes.boxes_xyxy).all(axis=1))
    given = split.boxes.boxes_xyxy[rows]
    order = np.lexsort((given[:, 0], split.boxes.image[rows]))
    rows, given = rows[order], given[order]
    image = split.boxes.image[rows]
    told: set[int] = set()
    for shift in range(1, len(rows)):
        near = (image[shift:] == image[:-shift]) & (given[shift:, 0] - given[:-shift, 0] <= SAME_PX)
        if not near.any():
            return
        same = near & (np.abs(given[shift:] - given[:-shift]) <= SAME_PX).all(axis=1)
        for place in np.flatnonzero(same).tolist():
            first, second = sorted((int(rows[place]), int(rows[place + shift])))
            if second not in told:
                told.add(second)
                yield _duplicate(name, split, first, second)


def _duplicate(name: str, split: RawSplit, first: int, second: int) -> Finding:
    file = str(split.files[int(split.boxes.image[second])])
    other = split.where(first).removeprefix(file).lstrip(": ")
    classes = [split.class_names[int(split.boxes.labels[row])] for row in (first, second)]
    what = f"line {other}" if other.isdigit() else other
    same = f"another {classes[1]!r}" if classes[0] == classes[1] else f"{classes[0]!r}, and this is {classes[1]!r}"
    reason = f"the box {_shown(split.boxes.boxes_xyxy[second])} is that of {what} ({same}); remove one"
    badness = 1.0 if classes[0] == classes[1] else 2.0
    return _finding("duplicate-box", name, split, second, reason, badness)


def _empty(name: str, split: RawSplit) -> Iterator[Finding]:
    counts = np.bincount(split.boxes.image, minlength=len(split.image_paths))
    for image in np.flatnonzero(counts == 0).tolist():
        path, file = split.image_paths[image], split.files[image]
        kind, what = (
            ("no-boxes", f"boxes in {file.name}") if file.is_file() else ("no-label-file", f"label file {file}")
        )
        reason = f"no {what}; it trains as background"
        yield Finding(kind=kind, split=name, where=str(path), reason=reason, image=path)


def _finding(kind: str, name: str, split: RawSplit, row: int, reason: str, badness: float) -> Finding:
    x0, y0, x1, y1 = split.boxes.boxes_xyxy[row].tolist()
    box: Box = (x0, y0, x1, y1)
    image = split.image_paths[int(split.boxes.image[row])]
    return Finding(
        kind=kind, split=name, where=split.where(row), reason=reason, image=image, boxes=(box,), badness=badness
    )


def _shown(box: npt.NDArray[np.float32] | npt.NDArray[np.float64]) -> str:
    return "[" + " ".join(f"{side:g}" for side in np.round(box, 2).tolist()) + "]"

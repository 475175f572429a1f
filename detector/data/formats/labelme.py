"""LabelMe: one JSON file per picture, beside it or in a folder of its own; shapes of any kind become the box around them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from detector.data.formats._entries import PASSED_OVER, SHAPES, Entry, Notes, Object, around, collect
from detector.data.formats._json_kind import json_kind
from detector.data.formats._json_stream import read_json
from detector.data.formats._tool_files import picture_finder, tool_files
from detector.data.raw_split import RawSplit, Tell, refuse
from detector.data.scalars import clean_name, number, shown, side
from search_spaces.errors import UserError

_NO_AREA = ("point", "points", "line", "linestrip")


def splits(root: Path) -> list[str]:
    """The splits that a folder is called after, else the unsplit whole."""
    return list(_files(root))


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split; files and shapes that cannot be read are told."""
    files = _files(root)[split]
    notes = Notes()
    entries = [entry for path in files if (entry := _entry(path, tell, notes)) is not None]
    return collect(
        f"{root.name} {split} (LabelMe)", entries, picture_finder(root, files, split), tell,
        record_text="{file}: shape {record}", notes=notes,
    )  # fmt: skip


def _files(root: Path) -> dict[str, list[Path]]:
    return tool_files(root, ".json", lambda path: json_kind(path) == "labelme")


def _entry(path: Path, tell: Tell, notes: Notes) -> Entry | None:
    try:
        content = read_json(path, "a LabelMe file")
    except UserError as error:
        where, _, reason = str(error).partition(": ")
        tell("bad-record", where, reason)
        return None
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list):
        tell("bad-record", str(path), "no 'shapes' list; expected a LabelMe file")
        return None
    objects = []
    for place, shape in enumerate(shapes, start=1):
        try:
            if not isinstance(shape, dict):
                raise ValueError(f"is {shown(shape)}; expected label, points and shape_type")
            if shape.get("shape_type") in _NO_AREA:
                notes.add(PASSED_OVER)
                continue
            objects.append(Object(number=place, label=clean_name(shape.get("label")), box=_box(shape, notes)))
        except ValueError as error:
            tell("bad-record", f"{path}: shape {place}", f"{error}; correct or remove it")
    name = content.get("imagePath")
    try:
        size = side(content.get("imageHeight")), side(content.get("imageWidth"))
    except ValueError:
        size = (0, 0)
    return Entry(file=path, name=name if isinstance(name, str) else "", objects=objects, stem=path.stem, size_hw=size)


def _box(shape: dict[str, Any], notes: Notes) -> tuple[float, float, float, float]:
    points = shape.get("points")
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise ValueError(f"the points are {shown(points)}; expected [x, y] of each")
    table = [(number(x), number(y)) for x, y in points]
    kind = shape.get("shape_type") or ("rectangle" if len(table) == 2 else "polygon")
    if kind != "rectangle":
        notes.add(SHAPES)
    if kind == "circle" and len(table) == 2:
        (x, y), edge = table
        radius = math.hypot(edge[0] - x, edge[1] - y)
        return x - radius, y - radius, x + radius, y + radius
    return around(table)

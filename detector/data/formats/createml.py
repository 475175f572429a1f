"""CreateML: one JSON list of pictures; `coordinates` are the centre and size of a box in pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detector.data.formats._entries import Entry, Object, collect
from detector.data.formats._json_kind import json_kind
from detector.data.formats._json_stream import read_json
from detector.data.formats._tool_files import picture_finder, tool_files
from detector.data.raw_split import RawSplit, Tell, refuse
from detector.data.scalars import clean_name, number, shown
from search_spaces.errors import UserError


def splits(root: Path) -> list[str]:
    """The splits that have a file."""
    return list(_files(root))


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split. Raises UserError for broken JSON; boxes that cannot be read are told."""
    files = _files(root)[split]
    entries = [entry for path in files for entry in _entries(path, tell)]
    return collect(f"{root.name} {split} (CreateML)", entries, picture_finder(root, files, split), tell)


def _files(root: Path) -> dict[str, list[Path]]:
    return tool_files(root, ".json", lambda path: json_kind(path) == "createml")


def _entries(path: Path, tell: Tell) -> list[Entry]:
    content = read_json(path, "a CreateML file")
    if not isinstance(content, list):
        raise UserError(f"{path}: expected a list of pictures with image and annotations")
    entries = []
    for place, picture in enumerate(content):
        name = next((picture[key] for key in ("image", "imagefilename") if key in picture), None) if isinstance(
            picture, dict) else None  # fmt: skip
        if not isinstance(name, str):
            tell("bad-record", f"{path}: picture {place + 1}", f"is {shown(picture)}; expected image and annotations")
            continue
        boxes: Any = next((picture[key] for key in ("annotations", "annotation") if key in picture), [])
        objects = []
        for number_of_box, item in enumerate(boxes if isinstance(boxes, list) else [boxes], start=1):
            try:
                objects.append(_object(number_of_box, item))
            except ValueError as error:
                tell("bad-record", f"{path}: picture {place + 1} ({name}): object {number_of_box}", str(error))
        entries.append(Entry(file=path, name=name, objects=objects))
    return entries


def _object(place: int, item: Any) -> Object:
    where = item.get("coordinates") if isinstance(item, dict) else None
    if not isinstance(where, dict):
        raise ValueError(f"is {shown(item)}; expected label and coordinates (x, y, width, height)")
    x, y, width, height = (number(where.get(key)) for key in ("x", "y", "width", "height"))
    box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return Object(number=place, label=clean_name(item.get("label")), box=box)

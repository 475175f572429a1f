"""VGG Image Annotator: a project, or its JSON or CSV export; the class is the region's attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detector.data.formats._entries import PASSED_OVER, SHAPES, Entry, Notes, Object, around, collect
from detector.data.formats._json_kind import json_kind
from detector.data.formats._json_stream import read_json
from detector.data.formats._tool_files import picture_finder, tool_files
from detector.data.formats._via_csv import csv_pictures, is_via_csv
from detector.data.raw_split import RawSplit, Tell, refuse
from detector.data.scalars import clean_name, number, shown
from search_spaces.errors import UserError

_CLASS_ATTRIBUTES = ("class", "label", "name", "type", "category", "object")


def splits(root: Path) -> list[str]:
    """The splits that have a file."""
    return list(_files(root))


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split. Raises UserError for broken JSON; regions that cannot be read are told."""
    files = _files(root)[split]
    notes = Notes()
    entries = [entry for path in files for entry in _entries(path, tell, notes)]
    return collect(
        f"{root.name} {split} (VIA)", entries, picture_finder(root, files, split), tell,
        record_text="{file}: region {record}", notes=notes,
    )  # fmt: skip


def _files(root: Path) -> dict[str, list[Path]]:
    found = tool_files(root, ".json", lambda path: json_kind(path) == "via")
    return found or tool_files(root, ".csv", is_via_csv)


def _entries(path: Path, tell: Tell, notes: Notes) -> list[Entry]:
    pictures = csv_pictures(path, tell) if path.suffix.lower() == ".csv" else _json_pictures(path)
    entries = []
    for key, picture in pictures.items():
        name = picture.get("filename") if isinstance(picture, dict) else None
        if not isinstance(name, str):
            tell("bad-record", f"{path}: {shown(key)}", f"is {shown(picture)}; expected filename and regions")
            continue
        regions = picture.get("regions") or []
        # version 1 has an object of regions, version 2 a list
        listed = list(regions.values()) if isinstance(regions, dict) else regions
        objects = []
        for place, region in enumerate(listed if isinstance(listed, list) else [listed], start=1):
            try:
                box = _box(region, notes)
                if box is not None:
                    objects.append(Object(number=place, label=_label(region.get("region_attributes")), box=box))
            except (ValueError, AttributeError):
                reason = f"is {shown(region)}; expected shape_attributes and region_attributes"
                tell("bad-record", f"{path}: {name}: region {place}", reason)
        entries.append(Entry(file=path, name=name, objects=objects))
    return entries


def _json_pictures(path: Path) -> dict[str, Any]:
    content = read_json(path, "a VIA project or export")
    pictures = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    if not isinstance(pictures, dict):
        raise UserError(f"{path}: expected an object with an entry per picture, as VIA writes it")
    return pictures


def _box(region: Any, notes: Notes) -> tuple[float, float, float, float] | None:
    """xyxy; None for points and lines. Raises ValueError or AttributeError for what is no region."""
    shape = region.get("shape_attributes")
    kind = shape.get("name")
    if kind == "rect":
        x, y, width, height = (number(shape.get(key)) for key in ("x", "y", "width", "height"))
        return x, y, x + width, y + height
    if kind in ("point", "polyline"):
        notes.add(PASSED_OVER)
        return None
    notes.add(SHAPES)
    if kind in ("circle", "ellipse"):
        x, y = number(shape.get("cx")), number(shape.get("cy"))
        across = number(shape.get("r", shape.get("rx")))
        down = number(shape.get("r", shape.get("ry")))
        if kind == "ellipse" and number(shape.get("theta") or 0):
            across = down = max(across, down)
        return x - across, y - down, x + across, y + down
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list):
        raise ValueError("no shape")
    return around([(number(x), number(y)) for x, y in zip(xs, ys)])


def _label(attributes: Any) -> str:
    """The class among a region's attributes: the only one, or the one that is called so; of a checkbox, what is set."""
    if isinstance(attributes, str):
        return clean_name(attributes)
    if not isinstance(attributes, dict) or not attributes:
        return ""
    named = {key.strip().lower(): key for key in attributes}
    key = next((named[name] for name in _CLASS_ATTRIBUTES if name in named), next(iter(attributes)))
    value = attributes[key]
    if isinstance(value, dict):
        value = next((name for name, chosen in value.items() if chosen), "")
    return clean_name(value)

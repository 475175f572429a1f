"""Label Studio: its JSON export, full or JSON-MIN; boxes in percent of the picture, turned about their top left corner."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from detector.data.formats._entries import PASSED_OVER, ROTATED, SHAPES, Entry, Notes, Object, around, collect
from detector.data.formats._json_kind import json_kind
from detector.data.formats._json_stream import read_json
from detector.data.formats._tool_files import picture_finder, tool_files
from detector.data.raw_split import RawSplit, Tell, refuse
from detector.data.scalars import clean_name, number, shown, side
from search_spaces.errors import UserError

_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")
_UPLOAD_MARK = re.compile(r"(^|[\\/])[0-9a-f]{8}-(?=[^\\/]+$)")


def splits(root: Path) -> list[str]:
    """The splits that have a file, mostly the unsplit whole."""
    return list(_files(root))


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split. Raises UserError for broken JSON; regions that cannot be read are told."""
    files = _files(root)[split]
    notes = Notes()
    finder = picture_finder(root, files, split)
    entries = []
    for path in files:
        for place, task in enumerate(_tasks(path), start=1):
            entry = _entry(path, place, task, tell, notes)
            if entry is None:
                continue
            plain = _UPLOAD_MARK.sub(r"\1", entry.name)
            if plain != entry.name and finder.find(entry.name) is None and finder.find(plain) is not None:
                entry = Entry(file=path, name=plain, objects=entry.objects, stem="", size_hw=entry.size_hw)
            entries.append(entry)
    return collect(
        f"{root.name} {split} (Label Studio)", entries, finder, tell, record_text="{file}: region {record}", notes=notes
    )


def _files(root: Path) -> dict[str, list[Path]]:
    return tool_files(root, ".json", lambda path: json_kind(path) == "labelstudio")


def _tasks(path: Path) -> list[Any]:
    content = read_json(path, "an export of Label Studio")
    if not isinstance(content, list):
        raise UserError(f"{path}: expected a list of tasks, as Label Studio exports it")
    return content


def _entry(path: Path, place: int, task: Any, tell: Tell, notes: Notes) -> Entry | None:
    where = f"{path}: task {place}"
    name = _picture_name(task)
    if name is None:
        tell("bad-record", where, f"is {shown(task)}; expected a picture under data, and annotations")
        return None
    objects: list[Object] = []
    size = (0, 0)
    for number_of_region, region in enumerate(_regions(task, notes), start=1):
        try:
            made = _object(number_of_region, region, notes)
            size = side(region.get("original_height")), side(region.get("original_width"))
        except (ValueError, AttributeError, TypeError):
            tell(
                "bad-record",
                f"{where}: region {number_of_region}",
                f"is {shown(region)}; expected x, y, width, height and labels",
            )
            continue
        if made is not None:
            objects.append(made)
    return Entry(file=path, name=name, objects=objects, stem="", size_hw=size if min(size) > 0 else (0, 0))


def _picture_name(task: Any) -> str | None:
    """The last part of the picture's address: uploads, local files (?d=...) and clouds all end in its name."""
    data = task.get("data", task) if isinstance(task, dict) else None
    if not isinstance(data, dict):
        return None
    texts = [value for value in (data.get("image"), *data.values()) if isinstance(value, str)]
    chosen = next(
        (text for text in texts if re.search(r"\.(jpe?g|png|bmp|webp|tiff?|jfif)\b", text, re.IGNORECASE)), None
    )
    return None if chosen is None else unquote(chosen).partition("?d=")[2] or unquote(chosen).partition("?")[0]


def _regions(task: dict[str, Any], notes: Notes) -> Iterator[Any]:
    """The regions of the first annotation that was not cancelled (JSON-MIN: the lists among the task's own keys)."""
    annotations = task.get("annotations", task.get("completions"))
    if isinstance(annotations, list):
        kept = [a for a in annotations if isinstance(a, dict) and not a.get("was_cancelled")]
        if len(kept) > 1:
            notes.add("{} pictures were annotated several times: the first annotation is taken")
        for annotation in kept[:1]:
            results = annotation.get("result")
            yield from results if isinstance(results, list) else ()
        return
    for value in task.values():
        if isinstance(value, list):
            yield from (
                region for region in value if (isinstance(region, dict) and "width" in region) or "points" in region
            )


def _object(place: int, region: Any, notes: Notes) -> Object | None:
    """None for what has no area. Raises ValueError, AttributeError or TypeError for what is no region."""
    value = region.get("value", region)
    labels = next((value[key] for key in _LABELS if value.get(key)), None)
    if labels is None:
        notes.add(PASSED_OVER)
        return None
    label = clean_name(labels[0] if isinstance(labels, list) else labels)
    if "points" in value:
        notes.add(SHAPES)
        box = around([(number(x), number(y)) for x, y in value["points"]])
    elif "radiusX" in value:
        notes.add(SHAPES)
        x, y, across, down = (number(value.get(key)) for key in ("x", "y", "radiusX", "radiusY"))
        box = x - across, y - down, x + across, y + down
    else:
        box = _rectangle(region, value, notes)
    left, top, right, bottom = (share / 100 for share in box)
    return Object(number=place, label=label, box=(left, top, right, bottom), relative=True)


def _rectangle(region: Any, value: Any, notes: Notes) -> tuple[float, float, float, float]:
    """In percent; a rotation turns pixels, so the sides of the picture count."""
    x, y, width, height = (number(value.get(key)) for key in ("x", "y", "width", "height"))
    degrees = number(value.get("rotation") or 0)
    if not degrees % 360:
        return x, y, x + width, y + height
    notes.add(ROTATED)
    shown_width = number(region.get("original_width") or 100)
    shown_height = number(region.get("original_height") or 100)
    if not (shown_width > 0 and shown_height > 0):
        raise ValueError("no size")
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    across, down = width * shown_width / 100, height * shown_height / 100
    corners = [(0.0, 0.0), (across * cosine, across * sine), (-down * sine, down * cosine),
               (across * cosine - down * sine, across * sine + down * cosine)]  # fmt: skip
    return around([(x + 100 * dx / shown_width, y + 100 * dy / shown_height) for dx, dy in corners])

"""VIA's CSV export: a line for each region, its shape and attributes as JSON in their cells."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from detector.data.raw_split import Tell
from detector.data.scalars import shown
from search_spaces.errors import UserError
from search_spaces.files import read_text, text_encoding

_NAME, _SHAPE, _ATTRIBUTES = "filename", "region_shape_attributes", "region_attributes"


def is_via_csv(path: Path) -> bool:
    """Whether the first line that is no comment names VIA's columns."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 12)
    except OSError:
        return False
    lines = head.decode(text_encoding(head), errors="replace").splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    return _NAME in first and _SHAPE in first


def csv_pictures(path: Path, tell: Tell) -> dict[str, dict[str, Any]]:
    """What the JSON export holds: an entry per picture, by its name, with `filename` and `regions`.

    Lines that cannot be read are told. Raises UserError for what is no table.
    """
    pictures: dict[str, dict[str, Any]] = {}
    rows = csv.DictReader(io.StringIO(_without_comments(read_text(path, "VIA's CSV export"))))
    try:
        for row in rows:
            name = row.get(_NAME)
            try:
                shape, attributes = (json.loads(row.get(key) or "{}") for key in (_SHAPE, _ATTRIBUTES))
            except (ValueError, RecursionError):
                shape, attributes = None, None
            if not name or shape is None:
                reason = f"is {shown(row)}; expected a file's name, and JSON for a region's shape and attributes"
                tell("bad-record", f"{path}: data line {rows.line_num}", reason)
                continue
            entry = pictures.setdefault(name, {"filename": name, "regions": []})
            # a picture without regions has a line, too
            if shape != {}:
                entry["regions"].append({"shape_attributes": shape, "region_attributes": attributes})
    except csv.Error as error:
        raise UserError(f"{path}: the table does not parse ({error}); expected VIA's CSV export") from None
    return pictures


def _without_comments(text: str) -> str:
    """VIA 3 begins with comments."""
    lines = text.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return "".join(lines[first:])

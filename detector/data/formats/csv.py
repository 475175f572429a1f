"""Tables: CSV files with a line per box and columns for the picture, the class and the four sides (Roboflow, TensorFlow)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from detector.data.formats._entries import Entry, Notes, Object, collect, from_corners
from detector.data.formats._tool_files import picture_finder, tool_files
from detector.data.raw_split import RawSplit, Tell, refuse
from detector.data.scalars import clean_name, number, side
from search_spaces.errors import UserError
from search_spaces.files import read_text, text_encoding

_COLUMNS = {
    "name": ("filename", "file_name", "image", "image_path", "image_name", "path", "image_id", "file"),
    "label": ("class", "label", "class_name", "labelname", "name", "category"),
    "x0": ("xmin", "x_min", "x1", "left"), "y0": ("ymin", "y_min", "y1", "top"),
    "x1": ("xmax", "x_max", "x2", "right"), "y1": ("ymax", "y_max", "y2", "bottom"),
}  # fmt: skip
_OPTIONAL = {"width": ("width", "image_width"), "height": ("height", "image_height")}
EXPECTED = "a CSV file with the columns filename, class, xmin, ymin, xmax, ymax"


def splits(root: Path) -> list[str]:
    """The splits that have a table."""
    return list(_files(root))


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split; lines that cannot be read are told. A picture without a box has no line, and is no part of it."""
    files = _files(root)[split]
    notes = Notes()
    entries = [entry for path in files for entry in _entries(path, tell, notes)]
    finder = picture_finder(root, files, split)
    return collect(f"{root.name} {split} (CSV)", entries, finder, tell, record_text="{file}:{record}", notes=notes)


def _files(root: Path) -> dict[str, list[Path]]:
    return tool_files(root, ".csv", _is_table)


def _is_table(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(1 << 12)
    except OSError:
        return False
    first = head.decode(text_encoding(head), errors="replace").splitlines()[:1]
    try:
        return bool(first) and bool(_columns(next(csv.reader(first, delimiter=_delimiter(first[0])), [])))
    except csv.Error:
        return False


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _columns(header: list[str]) -> dict[str, int]:
    """The place of each column that is known, {} unless all needed ones are there."""
    places = {name.strip().lower(): place for place, name in reversed(list(enumerate(header)))}
    chosen = {
        key: next(places[name] for name in names if name in places)
        for key, names in {**_COLUMNS, **_OPTIONAL}.items() if any(name in places for name in names)
    }  # fmt: skip
    return chosen if all(key in chosen for key in _COLUMNS) else {}


def _entries(path: Path, tell: Tell, notes: Notes) -> list[Entry]:
    text = read_text(path, EXPECTED)
    lines = text.splitlines()
    rows = csv.reader(io.StringIO(text), delimiter=_delimiter(lines[0] if lines else ""))
    try:
        columns = _columns(next(rows, []))
        objects: dict[str, list[Object]] = {}
        sizes: dict[str, tuple[int, int]] = {}
        for row in rows:
            line = rows.line_num
            if not any(cell.strip() for cell in row):
                continue
            try:
                cells = {key: row[place].strip() for key, place in columns.items()}
                x0, y0, x1, y1 = (number(cells[key]) for key in ("x0", "y0", "x1", "y1"))
                size = _size(cells)
            except (IndexError, ValueError) as error:
                reason = "has too few cells" if isinstance(error, IndexError) else str(error)
                tell(
                    "bad-record", f"{path}:{line}", f"{reason}; expected a picture, a class and four numbers of pixels"
                )
                continue
            sizes.setdefault(cells["name"], size)
            objects.setdefault(cells["name"], []).append(
                Object(number=line, label=clean_name(cells["label"]), box=from_corners(x0, y0, x1, y1, notes))
            )
    except csv.Error as error:
        raise UserError(f"{path}:{rows.line_num}: the table does not parse ({error}); expected {EXPECTED}") from None
    return [Entry(file=path, name=name, objects=found, stem="", size_hw=sizes[name]) for name, found in objects.items()]


def _size(cells: Mapping[str, str]) -> tuple[int, int]:
    size = side(cells.get("height")), side(cells.get("width"))
    return size if min(size) > 0 else (0, 0)

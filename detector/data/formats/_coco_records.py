"""One entry of a COCO file's lists at a time: ids of any kind, sizes that may be missing, boxes or the masks' boxes."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.data.formats._entries import ROTATED, Notes, Sides, turned
from detector.data.formats._masks import mask_box
from detector.data.raw_split import BoxColumns, Tell
from detector.data.scalars import INT64, Id, flag, identity, number, shown, side
from search_spaces.errors import UserError

FROM_MASKS = "{} annotations without a box: the box around the mask is taken"
_FIRST_SPARE = INT64.start
_PLAIN = frozenset({int, float})
_SPARE = range(_FIRST_SPARE, _FIRST_SPARE + (1 << 40))


class Codes:
    """Ids as 64-bit whole numbers: small whole numbers stand for themselves, texts and larger ones get a spare number."""

    def __init__(self) -> None:
        self._spare: dict[Id, int] = {}

    def of(self, value: Any) -> int:
        """The number of an id, also of 12.0 and "12". Raises ValueError for what is no id."""
        if value.__class__ is int and _SPARE.stop <= value < INT64.stop:
            return int(value)
        key = identity(value)
        if isinstance(key, int) and _SPARE.stop <= key < INT64.stop:
            return key
        return self._spare.setdefault(key, _FIRST_SPARE + len(self._spare))

    def are_plain(self, codes: npt.NDArray[np.int64]) -> bool:
        """Whether all of these stand for themselves."""
        return not self._spare or bool((codes >= _SPARE.stop).all())

    def shown(self, code: int) -> str:
        """The id as the file has it."""
        return shown(next((key for key, spare in self._spare.items() if spare == code), code))


class Images:
    """What is kept of the `images` list: codes of the ids, names, sizes (height, width), 0 where the file gives none."""

    def __init__(self, path: Path, codes: Codes, tell: Tell) -> None:
        self.ids: list[int] = []
        self.names: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self._path, self._codes, self._tell = path, codes, tell
        self._met = 0

    def add(self, entry: Any) -> None:
        """One element of the list; a mistake is told."""
        name, self._met = f"images[{self._met}]", self._met + 1
        missing = [key for key in ("id", "file_name") if not isinstance(entry, dict) or entry.get(key) in (None, "")]
        if missing:
            self._tell("bad-record", str(self._path), f"{name} has no {missing[0]!r}; expected id, file_name")
            return
        key = "id"
        try:
            code = self._codes.of(entry["id"])
            key = "height"
            height = side(entry.get("height"))
            key = "width"
            width = side(entry.get("width"))
        except ValueError:
            expected = "an integer or a text" if key == "id" else "a number of pixels"
            self._tell("bad-record", str(self._path), f"{name} has the {key} {shown(entry[key])}; expected {expected}")
            return
        file_name = entry["file_name"]
        if not isinstance(file_name, (str, int, float)) or "\0" in str(file_name):
            reason = f"{name} has the file_name {shown(file_name)}; expected the name of a picture"
            self._tell("bad-record", str(self._path), reason)
            return
        self.ids.append(code)
        self.names.append(str(file_name))
        self.sizes.append((height, width) if height and width else (0, 0))

    def id_array(self) -> npt.NDArray[np.int64]:
        """(N,). Raises UserError when an id occurs twice."""
        if len(set(self.ids)) != len(self.ids):
            twice = next(code for code, count in Counter(self.ids).items() if count > 1)
            names = " and ".join(name for name, code in zip(self.names, self.ids) if code == twice)
            raise UserError(
                f"{self._path}: the id {self._codes.shown(twice)} occurs twice in 'images' ({names}); expected unique ids"
            )
        return np.array(self.ids, dtype=np.int64)


class Boxes:
    """What is kept of the `annotations` list: boxes with the codes of their image and category."""

    def __init__(self, path: Path, codes: Codes, tell: Tell) -> None:
        self.columns = BoxColumns()
        self.notes = Notes()
        self._path, self._codes, self._tell = path, codes, tell

    def add(self, entry: Any) -> None:
        """One element of the list; a mistake is told, and then nothing is kept of it."""
        if not isinstance(entry, dict) or "image_id" not in entry or not ("bbox" in entry or "segmentation" in entry):
            reason = "has no bbox (nor segmentation) or no image_id; expected an instances file (not captions)"
            shown_id = f" {shown(entry['id'])}" if isinstance(entry, dict) and "id" in entry else ""
            self._tell("bad-record", str(self._path), f"an annotation{shown_id} {reason}")
            return
        try:
            box = self._box(entry)
            area = _area(entry.get("area"))
            record = entry.get("id")
            place = len(self.columns.record)
            # An annotation without a whole number as id is known by its place among those that could be read.
            number_of_record = record if isinstance(record, int) and record in INT64 else place
            self.columns.add(
                self._codes.of(entry["image_id"]), self._codes.of(entry["category_id"]),
                number_of_record, box,
                ignore=flag(entry.get("iscrowd")),
                area=area,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, OverflowError):
            found = ", ".join(f"{key} {shown(entry.get(key))}"[:60] for key in ("image_id", "category_id", "bbox"))
            reason = f"malformed ({found}); expected ids, and four numbers in bbox [x, y, width, height], or a mask"
            self._tell("bad-record", f"{self._path}: annotation {shown(entry.get('id'))}", reason)

    def _box(self, entry: dict[str, Any]) -> Sides:
        """xyxy. Raises ValueError for what is neither a box nor a mask."""
        given = entry.get("bbox")
        if not given:
            box = mask_box(entry.get("segmentation"))
            self.notes.add(FROM_MASKS)
            return box
        if not isinstance(given, list) or len(given) != 4:
            raise ValueError("no box")
        x, y, width, height = given
        if not (
            x.__class__ in _PLAIN and y.__class__ in _PLAIN and width.__class__ in _PLAIN and height.__class__ in _PLAIN
        ):
            x, y, width, height = map(number, given)
        box = x, y, x + width, y + height
        attributes = entry.get("attributes")
        degrees = attributes.get("rotation") if isinstance(attributes, dict) else None
        if degrees and number(degrees) % 360:
            self.notes.add(ROTATED)
            return turned(box, number(degrees), (x + width / 2, y + height / 2))
        return box


def _area(value: Any) -> float:
    """Of a mask; nan: the box's own. Raises ValueError for what is no number."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return math.nan if value is None or value == "" else number(value)

"""COCO: annotations/*SPLIT*.json with the pictures in a conventional folder, or beside SPLIT/_annotations.coco.json.

The file's category ids may be sparse: classes are numbered 0..C-1 in ascending id order. `iscrowd` boxes are ignored
boxes. Images without boxes stay.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations, shortest
from detector.data.formats._json_stream import read_object
from detector.data.raw_split import BoxColumns, RawSplit, Tell, refuse
from search_spaces.errors import UserError

_ALIASES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


def matches(root: Path) -> bool:
    """Whether `root` has annotations/*.json or SPLIT/_annotations.coco.json for a known split."""
    return root.is_dir() and bool(splits(root))


def splits(root: Path) -> list[str]:
    """The splits that have an annotation file."""
    return [split for split in _ALIASES if _candidates(root, split)]


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split. Raises UserError for broken JSON and a file without images or categories."""
    path = _annotation_file(root, split)
    columns, images = BoxColumns(), _Images()
    document = read_object(
        path,
        "a COCO instances file with images, categories and annotations",
        {"annotations": lambda entry: _add_box(entry, columns, path, tell),
         "images": lambda entry: images.add(entry, path, tell)},
    )  # fmt: skip
    for key in ("images", "annotations"):
        if not isinstance(document.get(key), int):
            raise UserError(f"{path}: no {key!r} list; expected a COCO instances file")
    if not document["images"]:
        raise UserError(f"{path}: no images; expected a non-empty 'images' list")
    ids, names = _categories(document, path)
    raw, records = columns.boxes()
    image = _positions(raw.image, images.id_array(path), records, ("image_id", "images"), path, tell)
    labels = _positions(raw.labels, ids, records, ("category_id", "categories"), path, tell)
    folder = _folder(root, path, images.names, split)
    known = (image >= 0) & (labels >= 0)
    if not known.all():
        raw, records, image, labels = raw.select(known), records[known], image[known], labels[known]
    result = RawSplit(
        source=f"{root.name} {split} (COCO)",
        class_names=names,
        declared=True,
        image_paths=tuple(folder / name for name in images.names),
        sizes_hw=np.array(images.sizes, dtype=np.int32).reshape(-1, 2),
        files=(path,) * len(images.names),
        boxes=replace(raw, image=image, labels=labels),
        records=records,
        record_text="{file}: annotation {record}",
        image_ids=images.id_array(path),
        category_ids=ids,
    )
    return result.without(_missing(result.image_paths, path, tell))


def image_folder(root: Path, split: str) -> Path:
    """images/SPLIT."""
    return root / "images" / split


def write(root: Path, split: str, annotations: Annotations) -> None:
    """Write annotations/instances_SPLIT.json."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    corners = shortest(annotations.boxes_xyxy)
    columns = zip(annotations.image_index(), annotations.labels, corners, annotations.ignore, annotations.areas)
    document = {
        "images": [
            {"id": int(image_id), "file_name": path.name, "height": int(size[0]), "width": int(size[1])}
            for image_id, path, size in zip(annotations.image_ids, annotations.image_paths, annotations.sizes_hw)
        ],
        "categories": [
            {"id": int(i), "name": name} for i, name in zip(annotations.category_ids, annotations.class_names)
        ],
        "annotations": [
            {
                "id": row + 1,
                "image_id": int(annotations.image_ids[image]),
                "category_id": int(annotations.category_ids[label]),
                "bbox": [x0, y0, round(x1 - x0, 9), round(y1 - y0, 9)],
                "area": float(str(area)),
                "iscrowd": int(crowd),
            }
            for row, (image, label, (x0, y0, x1, y1), crowd, area) in enumerate(columns)
        ],
    }
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document), encoding="utf-8")


def _candidates(root: Path, split: str) -> list[Path]:
    beside = [root / alias / "_annotations.coco.json" for alias in _ALIASES[split]]
    found = [path for path in beside if path.is_file()]
    pattern = re.compile(rf"(?<![a-z])({'|'.join(_ALIASES[split])})(?![a-z])")
    folder = root / "annotations"
    named = sorted(path for path in folder.glob("*.json") if pattern.search(path.stem.lower()))
    instances = [path for path in named if path.stem.startswith("instances")]
    return found + (instances or named)


def _annotation_file(root: Path, split: str) -> Path:
    found = _candidates(root, split)
    if len(found) != 1:
        listing = ", ".join(str(path) for path in found) or "none"
        raise UserError(f"{root}: expected one annotation file for {split!r}, found {listing}; keep one of them")
    return found[0]


class _Images:
    """What is kept of the `images` list."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.names: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self._met = 0

    def add(self, entry: Any, path: Path, tell: Tell) -> None:
        name, self._met = f"images[{self._met}]", self._met + 1
        mistake = _mistake(entry, ("id", "file_name", "height", "width"), name)
        if mistake:
            tell("bad-record", str(path), mistake)
            return
        self.ids.append(entry["id"])
        self.names.append(str(entry["file_name"]))
        self.sizes.append((entry["height"], entry["width"]))

    def id_array(self, path: Path) -> npt.NDArray[np.int64]:
        twice = _repeated(self.ids)
        if twice is not None:
            names = " and ".join(name for name, number in zip(self.names, self.ids) if number == twice)
            raise UserError(f"{path}: the id {twice} occurs twice in 'images' ({names}); expected unique ids")
        return np.array(self.ids, dtype=np.int64)


def _add_box(entry: Any, columns: BoxColumns, path: Path, tell: Tell) -> None:
    if not isinstance(entry, dict) or "bbox" not in entry or "image_id" not in entry:
        tell(
            "bad-record", str(path), "an annotation has no bbox or image_id; expected an instances file (not captions)"
        )
        return
    try:
        x, y, width, height = entry["bbox"]
        # Multiplying refuses text, which adding would join.
        left, top = x * 1.0, y * 1.0
        box = left, top, left + width, top + height
        area = entry.get("area")
        row = _whole(entry["image_id"]), _whole(entry["category_id"])
        # An annotation without an id is known by its place among those that could be read.
        record = entry.get("id")
        columns.add(
            *row, record if isinstance(record, int) else len(columns.record), box,
            ignore=bool(entry.get("iscrowd", 0)), area=math.nan if area is None else area * 1.0,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError):
        found = ", ".join(f"{key} {entry.get(key)!r}"[:60] for key in ("image_id", "category_id", "bbox"))
        reason = f"malformed ({found}); expected whole numbers as ids and four numbers in bbox [x, y, width, height]"
        tell("bad-record", f"{path}: annotation {entry.get('id')}", reason)


def _whole(value: Any) -> int:
    if value.__class__ is int:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError


def _categories(document: dict[str, Any], path: Path) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Ids, ascending, and names."""
    entries = document.get("categories")
    if not isinstance(entries, list):
        raise UserError(f"{path}: no 'categories' list; expected a COCO instances file")
    if not entries:
        raise UserError(f"{path}: 'categories' is empty; expected at least one entry")
    for i, entry in enumerate(entries):
        mistake = _mistake(entry, ("id", "name"), f"categories[{i}]")
        if mistake:
            raise UserError(f"{path}: {mistake}")
    entries = sorted(entries, key=lambda entry: int(entry["id"]))
    ids = [entry["id"] for entry in entries]
    twice = _repeated(ids)
    if twice is not None:
        raise UserError(f"{path}: the id {twice} occurs twice in 'categories'; expected unique ids")
    return np.array(ids, dtype=np.int64), tuple(str(entry["name"]).strip() for entry in entries)


def _repeated(ids: Sequence[int]) -> int | None:
    """An id that occurs more than once, None if all are unique."""
    if len(set(ids)) == len(ids):
        return None
    return next(number for number, count in Counter(ids).items() if count > 1)


def _mistake(entry: Any, fields: Sequence[str], name: str) -> str:
    """What is wrong with an entry called `name`, "" if nothing."""
    missing = [field for field in fields if not isinstance(entry, dict) or field not in entry]
    if missing:
        return f"{name} has no {missing[0]!r}; expected {', '.join(fields)}"
    for field in ("id", "height", "width"):
        if field in fields and not isinstance(entry[field], int):
            return f"{name} has the {field} {entry[field]!r}; expected an integer"
        if field != "id" and field in fields and not 0 < entry[field] < 1 << 31:
            return f"{name} has the {field} {entry[field]}; expected a number of pixels"
    return ""


def _positions(
    values: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    records: npt.NDArray[np.int64],
    names: tuple[str, str],
    path: Path,
    tell: Tell,
) -> npt.NDArray[np.int64]:
    """The place of each value in `ids`, -1 for one that is not there (and told). names: the field and its list."""
    if not len(ids):
        return np.full(len(values), -1, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    place = order[np.minimum(np.searchsorted(ids[order], values), len(ids) - 1)]
    place[ids[place] != values] = -1
    kind = "unknown-class" if names[0] == "category_id" else "unknown-image"
    for row in np.flatnonzero(place < 0).tolist():
        reason = f"{names[0]} {values[row]}, which {names[1]!r} lacks; correct it or add the entry"
        tell(kind, f"{path}: annotation {records[row]}", reason)
    return place


def _missing(paths: Sequence[Path], path: Path, tell: Tell) -> list[int]:
    """Places of pictures that are not there (each folder is listed once)."""
    present: dict[Path, set[str]] = {}
    missing = []
    for i, image in enumerate(paths):
        if image.parent not in present:
            present[image.parent] = set(os.listdir(image.parent)) if image.parent.is_dir() else set()
        if image.name not in present[image.parent] and not image.is_file():
            tell("missing-image", str(image), f"missing image, named in {path.name}; add it or remove its entry")
            missing.append(i)
    return missing


def _folder(root: Path, path: Path, file_names: Sequence[str], split: str) -> Path:
    """Where the pictures are: the first conventional folder that has one of the first hundred."""
    years = re.findall(r"(?:19|20)\d\d", path.stem)
    folders = [f"{alias}{year}" for alias in _ALIASES[split] for year in [*years, ""]]
    choices = [root / folder for folder in folders] + [root / "images" / folder for folder in folders]
    choices = [*choices, root / "images", root / "JPEGImages", path.parent, root]
    if path.name == "_annotations.coco.json":
        choices.insert(0, path.parent)
    for name in file_names[:100]:
        folder = next((choice for choice in choices if (choice / name).is_file()), None)
        if folder is not None:
            return folder
    tried = ", ".join(str(choice.relative_to(root)) for choice in choices if choice.is_dir())
    named = f"missing image {file_names[0]} named in {path.name}" if file_names else f"no usable image in {path.name}"
    raise UserError(f"{root}: {named}; looked in {tried}; add the pictures there")

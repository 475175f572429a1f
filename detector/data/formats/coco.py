"""COCO: annotations/*SPLIT*.json with the pictures in a conventional folder, or beside SPLIT/_annotations.coco.json.

The file's category ids may be sparse: classes are numbered 0..C-1 in ascending id order. `iscrowd` boxes are ignored
boxes. Images without boxes stay.
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations, DataReport, RawBoxes, map_labels, pack
from search_spaces.errors import UserError
from search_spaces.files import read_text

_ALIASES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
_COLUMNS = 8  # image id, category id, x, y, w, h, crowd, area


def matches(root: Path) -> bool:
    """Whether `root` has annotations/*.json or SPLIT/_annotations.coco.json for a known split."""
    return root.is_dir() and bool(splits(root))


def splits(root: Path) -> list[str]:
    """The splits that have an annotation file."""
    return [split for split in _ALIASES if _candidates(root, split)]


def load(root: Path, split: str, class_names: Sequence[str] | None = None) -> tuple[Annotations, DataReport]:
    """Read one split. Raises UserError for broken JSON, unknown ids and missing pictures."""
    path = _annotation_file(root, split)
    document, table = _read(path)
    categories = sorted(_entries(document, "categories", ("id", "name"), path), key=lambda entry: entry["id"])
    images = _entries(document, "images", ("id", "file_name", "height", "width"), path)
    if not images:
        raise UserError(f"{path}: no images; expected a non-empty 'images' list")
    names = [str(entry["name"]).strip() for entry in categories]
    ids = np.array([entry["id"] for entry in categories], dtype=np.int64)
    image_ids = np.array([entry["id"] for entry in images], dtype=np.int64)
    wanted = tuple(names) if class_names is None else tuple(class_names)
    labels = _positions(table[:, 1], ids, path, "category_id", "categories")
    boxes = table[:, 2:6].copy()
    boxes[:, 2:] += boxes[:, :2]
    raw = RawBoxes(
        image=_positions(table[:, 0], image_ids, path, "image_id", "images"),
        boxes_xyxy=boxes,
        labels=map_labels(labels, names, wanted, str(path)),
        ignore=table[:, 6] != 0,
        areas=np.where(np.isnan(table[:, 7]), table[:, 4] * table[:, 5], table[:, 7]),
    )
    paths = _locate(root, path, [str(entry["file_name"]) for entry in images], split)
    sizes = np.array([(entry["height"], entry["width"]) for entry in images], dtype=np.int32)
    kept_ids = _category_ids(wanted, dict(zip(names, ids.tolist())))
    return pack(f"{root.name} {split} (COCO)", wanted, paths, sizes, raw, image_ids=image_ids, category_ids=kept_ids)


def image_folder(root: Path, split: str) -> Path:
    """images/SPLIT."""
    return root / "images" / split


def write(root: Path, split: str, annotations: Annotations) -> None:
    """Write annotations/instances_SPLIT.json."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    sides = annotations.boxes_xyxy.astype(np.float64)
    sides[:, 2:] -= sides[:, :2]
    columns = zip(annotations.image_index(), annotations.labels, sides, annotations.ignore, annotations.areas)
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
                "bbox": [round(float(side), 2) for side in box],
                "area": round(float(area), 4),
                "iscrowd": int(crowd),
            }
            for row, (image, label, box, crowd, area) in enumerate(columns)
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


def _read(path: Path) -> tuple[dict[str, Any], npt.NDArray[np.float64]]:
    """The document without its boxes, and the boxes as (M, 8).

    Boxes go into one flat array while the parser meets them: a million of them never exist as Python objects.
    """
    columns = array("d")

    def take(entry: dict[str, Any]) -> dict[str, Any] | None:
        if "bbox" not in entry or "image_id" not in entry:
            return entry
        try:
            x, y, width, height = entry["bbox"]
            area = entry.get("area")
            row = (entry["image_id"], entry["category_id"], x, y, width, height, entry.get("iscrowd", 0))
            columns.extend((*row, float("nan") if area is None else area))
        except (KeyError, TypeError, ValueError):
            del columns[len(columns) - len(columns) % _COLUMNS :]
            raise UserError(
                f"{path}: annotation {entry.get('id')} is malformed; expected numbers in image_id, category_id and "
                "bbox [x, y, width, height]"
            ) from None
        return None

    try:
        document = json.loads(read_text(path, "a COCO instances file"), object_hook=take)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: the JSON does not parse ({error.msg}); restore the file") from error
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise UserError(f"{path}: expected a COCO instances file with images, categories and annotations")
    if any(entry is not None for entry in document["annotations"]):
        raise UserError(f"{path}: an annotation has no bbox or image_id; expected an instances file (not captions)")
    return document, np.frombuffer(columns, dtype=np.float64).reshape(-1, _COLUMNS)


def _entries(document: dict[str, Any], key: str, fields: Sequence[str], path: Path) -> list[dict[str, Any]]:
    entries = document.get(key)
    if not isinstance(entries, list):
        raise UserError(f"{path}: no {key!r} list; expected a COCO instances file")
    for i, entry in enumerate(entries):
        missing = [field for field in fields if not isinstance(entry, dict) or field not in entry]
        if missing:
            raise UserError(f"{path}: {key}[{i}] has no {missing[0]!r}; expected {', '.join(fields)}")
        for field in ("id", "height", "width"):
            if field in fields and not isinstance(entry[field], int):
                raise UserError(f"{path}: {key}[{i}] has the {field} {entry[field]!r}; expected an integer")
    return entries


def _positions(
    values: npt.NDArray[np.float64], ids: npt.NDArray[np.int64], path: Path, field: str, key: str
) -> npt.NDArray[np.int64]:
    """The place of each value in `ids`."""
    order = np.argsort(ids, kind="stable")
    if len(np.unique(ids)) != len(ids):
        raise UserError(f"{path}: an id occurs twice in {key!r}; expected unique ids")
    if not len(ids):
        raise UserError(f"{path}: {key!r} is empty; expected at least one entry")
    place = np.minimum(np.searchsorted(ids[order], values), len(ids) - 1)
    wrong = np.flatnonzero(ids[order][place] != values)
    if len(wrong):
        raise UserError(f"{path}: annotations[{wrong[0]}] has {field} {values[wrong[0]]:g}, which {key!r} lacks")
    return order[place]


def _category_ids(wanted: Sequence[str], known: dict[str, int]) -> npt.NDArray[np.int64]:
    """The file's id of each wanted class; a class that the file lacks gets an unused one."""
    spare = iter(range(max(known.values(), default=0) + 1, max(known.values(), default=0) + len(wanted) + 1))
    return np.array([known[name] if name in known else next(spare) for name in wanted], dtype=np.int64)


def _locate(root: Path, path: Path, file_names: Sequence[str], split: str) -> list[Path]:
    years = re.findall(r"(?:19|20)\d\d", path.stem)
    folders = [f"{alias}{year}" for alias in _ALIASES[split] for year in [*years, ""]]
    choices = [root / folder for folder in folders] + [root / "images" / folder for folder in folders]
    choices = [*choices, root / "images", root / "JPEGImages", path.parent, root]
    if path.name == "_annotations.coco.json":
        choices.insert(0, path.parent)
    folder = next((choice for choice in choices if (choice / file_names[0]).is_file()), None)
    if folder is None:
        tried = ", ".join(str(choice.relative_to(root)) for choice in choices if choice.is_dir())
        raise UserError(f"{root}: missing image {file_names[0]} named in {path.name}; looked in {tried}")
    present = set(os.listdir(folder))
    for name in file_names:
        if name not in present and not (folder / name).is_file():
            raise UserError(f"{folder / name}: missing image, named in {path.name}; add it or remove its entry")
    return [folder / name for name in file_names]

"""COCO: annotations/*SPLIT*.json, or a file beside its pictures, or one file for all of them.

The file's category ids may be sparse: classes are numbered 0..C-1 in ascending id order (in the file's, where ids are
texts). `iscrowd` boxes are ignored boxes. Images without boxes stay. Where an annotation has no box, the one around its
mask is taken.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations, shortest
from detector.data.file_tree import Finder
from detector.data.formats import _coco_files
from detector.data.formats._coco_files import annotation_files
from detector.data.formats._coco_records import Boxes, Codes, Images
from detector.data.formats._json_stream import read_object
from detector.data.image import IMAGE_SUFFIXES
from detector.data.image_facts import examine
from detector.data.raw_split import RawSplit, Tell, refuse
from detector.data.scalars import clean_name, identity, shown
from search_spaces.errors import UserError, listed

EXPECTED = "a COCO instances file with images, categories and annotations"


def matches(root: Path) -> bool:
    """Whether `root` holds a COCO file where one is looked for."""
    return root.is_dir() and bool(annotation_files(root))


def splits(root: Path) -> list[str]:
    """The splits that have an annotation file."""
    return list(annotation_files(root))


def left_out(root: Path) -> list[str]:
    """Lines about files that hold no annotations (image_info)."""
    return _coco_files.left_out(root)


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split. Raises UserError for broken JSON and a file without images or categories."""
    path = _coco_files.annotation_file(root, split)
    codes = Codes()
    found, images = Boxes(path, codes, tell), Images(path, codes, tell)
    document = read_object(path, EXPECTED, {"annotations": found.add, "images": images.add})
    for key in ("images", "annotations"):
        if not isinstance(document.get(key), int):
            raise UserError(f"{path}: no {key!r} list; expected a COCO instances file")
    if not document["images"]:
        raise UserError(f"{path}: no images; expected a non-empty 'images' list")
    ids, names = _categories(document, path, codes)
    raw, records = found.columns.boxes()
    image_ids = images.id_array()
    image = _positions(raw.image, image_ids, records, ("image_id", "images"), path, tell, codes)
    labels = _positions(raw.labels, ids, records, ("category_id", "categories"), path, tell, codes)
    known = (image >= 0) & (labels >= 0)
    if not known.all():
        raw, records, image, labels = raw.select(known), records[known], image[known], labels[known]
    paths, missing = _pictures(root, path, split, images.names, tell)
    sizes, unread = _sizes(images.sizes, paths, missing, tell)
    notes = found.notes.lines()
    if not codes.are_plain(ids):
        notes = (*notes, "its category ids are no 64-bit whole numbers; the classes are numbered from 1")
    return RawSplit(
        source=f"{root.name} {split} (COCO)",
        class_names=names,
        declared=True,
        image_paths=tuple(paths),
        sizes_hw=sizes,
        files=(path,) * len(paths),
        boxes=replace(raw, image=image, labels=labels),
        records=records,
        record_text="{file}: annotation {record}",
        image_ids=image_ids if codes.are_plain(image_ids) else None,
        category_ids=ids if codes.are_plain(ids) else None,
        notes=notes,
    ).without(sorted(missing | unread))


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


def _categories(document: dict[str, Any], path: Path, codes: Codes) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Codes of the ids, and names; ascending where the ids are numbers."""
    entries = document.get("categories")
    if not isinstance(entries, list):
        raise UserError(f"{path}: no 'categories' list; expected a COCO instances file")
    if not entries:
        raise UserError(f"{path}: 'categories' is empty; expected at least one entry")
    rows = []
    for i, entry in enumerate(entries):
        missing = [key for key in ("id", "name") if not isinstance(entry, dict) or entry.get(key) is None]
        if missing:
            raise UserError(f"{path}: categories[{i}] has no {missing[0]!r}; expected id, name")
        try:
            rows.append((identity(entry["id"]), clean_name(entry["name"])))
        except ValueError:
            raise UserError(
                f"{path}: categories[{i}] has the id {shown(entry['id'])}; expected an integer or a text"
            ) from None
        if not rows[-1][1]:
            raise UserError(f"{path}: categories[{i}] has the name {shown(entry['name'])}; expected a class name")
    if all(isinstance(key, int) for key, _ in rows):
        rows.sort(key=lambda row: row[0])
    twice = repeated([key for key, _ in rows])
    if twice is not None:
        raise UserError(f"{path}: the id {shown(twice)} occurs twice in 'categories'; expected unique ids")
    return np.array([codes.of(key) for key, _ in rows], dtype=np.int64), tuple(name for _, name in rows)


def repeated(ids: Sequence[Any]) -> Any | None:
    """An id that occurs more than once, None if all are unique."""
    if len(set(ids)) == len(ids):
        return None
    return next(number for number, count in Counter(ids).items() if count > 1)


def _positions(
    values: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    records: npt.NDArray[np.int64],
    names: tuple[str, str],
    path: Path,
    tell: Tell,
    codes: Codes,
) -> npt.NDArray[np.int64]:
    """The place of each value in `ids`, -1 for one that is not there (and told). names: the field and its list."""
    if not len(ids):
        return np.full(len(values), -1, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    place = order[np.minimum(np.searchsorted(ids[order], values), len(ids) - 1)]
    place[ids[place] != values] = -1
    kind = "unknown-class" if names[0] == "category_id" else "unknown-image"
    for row in np.flatnonzero(place < 0).tolist():
        reason = f"{names[0]} {codes.shown(int(values[row]))}, which {names[1]!r} lacks; correct it or add the entry"
        tell(kind, f"{path}: annotation {records[row]}", reason)
    return place


def _pictures(root: Path, path: Path, split: str, names: Sequence[str], tell: Tell) -> tuple[list[Path], set[int]]:
    """Where each picture is, and the places of those that are nowhere (and told). Each folder is listed once."""
    folders = _coco_files.picture_folders(root, path, split)
    main = _coco_files.main_folder(names, folders)
    finder = Finder(root, folders, IMAGE_SUFFIXES)
    home = main or folders[0]
    present: dict[Path, set[str]] = {}
    paths, missing = [], set()
    for i, name in enumerate(names):
        image = home / name
        if image.parent not in present:
            present[image.parent] = _listing(image.parent)
        if image.name in present[image.parent] or os.path.isfile(image):
            paths.append(image)
            continue
        found = finder.find(name)
        paths.append(found or image)
        if found is None:
            missing.add(i)
    if len(missing) == len(names):
        raise _coco_files.nowhere(root, path, names, folders)
    for i in sorted(missing):
        several = finder.several(names[i])
        reason = f"missing image, named in {path.name}; add it or remove its entry"
        if len(several) > 1:
            reason = (
                f"several files could be meant: {listed([str(p) for p in several], 3)}; give its folder in {path.name}"
            )
        tell("missing-image", str(paths[i]), reason)
    return paths, missing


def _listing(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (OSError, ValueError):
        return set()


def _sizes(
    annotated: Sequence[tuple[int, int]], paths: Sequence[Path], missing: set[int], tell: Tell
) -> tuple[npt.NDArray[np.int32], set[int]]:
    """(N, 2); where the file gives none, the picture's as shown. The places of pictures that cannot be read, and told."""
    sizes = np.array(annotated, dtype=np.int32).reshape(-1, 2)
    unknown = [i for i in np.flatnonzero((sizes < 1).any(axis=1)).tolist() if i not in missing]
    unread = set()
    for i, fact in zip(unknown, examine([paths[i] for i in unknown])):
        sizes[i] = fact.size_hw
        if fact.reason:
            tell("unreadable-image", str(paths[i]), fact.reason)
            unread.add(i)
    return sizes, unread

"""A data set written again in another format: boxes to the last bit, and what the format cannot hold is said."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from detector.data import formats
from detector.data.annotations import Annotations, DataReport
from detector.data.image_facts import examine
from detector.data.raw_split import RawSplit, packed
from search_spaces.errors import UserError
from search_spaces.files import check_folder

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written: a report per split, and one line for each thing that did not come along."""

    source_format: str
    reports: tuple[DataReport, ...]
    lost: tuple[str, ...]


def convert(source: Path, out: Path, to: str, *, link: bool = False) -> Converted:
    """Write all splits of `source` (a folder or YAML of any format) into the folder `out` in the format `to`.

    link: hard links to the pictures instead of copies. The folder appears whole or not at all and an existing one is
    never touched. Raises UserError for that, for an unknown format and for data that training would refuse.
    """
    target = formats.get(to)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out}: exists already; choose another OUT")
    check_folder(out.parent, "choose another OUT")
    layout = formats.detect(source)
    raw = {name: formats.read_split(source, name) for name in formats.get(layout).splits(source)}
    names, ids = _classes(raw)
    splits, reports = {}, []
    for name, split in raw.items():
        annotations, report = packed(replace(split, declared=False), names)
        _check_pictures(annotations, to)
        splits[name] = replace(annotations, category_ids=ids)
        reports.append(report)
    lost = _lost(layout, to, splits, reports)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        renamed = _write(target, splits, staging, link)
        staging.rename(out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another OUT or free some space") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if renamed:
        lost.append(f"the names of {renamed} pictures: others in the same folder had them, a number was added")
    return Converted(layout, tuple(reports), tuple(lost))


def _write(target: formats.Format, splits: Mapping[str, Annotations], root: Path, link: bool) -> int:
    """Pictures and annotations; how many pictures got another name."""
    taken: dict[Path, set[str]] = {}
    renamed = 0
    total = sum(map(len, splits.values()))
    with tqdm(total=total, desc="pictures", unit="img", disable=total < 500) as bar:
        for name, annotations in splits.items():
            folder = target.image_folder(root, name)
            folder.mkdir(parents=True, exist_ok=True)
            paths = []
            for path in annotations.image_paths:
                place = folder / _free_name(path, taken.setdefault(folder, set()))
                renamed += place.name != path.name
                (os.link if link else shutil.copy2)(path.resolve(), place)
                paths.append(place)
                bar.update()
            target.write(root, name, replace(annotations, image_paths=tuple(paths)))
    return renamed


def _free_name(path: Path, taken: set[str]) -> str:
    """The file's name; with a number when its stem is taken, as annotation files are named after stems."""
    stem, number = path.stem, 1
    while stem.lower() in taken:
        number += 1
        stem = f"{path.stem}-{number}"
    taken.add(stem.lower())
    return f"{stem}{path.suffix}"


def _classes(raw: Mapping[str, RawSplit]) -> tuple[tuple[str, ...], Ids]:
    """All splits' classes, the training split's first, and an id for each: the first file's own where it has one."""
    known: dict[str, int | None] = {}
    for split in raw.values():
        ids = [None] * len(split.class_names) if split.category_ids is None else split.category_ids.tolist()
        for name, number in zip(split.class_names, ids):
            known.setdefault(name, None if number in known.values() else number)
    spare = max((number for number in known.values() if number is not None), default=0)
    result = []
    for number in known.values():
        spare += number is None
        result.append(spare if number is None else number)
    return tuple(known), np.array(result, dtype=np.int64)


def _check_pictures(annotations: Annotations, to: str) -> None:
    """Every picture whole and of the annotated size; YOLO's normalised boxes go by the size as shown."""
    sizes = annotations.sizes_hw.tolist()
    for path, fact, (height, width) in zip(annotations.image_paths, examine(annotations.image_paths), sizes):
        reason = fact.mismatch((height, width))
        if reason:
            raise UserError(f"{path}: {reason}")
        if to == "yolo" and fact.size_hw != (height, width):
            raise UserError(
                f"{path}: was annotated before its EXIF rotation, which YOLO files cannot say; "
                "rotate the pixels (and annotate them so), or convert to coco or voc"
            )


def _lost(layout: str, to: str, splits: Mapping[str, Annotations], reports: list[DataReport]) -> list[str]:
    """One line for each thing that the new files do not hold."""
    lost = []
    clipped, dropped = sum(r.clipped for r in reports), sum(r.dropped for r in reports)
    if clipped or dropped:
        lost.append(f"{clipped} boxes were cut at the border of their image, {dropped} under 1 px left out")
    if layout == "coco":
        lost.append("annotation ids, masks, keypoints and other keys: only boxes are carried over")
    elif layout == "voc":
        lost.append("pose, truncated, parts and other tags: only names, boxes and difficult are carried over")
    ignored = sum(int(split.ignore.sum()) for split in splits.values())
    if ignored and to == "yolo":
        lost.append(f"{ignored} crowd or difficult boxes: the format has no place for them, they become background")
    elif ignored and layout != to:
        words = {"coco": "iscrowd", "voc": "difficult"}
        lost.append(f"{ignored} {words[layout]} boxes are now {words[to]} (ignored all the same)")
    if to == "coco":
        return lost
    first = next(iter(splits.values()))
    if not np.array_equal(first.category_ids, np.arange(1, first.num_classes + 1)):
        lost.append("category ids: the classes keep their order and are numbered anew")
    if layout == "coco":
        lost.append("image ids: images are known by their names")
    if any(_has_mask_areas(split) for split in splits.values()):
        lost.append("mask areas: small, medium and large then go by the box's area")
    return lost


def _has_mask_areas(split: Annotations) -> bool:
    sides = split.boxes_xyxy[:, 2:] - split.boxes_xyxy[:, :2]
    return not np.allclose(sides.prod(axis=1), split.areas, rtol=1e-3)

"""A data set written again in another format: boxes to the last bit, and what the format cannot hold is said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data import formats
from detector.data.annotations import Annotations, DataReport
from detector.data.image import IMAGE_SUFFIXES
from detector.data.image_facts import examine
from detector.data.raw_split import RawSplit, packed
from detector.data.writing import Content, Put, claim, write_data_set
from search_spaces.errors import UserError

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
    never touched. A test split that cannot be read is left out, and that is said. Raises UserError for an existing
    folder, an unknown format and for data that training would refuse.
    """
    target = formats.writable(to)
    claim(out)
    layout = formats.detect(source)
    raw, lost = read_all(source)
    names, ids = merged_classes(list(raw.values()))
    splits, reports = {}, []
    for name, split in raw.items():
        annotations, report = packed(replace(split, declared=False), names)
        check_pictures(annotations, copied_to=to)
        splits[name] = replace(annotations, category_ids=ids)
        reports.append(report)
    lost += _lost(layout, to, splits, reports)
    renamed = write_data_set(target, {name: Content(split, copied(split, link)) for name, split in splits.items()}, out)
    return Converted(layout, tuple(reports), (*lost, *renamed_line(renamed)))


def read_all(source: Path) -> tuple[dict[str, RawSplit], list[str]]:
    """All splits of a data set, and a line for each thing that is left out: a test split that cannot be read, too.

    Raises UserError when there is no split, or another one cannot be read.
    """
    raw = {}
    lost = formats.left_out(source)
    for name in formats.available_splits(source):
        try:
            raw[name] = formats.read_split(source, name)
        except UserError as error:
            if name != "test":
                raise
            lost.append(f"the {name!r} split: {error}")
    if not raw:
        found = f" ({lost[0]})" if lost else ""
        raise UserError(f"{source}: no split can be read{found}; expected train, val or test")
    if any(split.origins is not None for split in raw.values()):
        lost.append("which classes each data set labels: in the new one, what a set does not label is background")
    return raw, lost


def copied(annotations: Annotations, link: bool) -> Put:
    """Writes the pictures of a split as copies of its files, or as hard links to them."""
    paths = annotations.image_paths

    def put(index: int, place: Path) -> None:
        (os.link if link else shutil.copy2)(paths[index].resolve(), place)

    return put


def renamed_line(renamed: int) -> list[str]:
    """What to say of pictures that got another name."""
    if not renamed:
        return []
    return [f"the names of {renamed} pictures: others in the same folder had them, a number was added"]


def merged_classes(splits: Sequence[RawSplit]) -> tuple[tuple[str, ...], Ids]:
    """All splits' classes, the first one's first, and an id for each: the first file's own where it has one."""
    known: dict[str, int | None] = {}
    for split in splits:
        ids = [None] * len(split.class_names) if split.category_ids is None else split.category_ids.tolist()
        for name, number in zip(split.class_names, ids):
            known.setdefault(name, None if number in known.values() else number)
    spare = max((number for number in known.values() if number is not None), default=0)
    result = []
    for number in known.values():
        spare += number is None
        result.append(spare if number is None else number)
    return tuple(known), np.array(result, dtype=np.int64)


def check_pictures(annotations: Annotations, *, copied_to: str | None) -> None:
    """Every picture whole and of the annotated size, and, where the files themselves go into a data set of the format
    `copied_to`, such as that format has: YOLO's normalised boxes go by the size as shown, and formats that find pictures
    by their names' endings know some alone. Raises UserError for the first that is not."""
    sizes = annotations.sizes_hw.tolist()
    for path, fact, (height, width) in zip(annotations.image_paths, examine(annotations.image_paths), sizes):
        reason = fact.mismatch((height, width))
        if reason:
            raise UserError(f"{path}: {reason}")
        if copied_to not in (None, "coco") and path.suffix.lower() not in IMAGE_SUFFIXES:
            raise UserError(
                f"{path}: a {path.suffix} in a data set of {copied_to} would not be read again; convert it to JPEG or "
                "PNG, or take --to coco"
            )
        if copied_to == "yolo" and fact.size_hw != (height, width):
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
        lost.append(f"{ignored} {words.get(layout, 'ignored')} boxes are now {words[to]} (ignored all the same)")
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

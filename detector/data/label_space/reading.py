"""A split of several data sets as one: their pictures one after the other, their boxes with the label space's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

import numpy as np

from detector.data import formats
from detector.data.annotations import Floats, RawBoxes
from detector.data.label_space.document import Document, is_document, member_path, read_document
from detector.data.label_space.unify import LabelSpace, unify
from detector.data.origins import Origins
from detector.data.raw_split import RawSplit, Tell, refuse
from detector.data.split_names import SPLITS, UNSPLIT
from search_spaces.errors import UserError, nearest


def read_members(path: Path) -> tuple[Document, dict[str, Path]]:
    """The file and where its sets are. Raises UserError for a set that is listed twice, one that is a list itself, and one
    that is no data set."""
    document = read_document(path)
    paths = {name: member_path(path, member) for name, member in document.sets.items()}
    first: dict[Path, str] = {}
    for name, place in paths.items():
        other = first.setdefault(place.resolve(), name)
        if other != name:
            raise UserError(f"{path}: sets.{name} and sets.{other} are the same data set, {place}; list it once")
        if is_document(place):
            raise UserError(f"{path}: sets.{name}: {place} is a list of data sets itself; put its sets into this list")
        try:
            formats.detect(place)
        except UserError as error:
            raise UserError(f"{path}: sets.{name}: {error}") from None
    return document, paths


def own_splits(path: Path) -> list[str]:
    """The splits of one set. Raises UserError for a set that is still in one heap."""
    available = formats.available_splits(path)
    if available in ([UNSPLIT], []):
        raise UserError(f"{path}: has no splits; split it first: tinynas data split {quote(str(path))} --val 0.2")
    return available


def class_split(path: Path) -> str:
    """The split that tells a set's classes: train, else its first one. Raises UserError as `own_splits` does."""
    available = own_splits(path)
    return "train" if "train" in available else available[0]


def splits_of(path: Path) -> list[str]:
    """The splits that any of the sets has, as far as train, val and test."""
    _, paths = read_members(path)
    there = {split for place in paths.values() for split in own_splits(place)}
    return [split for split in SPLITS if split in there]


def read_label_space(path: Path) -> LabelSpace:
    """The label space of a file, from its sets' classes. Raises UserError as `unify` and the sets' readers do."""
    document, paths = read_members(path)
    return unify(document, {name: classes_of(document, name, place) for name, place in paths.items()}, str(path))


def classes_of(document: Document, name: str, path: Path) -> Sequence[str]:
    """A set's own classes: those that the file gives, else those of its training split (or of its first split)."""
    given = document.sets[name].classes
    if given is not None:
        return given
    return formats.read_split(path, class_split(path)).class_names


def read_as_one(path: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """The split of all sets that have it. Boxes of classes that are left out are gone.

    Raises UserError for a set without pictures in a split that it has, and for a class that the set's list lacks.
    """
    document, paths = read_members(path)
    raw, classes = {}, {}
    for name, place in paths.items():
        available = own_splits(place)
        if split in available:
            raw[name] = formats.read_split(place, split, tell)
            if not raw[name].image_paths:
                raise UserError(f"{path}: sets.{name}: {place} has no pictures in {split}; take the set off the list")
        given = document.sets[name].classes
        if given is None and split == "train" and split in available:
            classes[name] = raw[name].class_names
        else:
            classes[name] = tuple(classes_of(document, name, place))
    space = unify(document, classes, str(path))
    numbers = {source.name: number for number, source in enumerate(space.sources)}
    parts = [_as_here(one, space, numbers[name], path) for name, one in raw.items()]
    origins = Origins(
        space.sources,
        np.repeat(
            np.array([numbers[name] for name in raw], dtype=np.int32), [len(one.image_paths) for one in raw.values()]
        ),
    )
    within = space.merged_within() if split == "train" else []
    return _one_behind_the_other(f"{path.name} {split}", parts, space.class_names, origins, tuple(within))


def _as_here(raw: RawSplit, space: LabelSpace, number: int, path: Path) -> RawSplit:
    """A set's split with the label space's labels, less the boxes of classes that are left out."""
    becomes = {own.casefold(): name for own, name in space.sources[number].becomes.items()}
    labels = {name: label for label, name in enumerate(space.class_names)}
    table = np.full(max(len(raw.class_names), 1), -2, dtype=np.int64)
    for own_label, own in enumerate(raw.class_names):
        name = becomes.get(own.casefold(), own)
        if own.casefold() in becomes:
            table[own_label] = -1 if name is None else labels[name]
    found = table[raw.boxes.labels]
    if (found == -2).any():
        row = int(np.argmax(found == -2))
        own = raw.class_names[int(raw.boxes.labels[row])]
        raise UserError(
            f"{raw.where(row)}: class {own!r} is not among the classes of this set in {path}; "
            f"{nearest(own, space.sources[number].becomes)}; add it to its `classes` there, or to its training split"
        )
    keep = found >= 0
    return replace(raw, boxes=replace(raw.boxes.select(keep), labels=found[keep]), records=raw.records[keep])


def _one_behind_the_other(
    source: str, parts: Sequence[RawSplit], class_names: tuple[str, ...], origins: Origins, notes: tuple[str, ...]
) -> RawSplit:
    starts = np.cumsum([0, *(len(part.image_paths) for part in parts)])
    boxes = [replace(part.boxes, image=part.boxes.image + start) for part, start in zip(parts, starts)]
    areas: list[Floats] = [
        np.full(len(one.labels), np.nan, dtype=np.float32) if one.areas is None else one.areas for one in boxes
    ]
    return RawSplit(
        source=source,
        class_names=class_names,
        declared=True,
        image_paths=tuple(path for part in parts for path in part.image_paths),
        sizes_hw=np.concatenate([part.sizes_hw for part in parts]),
        files=tuple(file for part in parts for file in part.files),
        boxes=RawBoxes(
            image=np.concatenate([one.image for one in boxes]),
            boxes_xyxy=np.concatenate([one.boxes_xyxy for one in boxes]),
            labels=np.concatenate([one.labels for one in boxes]),
            ignore=np.concatenate([one.ignore for one in boxes]),
            areas=np.concatenate(areas).astype(np.float32, copy=False),
        ),
        records=np.concatenate([part.records for part in parts]),
        record_text="",
        record_texts=tuple(part.record_text for part in parts for _ in part.image_paths),
        notes=(*notes, *(f"{part.source}: {note}" for part in parts for note in part.notes)),
        origins=origins,
    )

"""Data formats: one file per format, found by its name. `load_split` picks the format that fits a folder or a YAML."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from detector.data.annotations import Annotations, DataReport
from detector.data.raw_split import RawSplit, Tell, packed, refuse
from search_spaces.errors import UserError, nearest
from search_spaces.plugins import plugin_names

SPLITS = ("train", "val", "test")
LAYOUTS = (
    "VOC (Annotations/*.xml, JPEGImages/, ImageSets/Main/SPLIT.txt; or SPLIT/*.xml beside the images), "
    "COCO (annotations/*SPLIT*.json or SPLIT/_annotations.coco.json), "
    "YOLO (data.yaml, or images/SPLIT + labels/SPLIT + classes.txt)"
)


class Format(Protocol):
    """What a format's file offers."""

    def matches(self, root: Path) -> bool:
        """Whether `root` (a folder or a YAML file) is laid out in this format."""

    def splits(self, root: Path) -> list[str]:
        """The splits that exist under `root`, out of train, val and test."""

    def read(self, root: Path, split: str, tell: Tell = refuse) -> RawSplit:
        """Read one split as it stands. `tell` hears of every record that cannot be used."""

    def image_folder(self, root: Path, split: str) -> Path:
        """Where the pictures of a split go when a data set is written in this format."""

    def write(self, root: Path, split: str, annotations: Annotations) -> None:
        """Write one split's annotation files (the pictures are in place)."""


def names() -> list[str]:
    """The known formats' names, sorted."""
    return plugin_names(__name__)


def get(name: str) -> Format:
    """The format called `name`; an unknown name raises UserError."""
    if name not in names():
        raise UserError(f"unknown data format {name!r}; {nearest(name, names())}")
    return cast(Format, importlib.import_module(f"{__name__}.{name}"))


def detect(data: Path) -> str:
    """The name of the format of a folder or YAML file; raises UserError when none fits."""
    if not data.exists():
        raise UserError(f"{data}: no such folder or file; expected a data folder or a data.yaml")
    if data.is_dir() and not any(data.iterdir()):
        raise UserError(f"{data}: the folder is empty; expected one of {LAYOUTS}")
    for name in names():
        if get(name).matches(data):
            return name
    inner = _data_below(data)
    hint = f"; {inner} looks like one, name that" if inner else ""
    raise UserError(f"{data}: unknown data layout{hint}; expected one of {LAYOUTS}")


def _data_below(data: Path) -> Path | None:
    """The first folder one or two below that is laid out in a known format (archives often hold one)."""
    folders = [path for level in ("*/", "*/*/") for path in sorted(data.glob(level))]
    return next((path for path in folders[:200] if any(get(name).matches(path) for name in names())), None)


def load_split(data: Path, split: str, class_names: Sequence[str] | None = None) -> tuple[Annotations, DataReport]:
    """Read one split ('train', 'val' or 'test') of a data set whose format is found out from its layout.

    data: a folder, or a YOLO-style YAML file. class_names: the training classes; the split's own are matched by name,
    with a warning when the lists differ. Raises UserError for an unknown layout, a missing split and any malformed
    file, and for a class that has boxes but is not among `class_names`.
    """
    return packed(read_split(data, split), class_names)


def read_split(data: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """One split as its files give it. `tell`: what to do with a record that cannot be used; without it, UserError."""
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; {nearest(split, SPLITS)}")
    chosen = get(detect(data))
    available = chosen.splits(data)
    if split not in available:
        raise UserError(
            f"{data}: there is no {split!r} split; found: {', '.join(available) or 'none'}; "
            f"add one to the data set, or name one that exists"
        )
    return chosen.read(data, split, tell)

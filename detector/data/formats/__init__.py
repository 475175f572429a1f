"""Data formats: one file per format, found by its name. `load_split` picks the format that fits a folder or a YAML."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Protocol, cast

from detector.data.annotations import Annotations, DataReport
from detector.data.formats._layout_hints import nearest_layout
from detector.data.raw_split import RawSplit, Tell, packed, refuse
from detector.data.split_lists import Lists, read_lists
from detector.data.split_names import SPLITS, UNSPLIT
from search_spaces.errors import UserError, nearest
from search_spaces.plugins import plugin_names

__all__ = [
    "SPLITS",
    "UNSPLIT",
    "available_splits",
    "detect",
    "get",
    "left_out",
    "load_split",
    "names",
    "read_split",
    "writable",
    "writable_names",
]

LAYOUTS = (
    "VOC (Annotations/*.xml, JPEGImages/, ImageSets/Main/SPLIT.txt; or XML files beside the images), "
    "COCO (annotations/*SPLIT*.json, SPLIT/_annotations.coco.json, or a folder with one JSON file), "
    "YOLO (data.yaml, obj.data, or images/SPLIT + labels/SPLIT + classes.txt), "
    "an export of CVAT, Label Studio, LabelMe, VIA, CreateML or CSV, "
    "or a list of several data sets (tinynas data merge-labels)"
)


class Format(Protocol):
    """What a format's file offers. One that can tell without looking for splits, or has a file in place of a folder, has
    `matches(root)` too; one that can be written, `write` and `image_folder`."""

    def splits(self, root: Path) -> list[str]:
        """The splits that exist under `root`: some of train, val and test, or the unsplit whole alone."""

    def read(self, root: Path, split: str, tell: Tell = refuse) -> RawSplit:
        """Read one split as it stands. `tell` hears of every record that cannot be used."""


class WritableFormat(Format, Protocol):
    """A format that a data set can be written in."""

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


def writable_names() -> list[str]:
    """The names of the formats that a data set can be written in, sorted."""
    return [name for name in names() if hasattr(get(name), "write")]


def writable(name: str) -> WritableFormat:
    """The format called `name`, to write in; UserError when there is none, or it is read only."""
    chosen = get(name)
    if not hasattr(chosen, "write"):
        can = ", ".join(writable_names())
        raise UserError(f"the format {name!r} is read, but not written; expected one of {can}")
    return cast(WritableFormat, chosen)


def fits(name: str, root: Path) -> bool:
    """Whether `root` (a folder or a file) is laid out in the format called `name`: by its `matches`, else by its splits."""
    chosen = get(name)
    return bool(chosen.matches(root) if hasattr(chosen, "matches") else chosen.splits(root))


def detect(data: Path) -> str:
    """The name of the format of a folder or YAML file; raises UserError when none fits."""
    if not data.exists():
        raise UserError(f"{data}: no such folder or file; expected a data folder or a data.yaml")
    if data.is_dir() and not any(data.iterdir()):
        raise UserError(f"{data}: the folder is empty; expected one of {LAYOUTS}")
    for name in names():
        if fits(name, data):
            return name
    inner = _data_below(data)
    hint = f"; {inner} looks like one, name that" if inner else nearest_layout(data)
    raise UserError(f"{data}: unknown data layout{hint}; expected one of {LAYOUTS}")


def _data_below(data: Path) -> Path | None:
    """The first folder one or two below that is laid out in a known format (archives often hold one)."""
    folders = [path for level in ("*/", "*/*/") for path in sorted(data.glob(level))]
    return next((path for path in folders[:200] if any(fits(name, path) for name in names())), None)


def available_splits(data: Path) -> list[str]:
    """The splits that a data set has, by its own files or by the lists of `tinynas data split`; "all" if it has none."""
    native = get(detect(data)).splits(data)
    lists = _lists(data)
    if lists is None:
        return native
    return [split for split in SPLITS if split in lists.names or (split in native and split != lists.source(native))]


def left_out(data: Path) -> list[str]:
    """Lines about what is there, or named, and is no part of any split."""
    chosen = get(detect(data))
    found = getattr(chosen, "left_out", None)
    return list(found(data)) if found is not None else []


def load_split(
    data: Path, split: str, class_names: Sequence[str] | None = None, *, of_model: bool = False
) -> tuple[Annotations, DataReport]:
    """Read one split ('train', 'val' or 'test') of a data set whose format is found out from its layout.

    data: a folder, or a YOLO-style YAML file. class_names: the training classes, or (`of_model`) a trained model's; the
    split's own are matched by name, with a warning when the lists differ. Raises UserError for an unknown layout, a missing
    split and any malformed file, and for a class that has boxes but is not among `class_names`.
    """
    return packed(read_split(data, split), class_names, of_model=of_model)


def read_split(data: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """One split as its files give it. `tell`: what to do with a record that cannot be used; without it, UserError."""
    if split not in (*SPLITS, UNSPLIT):
        raise UserError(f"unknown split {split!r}; {nearest(split, SPLITS)}")
    chosen = get(detect(data))
    lists = _lists(data)
    if lists is not None and split in lists.names:
        return _listed(data, chosen, lists, split, tell)
    available = available_splits(data)
    if split not in available:
        raise UserError(f"{data}: there is no {split!r} split; {_what_else(data, split, available)}")
    return chosen.read(data, split, tell)


def _lists(data: Path) -> Lists | None:
    """The lists of `tinynas data split` beside a data set that follows them; a list of several sets leaves them to these."""
    return read_lists(data) if getattr(get(detect(data)), "OWN_LISTS", True) else None


def _listed(data: Path, chosen: Format, lists: Lists, split: str, tell: Tell) -> RawSplit:
    source = lists.source(chosen.splits(data))
    if source is None:
        raise UserError(f"{lists.folder}: lists splits of a data set that has its own now; delete that folder")
    return lists.chosen(chosen.read(data, source, tell), split, tell)


def _what_else(data: Path, split: str, available: Sequence[str]) -> str:
    """The remedy for a split that is not there."""
    if available in ([UNSPLIT], ["train"]) and split in SPLITS:
        found = "its pictures are in one heap" if available == [UNSPLIT] else "found: train"
        return (
            f"{found}; split it with: tinynas data split {quote(str(data))} --val 0.2"
            + (" --test 0.1" if split == "test" else "")
            + (" (or train with --split 0.2)" if split != "test" else "")
        )
    return f"found: {', '.join(available) or 'none'}; add one to the data set, or name one that exists"

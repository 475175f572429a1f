"""Several data sets as one: a YAML file that lists them, with the rules of their label space (tinynas data merge-labels)."""

from __future__ import annotations

from pathlib import Path

from detector.data import formats
from detector.data.label_space.document import is_document
from detector.data.label_space.reading import read_as_one, read_members, splits_of
from detector.data.raw_split import RawSplit, Tell, refuse

OWN_LISTS = False
"""Lists of `tinynas data split` lie beside each of the sets, and are followed there."""


def matches(root: Path) -> bool:
    """Whether `root` is such a file."""
    return is_document(root)


def splits(root: Path) -> list[str]:
    """The splits that any of the sets has."""
    return splits_of(root)


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """The split of all sets that have it, one behind the other, with the label space's classes."""
    return read_as_one(root, split, tell)


def left_out(root: Path) -> list[str]:
    """What is left out of the sets, set by set."""
    _, paths = read_members(root)
    return [f"{name}: {line}" for name, path in paths.items() for line in formats.left_out(path)]

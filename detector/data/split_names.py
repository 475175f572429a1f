"""What splits are called: train, val and test under the names that tools give them, and the whole of an unsplit set."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from detector.data.file_tree import is_hidden

SPLITS = ("train", "val", "test")
UNSPLIT = "all"
"""The split of a data set that has none."""
SYNONYMS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
    UNSPLIT: ("default", "all"),
}
_BY_NAME = {synonym: split for split, synonyms in SYNONYMS.items() for synonym in synonyms}
_WORDS = re.compile(rf"(?<![a-z])({'|'.join(sorted(_BY_NAME, key=len, reverse=True))})(?![a-z])")
_REST = re.compile(r"(?:[_ -]?(?:set|split|data|images|imgs)|(?:19|20)\d\d)$")


def split_of(name: str) -> str | None:
    """The split that a folder, list or key of that name holds (`Train`, `val2017`, `test_set`), None if it names none."""
    return _BY_NAME.get(_REST.sub("", name.strip().lower()))


def split_within(name: str) -> str | None:
    """The split that is one word of a file's name (`instances_train2017`, `labels-Validation`), None if there is none."""
    found = _WORDS.search(name.lower())
    return None if found is None else _BY_NAME[found.group(1)]


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of `root` that are called after a split, by split; the first of several synonyms."""
    found: dict[str, Path] = {}
    for folder in folders_in(root):
        split = split_of(folder.name)
        if split is not None:
            found.setdefault(split, folder)
    return found


def folders_in(root: Path) -> list[Path]:
    """The folders in `root`, sorted, hidden ones left out."""
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not is_hidden(path.name))
    except OSError:
        return []


def files_in(root: Path, suffix: str) -> list[Path]:
    """The files in `root` (not below) with that suffix in lower case, sorted, hidden ones left out."""
    try:
        return sorted(
            path for path in root.iterdir()
            if path.suffix.lower() == suffix and not is_hidden(path.name) and path.is_file()
        )  # fmt: skip
    except OSError:
        return []


def folder_called(root: Path, *names: str) -> Path | None:
    """The folder of `root` with one of these lower-case names, whatever its case; the first name that there is."""
    present = {path.name.lower(): path for path in folders_in(root)}
    return next((present[name] for name in names if name in present), None)


def in_order(splits: Iterable[str]) -> list[str]:
    """train, val, test, then the unsplit rest; the rest is left out where there is another."""
    known = set(splits)
    named = [split for split in SPLITS if split in known]
    return named or [split for split in (UNSPLIT,) if split in known]

"""Splits as lists of pictures beside a data set that has none: what `tinynas data split` writes, and readers follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detector.data.file_tree import one_form
from detector.data.raw_split import RawSplit, Tell
from detector.data.split_names import SPLITS, UNSPLIT
from search_spaces.files import read_text

FOLDER = "tinynas-splits"
"""In the data set's folder: train.txt, val.txt and perhaps test.txt, a picture's path a line."""


@dataclass(frozen=True, slots=True)
class Lists:
    """names: by split, the pictures' paths as written, relative to `home` (the data set's folder)."""

    home: Path
    names: dict[str, tuple[str, ...]]

    @property
    def folder(self) -> Path:
        """Where the lists are."""
        return self.home / FOLDER

    def source(self, native: Sequence[str]) -> str | None:
        """The split of the data set's own that the lists divide: the unsplit whole, else train if there is no val."""
        if UNSPLIT in native:
            return UNSPLIT
        return "train" if "train" in native and "val" not in native else None

    def chosen(self, whole: RawSplit, split: str, tell: Tell) -> RawSplit:
        """The pictures of one list, in the data set's order. One that the data set lacks is told."""
        wanted = {one_form(name) for name in self.names[split]}
        written = [one_form(listed_name(path, self.home)) for path in whole.image_paths]
        keep = np.array([name in wanted for name in written], dtype=np.bool_)
        for name in sorted(wanted - set(written)):
            reason = f"missing image, listed in {self.folder / split}.txt; add it, or split anew with --overwrite"
            tell("missing-image", str(self.home / name), reason)
        return replace(whole.only(keep), source=f"{whole.source} {split}")


def home_of(data: Path) -> Path:
    """The folder that a data set's lists lie in."""
    return data if data.is_dir() else data.parent


def read_lists(data: Path) -> Lists | None:
    """The lists beside a data set (a folder or a YAML file), None if there are none."""
    home = home_of(data)
    found = {}
    for split in SPLITS:
        path = home / FOLDER / f"{split}.txt"
        if path.is_file():
            found[split] = tuple(line for line in read_text(path, "one image path per line").split("\n") if line)
    return Lists(home, found) if found else None


def listed_name(path: Path, home: Path) -> str:
    """How a picture stands in a list: relative to the data set's folder where it lies there, with slashes."""
    absolute, base = path.absolute(), home.absolute()
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else absolute.as_posix()

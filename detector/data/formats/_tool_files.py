"""Where a labelling tool's files lie, and which split each holds: one rule for the formats of the tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from detector.data.file_tree import Finder
from detector.data.image import IMAGE_SUFFIXES, OTHER_PICTURES
from detector.data.split_names import (
    UNSPLIT,
    files_in,
    folder_called,
    folders_in,
    in_order,
    split_folders,
    split_within,
)

ANNOTATIONS = ("annotations", "annotation", "labels", "label", "json", "jsons")
_PICTURES = ("images", "image", "jpegimages", "imgs", "img", "data")


def tool_files(root: Path, suffix: str, accepts: Callable[[Path], bool]) -> dict[str, list[Path]]:
    """The files of one tool by split: in folders called after a split (and their annotations/), in the folder itself and
    its annotations/. A file there belongs to the split that is a word of its name, else to the unsplit whole, which
    counts when there is no other. Of a folder with many files, the first that is not hidden tells for all.
    """
    if not root.is_dir():
        return {}
    found: dict[str, list[Path]] = {}
    annotations = _annotations(root)
    for split, folder in [*split_folders(root).items(), *(split_folders(annotations).items() if annotations else ())]:
        for place in (folder, _annotations(folder)):
            found.setdefault(split, []).extend(_accepted(place, suffix, accepts))
    for place in (root, annotations):
        for path in _accepted(place, suffix, accepts):
            found.setdefault(split_within(path.stem) or UNSPLIT, []).append(path)
    if not any(found.values()):
        for folder in folders_in(root)[:200]:
            found.setdefault(UNSPLIT, []).extend(_accepted(folder, suffix, accepts))
    return {split: found[split] for split in in_order(split for split in found if found[split])}


def picture_finder(root: Path, files: list[Path], split: str) -> Finder:
    """Looks beside the annotation files, then in folders called after the split or after pictures, then anywhere."""
    homes = [folder for name in _PICTURES if (folder := folder_called(root, name))]
    inner = [folder for home in (*homes, root) if (folder := split_folders(home).get(split))]
    inner += [below for folder in inner for name in _PICTURES if (below := folder_called(folder, name))]
    beside = list(dict.fromkeys(path.parent for path in files))
    return Finder(root, [*beside[:20], *inner, *homes, root], IMAGE_SUFFIXES | OTHER_PICTURES)


def _annotations(folder: Path) -> Path | None:
    return folder_called(folder, *ANNOTATIONS)


def _accepted(folder: Path | None, suffix: str, accepts: Callable[[Path], bool]) -> list[Path]:
    if folder is None:
        return []
    files = files_in(folder, suffix)
    if len(files) > 50:
        # one file per picture: asking each would read them all
        return files if accepts(files[0]) else []
    return [path for path in files if accepts(path)]

"""Where COCO files lie, which split each holds, and where its pictures are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from detector.data.file_tree import is_file
from detector.data.formats._json_kind import json_kind
from detector.data.split_names import (
    SYNONYMS,
    UNSPLIT,
    files_in,
    folder_called,
    folders_in,
    in_order,
    split_folders,
    split_of,
    split_within,
)
from search_spaces.errors import UserError, listed

BESIDE = "_annotations.coco.json"
_PICTURES = ("images", "jpegimages", "image", "imgs", "img", "data")
_NOT_ANNOTATED = "image_info"


def annotation_files(root: Path) -> dict[str, list[Path]]:
    """The COCO files of a folder by split: in annotations/, in folders called after a split, or in the folder itself.

    A file's split is the folder's, else a word of its name, else the unsplit whole (which counts when there is no other).
    image_info files list pictures without annotations and are left out.
    """
    found: dict[str, list[Path]] = {}
    annotations = folder_called(root, "annotations", "annotation", "labels")
    for path in files_in(annotations, ".json") if annotations else ():
        split = split_within(path.stem)
        # by its name alone, so that a broken file gets its message
        if _counts(path) and (json_kind(path) == "coco" or (split is not None and not json_kind(path))):
            found.setdefault(split or UNSPLIT, []).append(path)
    for split, folder in split_folders(root).items():
        files = [path for path in files_in(folder, ".json") if path.name == BESIDE or json_kind(path) == "coco"]
        found.setdefault(split, []).extend(path for path in files if _counts(path))
    # a data.yaml says more than a stray file of results
    if not any(found.values()) and not any(files_in(root, suffix) for suffix in (".yaml", ".yml")):
        for path in files_in(root, ".json"):
            if _counts(path) and json_kind(path) == "coco":
                found.setdefault(split_within(path.stem) or UNSPLIT, []).append(path)
    return {split: _preferred(found[split]) for split in in_order(split for split in found if found[split])}


def annotation_file(root: Path, split: str) -> Path:
    """The one file of a split. Raises UserError when there are several."""
    found = annotation_files(root).get(split, [])
    if len(found) != 1:
        listing = ", ".join(str(path) for path in found) or "none"
        raise UserError(f"{root}: expected one annotation file for {split!r}, found {listing}; keep one of them")
    return found[0]


def left_out(root: Path) -> list[str]:
    """Lines about files that hold no annotations."""
    annotations = folder_called(root, "annotations")
    files = [path for path in (files_in(annotations, ".json") if annotations else ()) if not _counts(path)]
    return [f"{path}: lists pictures without annotations; left out" for path in files]


def picture_folders(root: Path, path: Path, split: str) -> list[Path]:
    """The folders to look for a file's pictures in, likeliest first."""
    years = re.findall(r"(?:19|20)\d\d", path.stem)
    names = [f"{name}{year}" for name in SYNONYMS[split] for year in [*years, ""]]
    homes = [root, *(folder for name in _PICTURES if (folder := folder_called(root, name)))]
    inner = [folder for home in homes for name in names if (folder := folder_called(home, name))]
    called = [folder for home in homes for folder in folders_in(home) if folder.name in path.stem.split("_")]
    first = [path.parent] if path.name == BESIDE or split_of(path.parent.name) else []
    return list(dict.fromkeys([*first, *called, *inner, *homes[1:], path.parent, root]))


def main_folder(file_names: Sequence[str], folders: Sequence[Path]) -> Path | None:
    """The first folder that has one of the first hundred pictures under its name as it stands."""
    for name in file_names[:100]:
        folder = next((choice for choice in folders if is_file(choice / name)), None)
        if folder is not None:
            return folder
    return None


def nowhere(root: Path, path: Path, file_names: Sequence[str], folders: Sequence[Path]) -> UserError:
    """For a file of whose pictures none was found."""
    tried = listed([str(choice.relative_to(root)) for choice in folders if choice.is_relative_to(root)], 8)
    named = f"missing image {file_names[0]} named in {path.name}" if file_names else f"no usable image in {path.name}"
    return UserError(f"{root}: {named}; looked in {tried}; add the pictures there")


def _counts(path: Path) -> bool:
    return not path.name.lower().startswith(_NOT_ANNOTATED)


def _preferred(paths: list[Path]) -> list[Path]:
    """Files called instances before others (captions, keypoints); those called _annotations.coco.json before all."""
    for mark in (BESIDE, "instances"):
        chosen = [path for path in paths if path.name.startswith(mark)]
        if chosen:
            return chosen
    return paths

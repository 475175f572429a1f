"""A data set written whole or not at all: pictures under names of their own, and the annotation files of a format."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from detector.data.annotations import Annotations
from detector.data.file_tree import FreeNames
from detector.data.formats import WritableFormat
from detector.data.scalars import clean_name
from search_spaces.errors import UserError
from search_spaces.files import check_new_folder

Put = Callable[[int, Path], None]
"""`put(i, path)` writes the picture of image i there."""


@dataclass(frozen=True, slots=True)
class Content:
    """A split to write; the names of `annotations.image_paths` are those wanted, `put` writes the pictures."""

    annotations: Annotations
    put: Put


def claim(out: Path) -> None:
    """Raises UserError unless `out` can be made: it must not exist, or be empty."""
    check_new_folder(out, "choose another OUT")


def write_data_set(target: WritableFormat, splits: Mapping[str, Content], out: Path) -> int:
    """Write all splits into the new folder `out`, which appears whole or not at all. How many pictures got another name,
    because others in the same folder had theirs.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        renamed = _write(target, splits, staging)
        staging.rename(out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another OUT or free some space") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return renamed


def _write(target: WritableFormat, splits: Mapping[str, Content], root: Path) -> int:
    names: dict[Path, FreeNames] = {}
    renamed = 0
    total = sum(len(content.annotations) for content in splits.values())
    with tqdm(total=total, desc="pictures", unit="img", disable=True if total < 500 else None) as bar:
        for split, content in splits.items():
            folder = target.image_folder(root, split)
            folder.mkdir(parents=True, exist_ok=True)
            paths = []
            for i, path in enumerate(content.annotations.image_paths):
                # Annotation files are named after stems, and lists have one name a line.
                stem = names.setdefault(folder, FreeNames()).take(clean_name(path.stem).strip(". ") or "image")
                place = folder / f"{stem}{path.suffix}"
                renamed += place.name != path.name
                content.put(i, place)
                paths.append(place)
                bar.update()
            target.write(root, split, replace(content.annotations, image_paths=tuple(paths)))
    return renamed

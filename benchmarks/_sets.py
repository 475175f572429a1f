"""Data sets for a comparison: a whole one, some of its training images, or one of its classes alone."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detector.data.annotations import Annotations, joined
from detector.data.formats import detect, get, load_split
from search_spaces.errors import UserError, nearest

DRAW_SEED = 7


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A data set as named on the command line: `name[:images][@class]`."""

    text: str
    name: str
    images: int | None
    class_name: str | None

    @property
    def folder(self) -> str:
        """A name for files."""
        return re.sub(r"[^\w.-]", "_", self.text)


def parse_set(text: str) -> SetSpec:
    """Raises UserError for a text that is no set."""
    match = re.fullmatch(r"([^:@]+)(?::(\d+))?(?:@(.+))?", text)
    if match is None or match[2] == "0":
        raise UserError(f"--sets {text!r}: expected NAME, NAME:IMAGES, NAME@CLASS or NAME:IMAGES@CLASS")
    return SetSpec(text, match[1], None if match[2] is None else int(match[2]), match[3])


def prepared(spec: SetSpec, root: Path, out: Path, *, together: bool = False) -> Path:
    """The set's folder: the data set itself, or a part of it in COCO's format under `out`, made once.

    together: `val` holds the images of `test` too, and there is no `test`.
    """
    source = root / spec.name
    if spec.images is None and spec.class_name is None and not together:
        detect(source)
        return source
    folder = out / spec.folder
    if (folder / "complete").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(DRAW_SEED)
    names: Sequence[str] | None = None
    parts: dict[str, Annotations] = {}
    for split in get(detect(source)).splits(source):
        annotations, _ = load_split(source, split, names)
        names = names or annotations.class_names
        if spec.class_name is not None:
            annotations = only_class(annotations, spec.class_name)
        if spec.images is not None and split == "train":
            if spec.images > len(annotations):
                raise UserError(f"--sets {spec.text}: there are {len(annotations)} training images")
            annotations = annotations.subset(sorted(rng.permutation(len(annotations))[: spec.images].tolist()))
        parts[split] = annotations
    if together and "test" in parts:
        parts["val"] = joined([parts["val"], parts.pop("test")])
    for split, annotations in parts.items():
        write_split(folder, split, annotations)
    (folder / "complete").touch()
    return folder


def only_class(annotations: Annotations, name: str) -> Annotations:
    """The pictures that have boxes of a class, with those alone. Raises UserError for an unknown class."""
    if name not in annotations.class_names:
        raise UserError(f"no class {name!r}; {nearest(name, annotations.class_names)}")
    alone = with_classes(annotations, [name])
    return alone.subset(np.flatnonzero(np.diff(alone.offsets)).tolist())


def with_classes(annotations: Annotations, names: Sequence[str]) -> Annotations:
    """All pictures, with the boxes of some of the classes alone."""
    kept = [annotations.class_names.index(name) for name in names]
    becomes = np.full(annotations.num_classes, -1, dtype=np.int32)
    becomes[kept] = np.arange(len(kept))
    keep = becomes[annotations.labels] >= 0
    per_image = np.bincount(annotations.image_index()[keep], minlength=len(annotations))
    return replace(
        annotations, class_names=tuple(names), category_ids=annotations.category_ids[kept],
        offsets=np.concatenate([[0], np.cumsum(per_image)]).astype(np.int64),
        boxes_xyxy=annotations.boxes_xyxy[keep], labels=becomes[annotations.labels[keep]],
        ignore=annotations.ignore[keep], areas=annotations.areas[keep],
    )  # fmt: skip


def write_split(folder: Path, split: str, annotations: Annotations) -> None:
    """A split in COCO's format, with links to its pictures."""
    coco = get("coco")
    pictures = coco.image_folder(folder, split)
    pictures.mkdir(parents=True)
    for path in annotations.image_paths:
        try:
            os.symlink(path.resolve(), pictures / path.name)
        except OSError:  # a file system without links
            shutil.copyfile(path, pictures / path.name)
    coco.write(folder, split, annotations)

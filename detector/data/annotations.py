"""A split's images and boxes as packed numpy arrays: one currency for every format, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from detector.data.image import Pixels, read_image
from detector.data.origins import Origins, joined_origins
from search_spaces.errors import UserError, listed, nearest

Floats: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]
MIN_SIDE_PX = 1.0
# The rounding of normalised text: neither a box that sticks out nor one that is too small.
ROUNDING_PX = 1e-2


class ImageBoxes(NamedTuple):
    """The boxes of one image: boxes_xyxy (n, 4) float32 in pixels, labels (n,) int32, ignore (n,) bool."""

    boxes_xyxy: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    ignore: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """N images, M boxes and C classes. Boxes of image i are rows `offsets[i]:offsets[i + 1]`.

    class_names: C names; category_ids (C,) int64: the file's own ids (COCO), else 1..C
    image_paths: N paths; image_ids (N,) int64; sizes_hw (N, 2) int32, pixels as displayed
    offsets (N + 1,) int64; boxes_xyxy (M, 4) float32, pixel edges inside the image; labels (M,) int32 in 0..C-1
    ignore (M,) bool: crowds and difficult objects, never a positive and left out of the evaluation
    areas (M,) float32: px^2, the mask's area where the file gives one, else the box's (COCO's small / medium / large)
    origins: of the images, where several data sets are one; None: one data set, which labels all classes
    """

    class_names: tuple[str, ...]
    category_ids: npt.NDArray[np.int64]
    image_paths: tuple[Path, ...]
    image_ids: npt.NDArray[np.int64]
    sizes_hw: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    boxes_xyxy: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    ignore: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float32]
    origins: Origins | None = None

    def __len__(self) -> int:
        return len(self.image_paths)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    def picture(self, index: int) -> Pixels:
        """Image `index` as its boxes were annotated: turned by its EXIF rotation, or as stored. Raises UserError as
        `read_image`."""
        height, width = (int(side) for side in self.sizes_hw[index])
        return read_image(self.image_paths[index], expected_hw=(height, width))

    def boxes_of(self, index: int) -> ImageBoxes:
        """The boxes of image `index`, as views."""
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return ImageBoxes(self.boxes_xyxy[rows], self.labels[rows], self.ignore[rows])

    def feed(self, digest: Any) -> None:
        """Update a hash of hashlib's with what there is to learn: classes, names of the files, sizes and boxes."""
        digest.update("\0".join([*self.class_names, "", *(path.name for path in self.image_paths)]).encode())
        for values in (self.sizes_hw, self.offsets, self.boxes_xyxy, self.labels, self.ignore):
            digest.update(np.ascontiguousarray(values).tobytes())

    def image_index(self) -> npt.NDArray[np.int64]:
        """The image of each box, (M,) int64."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def subset(self, indices: Sequence[int]) -> Annotations:
        """The images named by `indices` (0-based, in that order) with their boxes; the classes stay."""
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        lengths = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.repeat(self.offsets[chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return replace(
            self, image_paths=tuple(self.image_paths[i] for i in chosen), image_ids=self.image_ids[chosen],
            sizes_hw=self.sizes_hw[chosen], offsets=offsets, boxes_xyxy=self.boxes_xyxy[rows], labels=self.labels[rows],
            ignore=self.ignore[rows], areas=self.areas[rows],
            origins=None if self.origins is None else self.origins.only(chosen),
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Boxes per class, in class order, ignored ones left out."""
        per_class = np.bincount(self.labels[~self.ignore], minlength=self.num_classes)
        return {name: int(count) for name, count in zip(self.class_names, per_class)}


def joined(parts: Sequence[Annotations]) -> Annotations:
    """The images of all parts, one behind the other, numbered anew from 1. The parts' classes are the same."""
    first, count = parts[0], sum(map(len, parts))
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return replace(
        first, image_paths=tuple(path for part in parts for path in part.image_paths), image_ids=_ids(None, count),
        sizes_hw=np.concatenate([part.sizes_hw for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        boxes_xyxy=np.concatenate([part.boxes_xyxy for part in parts]),
        labels=np.concatenate([part.labels for part in parts]), ignore=np.concatenate([part.ignore for part in parts]),
        areas=np.concatenate([part.areas for part in parts]),
        origins=joined_origins([(part.origins, len(part)) for part in parts], first.class_names),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What a loader found and what it changed; `str()` gives a few lines to print."""

    source: str
    images: int
    images_without_boxes: int
    boxes: int
    ignored: int
    clipped: int
    dropped: int
    per_class: dict[str, int]

    def __str__(self) -> str:
        classes = ", ".join(f"{name} {count}" for name, count in list(self.per_class.items())[:12])
        more = len(self.per_class) - 12
        lines = [
            f"{self.source}: {self.images} images ({self.images_without_boxes} without boxes), {self.boxes} boxes, "
            f"{len(self.per_class)} classes",
            f"  {classes}" + (f", and {more} more classes" if more > 0 else ""),
        ]
        if self.clipped or self.dropped or self.ignored:
            lines.append(
                f"  {self.clipped} boxes clipped at the border, {self.dropped} dropped (under 1 px), "
                f"{self.ignored} marked as crowd or difficult (ignored)"
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBoxes:
    """Boxes as a file gives them, in any order: image index (M,), boxes_xyxy (M, 4) px, labels, ignore, areas px^2.

    An area that is nan is that of the (clipped) box.
    """

    image: npt.NDArray[np.int64]
    boxes_xyxy: Floats
    labels: npt.NDArray[np.int64]
    ignore: npt.NDArray[np.bool_]
    areas: Floats | None = None

    def select(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> RawBoxes:
        """The boxes that a mask or an index array names."""
        areas = None if self.areas is None else self.areas[rows]
        return RawBoxes(
            image=self.image[rows],
            boxes_xyxy=self.boxes_xyxy[rows],
            labels=self.labels[rows],
            ignore=self.ignore[rows],
            areas=areas,
        )

    def relabelled(self, labels: npt.NDArray[np.int64]) -> RawBoxes:
        """The same boxes with other labels (M,)."""
        return replace(self, labels=labels)


def pack(
    source: str,
    class_names: Sequence[str],
    image_paths: Sequence[Path],
    sizes_hw: npt.NDArray[np.int32],
    raw: RawBoxes,
    *,
    image_ids: npt.NDArray[np.int64] | None = None,
    category_ids: npt.NDArray[np.int64] | None = None,
    origins: Origins | None = None,
) -> tuple[Annotations, DataReport]:
    """Sort boxes by image, clip them to their image, drop those under 1 px, and count both.

    `source` names the split in the report. Raises UserError when there is no image or a class name occurs twice.
    """
    twice = next((name for i, name in enumerate(class_names) if name in class_names[:i]), None)
    if twice is not None:
        raise UserError(f"{source}: two classes are named {twice!r}; expected every name once, rename or merge them")
    if not image_paths:
        raise UserError(f"{source}: no images found; expected at least one image listed in this split")
    sizes = np.asarray(sizes_hw, dtype=np.int32).reshape(-1, 2)
    if (np.diff(raw.image) < 0).any():
        raw = raw.select(np.argsort(raw.image, kind="stable"))
    inside, clipped = clip(raw.boxes_xyxy, sizes[raw.image])
    keep = has_area(inside)
    clipped &= keep
    areas = (inside[:, 2:] - inside[:, :2]).prod(axis=1)
    if raw.areas is not None:
        areas = np.where(np.isnan(raw.areas), areas, raw.areas)
    image, ignore = raw.image[keep], raw.ignore[keep]
    per_image = np.bincount(image, minlength=len(image_paths))
    annotations = Annotations(
        class_names=tuple(class_names),
        category_ids=_ids(category_ids, len(class_names)),
        image_paths=tuple(image_paths),
        image_ids=_ids(image_ids, len(image_paths)),
        sizes_hw=sizes,
        offsets=np.concatenate([[0], np.cumsum(per_image)]).astype(np.int64),
        boxes_xyxy=inside[keep].astype(np.float32, copy=False),
        labels=raw.labels[keep].astype(np.int32),
        ignore=ignore,
        areas=areas[keep].astype(np.float32, copy=False),
        origins=origins,
    )
    report = DataReport(
        source=source,
        images=len(image_paths),
        images_without_boxes=int((per_image == 0).sum()),
        boxes=int(keep.sum()),
        ignored=int(ignore.sum()),
        clipped=int(clipped.sum()),
        dropped=int((~keep).sum()),
        per_class=annotations.counts(),
    )
    return annotations, report


def has_area(boxes_xyxy: Floats) -> npt.NDArray[np.bool_]:
    """Which boxes (M, 4) are at least 1 px wide and high (M,); those with nan or an infinite side are not."""
    keep = np.ones(len(boxes_xyxy), dtype=np.bool_)
    for low, high in ((0, 2), (1, 3)):
        with np.errstate(invalid="ignore"):
            side = boxes_xyxy[:, high] - boxes_xyxy[:, low]
        keep &= (side >= MIN_SIDE_PX - ROUNDING_PX) & (side < np.inf)
    return keep


def clip(boxes_xyxy: Floats, sizes_hw: npt.NDArray[np.int32]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Boxes (M, 4) cut to images of `sizes_hw` (M, 2), and which of them that changed (M,) by more than rounding.

    A box with an infinite edge becomes nan: it is a mistake, not a box that reaches far.
    """
    height, width = sizes_hw[:, 0], sizes_hw[:, 1]
    inside = np.empty_like(boxes_xyxy)
    changed = np.zeros(len(boxes_xyxy), dtype=np.bool_)
    # Column by column: no temporary of the size of all boxes.
    for side, limit in enumerate((width, height, width, height)):
        inside[:, side] = np.clip(boxes_xyxy[:, side], 0, limit)
        changed |= np.abs(inside[:, side] - boxes_xyxy[:, side]) > ROUNDING_PX
    inside[np.isinf(boxes_xyxy).any(axis=1)] = np.nan
    return inside, changed


def shortest(values: npt.NDArray[np.float32]) -> list[list[float]]:
    """Rows of fp32 as the shortest decimals that read back to the same fp32."""
    return [[float(str(value)) for value in row] for row in values]


def _ids(ids: npt.NDArray[np.int64] | None, count: int) -> npt.NDArray[np.int64]:
    return np.arange(1, count + 1, dtype=np.int64) if ids is None else np.asarray(ids, dtype=np.int64)


def map_labels(
    labels: npt.NDArray[np.int64],
    names: Sequence[str],
    wanted: Sequence[str],
    where: Callable[[int], str],
    *,
    of_model: bool = False,
) -> npt.NDArray[np.int64]:
    """Labels that index `names`, re-indexed into `wanted`, by name. `where(row)` says where a label stands; `of_model`:
    `wanted` are a trained model's classes.

    Raises UserError when a class that has boxes is not in `wanted`; one without boxes is let pass.
    """
    index = {name: i for i, name in enumerate(wanted)}
    table = np.array([index.get(name, -1) for name in names] or [-1], dtype=np.int64)
    mapped = table[labels]
    unknown = np.flatnonzero(mapped < 0)
    if len(unknown):
        name = names[labels[unknown[0]]]
        if of_model:
            raise UserError(
                f"{where(int(unknown[0]))}: class {name!r} is not among the model's ({listed(list(wanted), 8)}); take data "
                "of the model's classes, or a model that was trained on these"
            )
        raise UserError(
            f"{where(int(unknown[0]))}: class {name!r} is not among the training classes; {nearest(name, wanted)}; "
            "rename it or remove its boxes, or add it to the training split"
        )
    return mapped

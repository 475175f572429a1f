"""One finding of a data check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

KINDS = {
    "unreadable-annotations": "annotation files that cannot be used at all",
    "bad-record": "records that cannot be read",
    "missing-image": "images that are named but not there",
    "missing-annotation": "annotation files that are named but not there",
    "unreadable-image": "image files that cannot be decoded",
    "damaged-image": "image files of which a part was lost",
    "size-mismatch": "images of another size than their annotations say",
    "no-split": "data sets of whose pictures no split is known",
    "split-without-boxes": "splits that training needs, without a box",
    "duplicate-class": "class names that occur twice",
    "unknown-class": "boxes of a class that is not listed",
    "unknown-image": "boxes of an image that is not listed",
    "class-not-in-train": "classes with boxes here but not in the training split",
    "leak": "the same image in two splits",
    "duplicate-image": "the same image twice in a split",
    "degenerate-box": "boxes without an area (under 1 px)",
    "box-outside": "boxes that reach more than 1 px beyond their image",
    "duplicate-box": "the same place annotated twice",
    "near-leak": "images in two splits that look alike",
    "similar-classes": "class names that differ in case, spaces, hyphens or plural alone",
    "crowded": "splits with more boxes than the metrics count",
    "dark-samples": "16-bit images that use few of their bits",
    "read-otherwise": "things that are read otherwise than they are written",
    "left-out": "files and splits that are passed over",
    "no-boxes": "images without boxes",
    "no-label-file": "images without a label file",
    "label-without-image": "label files without an image",
    "unlisted-image": "images that no split lists",
    "class-without-boxes": "classes that a split has no box of",
    "mirrored-class": "classes that mirrored pictures would teach wrongly",
    "missing-split": "splits that training needs and that are not there",
}
"""Every kind of finding, the gravest first, and what it is."""
NOTES = frozenset(
    {
        "near-leak", "similar-classes", "crowded", "dark-samples", "read-otherwise", "left-out", "no-boxes", "no-label-file",
        "label-without-image", "unlisted-image", "class-without-boxes", "mirrored-class", "missing-split",
    }
)  # fmt: skip
"""Kinds that may be meant so: background images, spare files, rare classes, data to evaluate on only."""
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A mistake: what kind, in which split, where (file, and line or record), why.

    image: the picture to look at; boxes: what is wrong in it, xyxy px as annotated; other: the second picture of two
    badness: the larger, the more worth looking at among its kind
    """

    kind: str
    split: str
    where: str
    reason: str
    image: Path | None = None
    boxes: tuple[Box, ...] = ()
    other: Path | None = None
    badness: float = 0.0

    @property
    def rank(self) -> int:
        """Place among the kinds, 0 the gravest."""
        return _RANK[self.kind]

    def as_json(self) -> dict[str, str]:
        """Kind, split, where and reason."""
        return {"kind": self.kind, "split": self.split, "where": self.where, "reason": self.reason}

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"

"""Classes that a split has and another lacks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from detector.data.check.findings import Finding
from detector.data.label_space.look_alike import form
from detector.data.raw_split import RawSplit
from search_spaces.errors import listed, nearest


def compare(splits: Mapping[str, RawSplit]) -> list[Finding]:
    """Each split against the training split by name, and classes that nobody could learn or measure."""
    findings: list[Finding] = []
    train = splits.get("train")
    trained = set() if train is None else {name for name, count in _learnable(train).items() if count}
    for name, split in splits.items():
        findings += [*_twice(name, split), *_similar(name, split)]
        counts = _learnable(split)
        if train is not None and split is not train:
            for unknown in (c for c, count in counts.items() if count and c not in trained):
                row = int(np.flatnonzero(split.boxes.labels == split.class_names.index(unknown))[0])
                known = unknown in train.class_names or not train.class_names
                hint = "" if known else f"; {nearest(unknown, train.class_names)}"
                reason = f"class {unknown!r} has boxes here ({counts[unknown]}) and none in train{hint}"
                image = split.image_paths[int(split.boxes.image[row])]
                x0, y0, x1, y1 = split.boxes.boxes_xyxy[row].tolist()
                box = (x0, y0, x1, y1)
                findings.append(
                    Finding(
                        kind="class-not-in-train",
                        split=name,
                        where=split.where(row),
                        reason=reason,
                        image=image,
                        boxes=(box,),
                    )
                )
        expected = set(counts) if split is train or train is None else set(counts) | trained
        missing = sorted(c for c in expected if not counts.get(c))
        if missing:
            consequence = "cannot be learnt" if split is train else "not measured"
            reason = (
                f"{len(missing)} of {len(expected)} classes have no box in {name}, {consequence}: {listed(missing, 8)}"
            )
            findings.append(Finding(kind="class-without-boxes", split=name, where=split.source, reason=reason))
    return findings


def count_boxes(split: RawSplit, rows: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Boxes by class name among those that the mask `rows` (M,) holds for; a name that occurs twice is counted once."""
    counted = np.bincount(split.boxes.labels[rows], minlength=len(split.class_names)).tolist()
    counts = dict.fromkeys(split.class_names, 0)
    for name, count in zip(split.class_names, counted):
        counts[name] += count
    return counts


def _learnable(split: RawSplit) -> dict[str, int]:
    return count_boxes(split, ~split.boxes.ignore)


def _twice(name: str, split: RawSplit) -> list[Finding]:
    names = split.class_names
    twice = dict.fromkeys(known for place, known in enumerate(names) if known in names[:place])
    reason = "two classes are named {!r}; expected every name once, rename or merge them"
    return [
        Finding(kind="duplicate-class", split=name, where=split.source, reason=reason.format(known)) for known in twice
    ]


def _similar(name: str, split: RawSplit) -> list[Finding]:
    alike: dict[str, list[str]] = {}
    for known in dict.fromkeys(split.class_names):
        alike.setdefault(form(known), []).append(known)
    return [
        Finding(
            kind="similar-classes", split=name, where=split.source,
            reason=(
                f"{listed([repr(known) for known in names], 4)} are different classes; if they mean the same, give one name"
            ),
        )
        for names in alike.values() if len(names) > 1
    ]  # fmt: skip

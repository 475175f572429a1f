"""Classes that a split has and another lacks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detector.data.check.findings import Finding
from detector.data.raw_split import RawSplit
from search_spaces.errors import nearest


def compare(splits: Mapping[str, RawSplit]) -> list[Finding]:
    """Each split against the training split by name, and classes that nobody could learn or measure."""
    findings: list[Finding] = []
    train = splits.get("train")
    trained = set() if train is None else {name for name, count in _counts(train).items() if count}
    for name, split in splits.items():
        counts = _counts(split)
        if train is not None and split is not train:
            for unknown in (c for c, count in counts.items() if count and c not in trained):
                row = int(np.flatnonzero(split.boxes.labels == split.class_names.index(unknown))[0])
                listed = unknown in train.class_names or not train.class_names
                hint = "" if listed else f"; {nearest(unknown, train.class_names)}"
                reason = f"class {unknown!r} has boxes here ({counts[unknown]}) and none in train{hint}"
                image = split.image_paths[int(split.boxes.image[row])]
                x0, y0, x1, y1 = split.boxes.boxes_xyxy[row].tolist()
                box = (x0, y0, x1, y1)
                findings.append(Finding("class-not-in-train", name, split.where(row), reason, image, (box,)))
        expected = set(counts) if split is train or train is None else set(counts) | trained
        missing = sorted(c for c in expected if not counts.get(c))
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        if missing:
            consequence = "cannot be learnt" if split is train else "not measured"
            reason = f"{len(missing)} of {len(expected)} classes have no box in {name}, {consequence}: {shown}"
            findings.append(Finding("class-without-boxes", name, split.source, reason))
    return findings


def _counts(split: RawSplit) -> dict[str, int]:
    counted = np.bincount(split.boxes.labels[~split.boxes.ignore], minlength=len(split.class_names))
    return dict(zip(split.class_names, counted.tolist()))

"""Looking through a whole data set for what spoils training, before training: every mistake with its file and place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from detector.data.annotations import clip, has_area
from detector.data.check import boxes, classes, images, mirror
from detector.data.check.findings import NOTES, Finding
from detector.data.formats import available_splits, detect, left_out, read_split
from detector.data.label_space.document import is_document
from detector.data.raw_split import RawSplit
from detector.data.split_names import UNSPLIT
from search_spaces.errors import UserError

__all__ = ["DataCheck", "Finding", "SplitSummary", "check_data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSummary:
    """Numbers of one split; `per_class`: boxes by class name, ignored ones left out."""

    images: int
    images_without_boxes: int
    boxes: int
    ignored: int
    per_class: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCheck:
    """What was found. `problems` spoil training or evaluation; `notes` are worth a look and may be meant so."""

    source: str
    format: str
    splits: dict[str, SplitSummary]
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    raw: dict[str, RawSplit]

    def as_json(self) -> dict[str, object]:
        """Plain values: source, format, splits, problems, notes."""
        return {
            "source": self.source,
            "format": self.format,
            "splits": {
                name: {field: getattr(summary, field) for field in SplitSummary.__slots__}
                for name, summary in self.splits.items()
            },
            "problems": [finding.as_json() for finding in self.problems],
            "notes": [finding.as_json() for finding in self.notes],
        }


def check_data(data: Path, *, workers: int = 1) -> DataCheck:
    """Look at every record, box and picture of all splits of a data set (a folder, or a YOLO-style YAML file).

    Every picture is decoded, in `workers` processes. Raises UserError when `data` holds no known layout, and when a list of
    data sets has a rule that cannot be, so that none of its splits can be read.
    """
    layout = detect(data)
    findings: list[Finding] = []
    splits: dict[str, RawSplit] = {}
    errors: list[UserError] = []
    present = available_splits(data)
    for name in present:
        try:
            splits[name] = read_split(data, name, _teller(name, findings))
        except UserError as error:
            errors.append(error)
            findings.append(_parted("unreadable-annotations", name, str(error)))
    if len(errors) == len(present) > 1 and is_document(data) and len(set(map(str, errors))) == 1:
        raise errors[0]
    summaries = {name: _summary(split) for name, split in splits.items()}
    findings += _for_training(data, present, splits, summaries)
    findings += [_parted("left-out", "", line) for line in left_out(data)]
    findings += [
        Finding(kind="read-otherwise", split=name, where=split.source, reason=note)
        for name, split in splits.items()
        for note in split.notes
    ]
    findings += classes.compare(splits)
    findings += mirror.check(splits)
    for name, split in splits.items():
        findings += boxes.check(name, split)
    bad = {finding.image for finding in findings if finding.kind == "unreadable-image" and finding.image}
    findings += images.check(splits, workers, bad)
    findings.sort(key=lambda finding: (finding.rank, finding.split, finding.where))
    return DataCheck(
        source=str(data),
        format=layout,
        splits=summaries,
        problems=tuple(finding for finding in findings if finding.kind not in NOTES),
        notes=tuple(finding for finding in findings if finding.kind in NOTES),
        raw=splits,
    )


def _for_training(
    data: Path, present: Sequence[str], splits: Mapping[str, RawSplit], summaries: Mapping[str, SplitSummary]
) -> Iterator[Finding]:
    """What training refuses of its two splits as wholes; those that could not be read have been told."""
    remedy = f"split it with: tinynas data split {quote(str(data))} --val 0.2"
    if not present:
        yield Finding(
            kind="no-split",
            split="",
            where=str(data),
            reason="no split is named (train, val, test); name one, or list its pictures",
        )
        return
    if UNSPLIT in present:
        yield Finding(kind="missing-split", split="", where=str(data), reason=f"the pictures are in one heap; {remedy}")
        return
    for name in ("train", "val"):
        if name not in present:
            found = ", ".join(present) or "none"
            how = f"; {remedy}" if present == ["train"] else ""
            reason = f"no {name!r} split (found: {found}); training needs one{how}"
            yield Finding(kind="missing-split", split=name, where=str(data), reason=reason)
        elif name in splits and summaries[name].boxes == summaries[name].ignored:
            counts = summaries[name]
            crowds = f" ({counts.ignored} crowd or difficult ones aside)" if counts.ignored else ""
            reason = f"{counts.images} images but not one box{crowds}; training refuses it"
            yield Finding(kind="split-without-boxes", split=name, where=splits[name].source, reason=reason)


def _parted(kind: str, split: str, message: str) -> Finding:
    """Of a message: its place, then the reason."""
    where, _, reason = message.partition(": ")
    return Finding(kind=kind, split=split, where=where, reason=reason)


def _teller(split: str, findings: list[Finding]) -> Callable[[str, str, str], None]:
    def tell(kind: str, where: str, reason: str) -> None:
        image = Path(where) if kind == "unreadable-image" else None
        findings.append(Finding(kind=kind, split=split, where=where, reason=reason, image=image))

    return tell


def _summary(split: RawSplit) -> SplitSummary:
    """Boxes as training counts them: cut to the image, at least 1 px."""
    inside, _ = clip(split.boxes.boxes_xyxy, split.sizes_hw[split.boxes.image])
    kept = has_area(inside)
    wanted = kept & ~split.boxes.ignore
    with_boxes = np.bincount(split.boxes.image[kept], minlength=len(split.image_paths)) > 0
    return SplitSummary(
        images=len(split.image_paths),
        images_without_boxes=int((~with_boxes).sum()),
        boxes=int(kept.sum()),
        ignored=int((kept & split.boxes.ignore).sum()),
        per_class=classes.count_boxes(split, wanted),
    )

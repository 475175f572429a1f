"""Image files: unreadable, of another size, twice in a split, in two splits, alike in two splits, in no split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from detector.data.check.findings import Finding
from detector.data.file_tree import is_hidden
from detector.data.formats._yolo_layout import CLASS_LISTS
from detector.data.image import IMAGE_SUFFIXES
from detector.data.image_facts import DARK, ImageFact, examine
from detector.data.likeness import alike
from detector.data.raw_split import RawSplit


def check(splits: Mapping[str, RawSplit], workers: int, bad: Set[Path]) -> list[Finding]:
    """All findings about the image files; decodes each once, in `workers` processes. bad: told already, left out."""
    paths = list(dict.fromkeys(path for split in splits.values() for path in split.image_paths))
    facts = dict(zip(paths, examine(paths, decode=True, workers=workers)))
    findings = [finding for name, split in splits.items() for finding in _unusable(name, split, facts)]
    return [*findings, *_same(splits, facts), *_alike(splits, facts), *_left_over(splits, bad)]


def _unusable(name: str, split: RawSplit, facts: Mapping[Path, ImageFact]) -> Iterator[Finding]:
    for path, (height, width) in zip(split.image_paths, split.sizes_hw.tolist()):
        reason = facts[path].mismatch((height, width))
        if reason:
            kind = "unreadable-image" if facts[path].reason else "size-mismatch"
            yield Finding(kind=kind, split=name, where=str(path), reason=reason, image=path)
        if facts[path].damage:
            reason = f"damaged ({facts[path].damage}); training sees what could be decoded; restore the file or drop it"
            yield Finding(kind="damaged-image", split=name, where=str(path), reason=reason, image=path)
        if facts[path].dark:
            yield Finding(kind="dark-samples", split=name, where=str(path), reason=DARK, image=path)


def _same(splits: Mapping[str, RawSplit], facts: Mapping[Path, ImageFact]) -> Iterator[Finding]:
    """Equal bytes, and files listed twice. The first split that has a picture is the one it is reported against."""
    first: dict[str, tuple[str, Path]] = {}
    for name, split in splits.items():
        for path in split.image_paths:
            digest = facts[path].digest
            if not digest:
                continue
            owner, other = first.setdefault(digest, (name, path))
            if owner != name:
                reason = f"the same image as {other} in {owner}: what {name} measures was trained on; remove one"
                yield Finding(kind="leak", split=name, where=str(path), reason=reason, image=path, other=other)
            elif other != path:
                reason = f"the same image as {other}; remove one of them"
                yield Finding(
                    kind="duplicate-image", split=name, where=str(path), reason=reason, image=path, other=other
                )
        yield from _listed_twice(name, split)


def _alike(splits: Mapping[str, RawSplit], facts: Mapping[Path, ImageFact]) -> Iterator[Finding]:
    """Pictures of different bytes in two splits that look alike; each once, against the first it resembles."""
    owners = [(name, path) for name, split in splits.items() for path in dict.fromkeys(split.image_paths)]
    told: set[Path] = set()
    for first, second in alike([facts[path].look for _, path in owners]):
        (owner, other), (name, path) = owners[first], owners[second]
        if owner == name or path in told or facts[path].digest == facts[other].digest:
            continue
        told.add(path)
        reason = f"looks like {other} in {owner} (a frame of the same video, or saved again?): keep both in one split"
        yield Finding(kind="near-leak", split=name, where=str(path), reason=reason, image=path, other=other)


def _listed_twice(name: str, split: RawSplit) -> Iterator[Finding]:
    seen: set[Path] = set()
    for path, file in zip(split.image_paths, split.files):
        if path in seen:
            yield Finding(
                kind="duplicate-image",
                split=name,
                where=str(path),
                reason=f"the split lists it twice (see {file})",
                image=path,
            )
        seen.add(path)


def _left_over(splits: Mapping[str, RawSplit], bad: Set[Path]) -> Iterator[Finding]:
    """Pictures in the splits' folders that no split lists, and YOLO label files without a picture."""
    listed = {path for split in splits.values() for path in split.image_paths} | bad
    bad_stems = {path.stem for path in bad}
    labels = {path for split in splits.values() for path in split.files if path.suffix == ".txt"}
    for folder in sorted({path.parent for path in listed}):
        found = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES)
        for path in found:
            if path not in listed and not is_hidden(path.name):
                yield Finding(
                    kind="unlisted-image",
                    split="",
                    where=str(path),
                    reason="no split lists this image; it is not used",
                    image=path,
                )
    for folder in sorted({path.parent for path in labels}):
        for path in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
            if path not in labels and path.stem not in bad_stems and _may_be_label(path):
                yield Finding(
                    kind="label-without-image", split="", where=str(path), reason="there is no image to this label file"
                )


def _may_be_label(path: Path) -> bool:
    return path.name not in CLASS_LISTS and not is_hidden(path.name)

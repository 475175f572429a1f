"""What all formats with an entry per picture share: pictures found, sizes filled in, classes numbered, notes counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from detector.data.file_tree import Finder, one_form, parts_of
from detector.data.image import IMAGE_SUFFIXES
from detector.data.image_facts import examine
from detector.data.raw_split import BoxColumns, RawSplit, Tell
from search_spaces.errors import listed, nearest

Sides = tuple[float, float, float, float]
"""x0, y0, x1, y1 of a box."""
ROTATED = "{} rotated boxes: the upright box around each is taken"
TURNED_ROUND = "{} boxes whose corners are written the other way round: taken as they are meant"
SHAPES = "{} polygons, masks or ellipses: the box around each is taken"
PASSED_OVER = "{} points, lines and other shapes without an area are passed over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """A box of one picture: its number or id in the file, class name, xyxy in pixels (or, `relative`, in shares of the
    picture's width and height), and whether it is a region to ignore."""

    number: int
    label: str
    box: Sides
    ignore: bool = False
    relative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What an annotation file says of one picture.

    file: the annotation file; name: the picture as the file has it, "" if it has none; stem: how it is called if it is
    called like its annotation file, "" if not; size_hw: as annotated, 0 where the file does not say
    """

    file: Path
    name: str
    objects: Sequence[Object]
    stem: str = ""
    size_hw: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Notes:
    """Counts what a reader made of things that a box cannot hold."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        """`text` with {} for the number."""
        self.counts[text] += 1

    def lines(self) -> tuple[str, ...]:
        """One line a kind."""
        return tuple(text.format(count) for text, count in self.counts.items())


def collect(
    source: str,
    entries: Iterable[Entry],
    finder: Finder,
    tell: Tell,
    *,
    declared: Sequence[str] | None = None,
    first_classes: Callable[[], Iterable[str]] = tuple,
    record_text: str = "{file}: object {record}",
    notes: Notes | None = None,
) -> RawSplit:
    """The split of these entries. Pictures that are not found and sizes that cannot be read are told.

    declared: the list of classes, if the files have one: another class is told. first_classes: those that come before
    the others, as the training split has them.
    """
    found = [(entry, path) for entry in entries if (path := find_picture(entry, finder, tell)) is not None]
    sizes = _sizes([(path, entry.size_hw) for entry, path in found], tell)
    names = list(declared or ())
    columns = BoxColumns()
    kept: list[tuple[Entry, Path]] = []
    kept_sizes = []
    for (entry, path), size in zip(found, sizes):
        if size is None:
            continue
        for item in entry.objects:
            label = _label(item, entry, names, declared is not None, tell)
            if label is not None:
                box = _scaled(item.box, size) if item.relative else item.box
                columns.add(len(kept), label, item.number, box, ignore=item.ignore)
        kept.append((entry, path))
        kept_sizes.append(size)
    raw, records = columns.boxes()
    class_names = tuple(declared) if declared is not None else _ordered(names, first_classes())
    place = np.array([class_names.index(name) for name in names] or [-1], dtype=np.int64)
    return RawSplit(
        source=source,
        class_names=class_names,
        declared=declared is not None,
        image_paths=tuple(path for _, path in kept),
        sizes_hw=np.array(kept_sizes, dtype=np.int32).reshape(-1, 2),
        files=tuple(entry.file for entry, _ in kept),
        boxes=raw.relabelled(place[raw.labels]),
        records=records,
        record_text=record_text,
        notes=() if notes is None else notes.lines(),
    )


def find_picture(entry: Entry, finder: Finder, tell: Tell) -> Path | None:
    """The picture of an entry; None, and told, when there is none or several could be meant."""
    named = PurePosixPath(*parts_of(entry.name)) if parts_of(entry.name) else None
    path = None
    if named is not None and (not entry.stem or one_form(named.stem) == one_form(entry.stem)):
        path = finder.find(entry.name)
        if path is not None and path.suffix.lower() not in IMAGE_SUFFIXES:
            tell("unreadable-image", str(path), "annotated, but not of a type that is read; convert it to JPEG or PNG")
            return None
    if path is None and entry.stem:
        path = finder.find_stem(entry.stem, entry.file.parent)
    if path is None and named is not None:
        path = finder.find(entry.name) or finder.find_stem(str(named.with_suffix("")), entry.file.parent)
    if path is None:
        where = entry.name or f"{entry.stem}.jpg"
        several = finder.several(entry.name)
        if len(several) > 1:
            names = listed([str(p) for p in several], 3)
            reason = f"several files could be meant: {names}; give its folder in {entry.file.name}"
        else:
            what = entry.stem or "its entry"
            reason = f"missing image, named in {entry.file.name}; add it, or remove {what} from the split"
        tell("missing-image", str(entry.file.parent / where), reason)
    return path


def around(points: Iterable[Sequence[float]]) -> Sides:
    """The upright box around points (x, y). Raises ValueError when there are fewer than two."""
    table = [(float(point[0]), float(point[1])) for point in points]
    if len(table) < 2:
        raise ValueError(f"{len(table)} points; expected two or more")
    xs, ys = zip(*table)
    return min(xs), min(ys), max(xs), max(ys)


def from_corners(x0: float, y0: float, x1: float, y1: float, notes: Notes) -> Sides:
    """The box between two corners, whichever comes first (a box may be drawn from its lower right corner)."""
    if x1 < x0 or y1 < y0:
        notes.add(TURNED_ROUND)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def turned(box: Sides, degrees: float, pivot: tuple[float, float]) -> Sides:
    """The upright box around `box` after a clockwise turn about `pivot` (x right, y down)."""
    x0, y0, x1, y1 = box
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(x - pivot[0], y - pivot[1]) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    return around([(pivot[0] + x * cosine - y * sine, pivot[1] + x * sine + y * cosine) for x, y in corners])


def _sizes(pictures: Sequence[tuple[Path, tuple[int, int]]], tell: Tell) -> list[tuple[int, int] | None]:
    """The annotated sizes; where a file gives none, the picture's as shown, None (and told) if it cannot be read."""
    unknown = [path for path, size in pictures if min(size) < 1]
    facts = dict(zip(unknown, examine(unknown)))
    sizes: list[tuple[int, int] | None] = []
    for path, size in pictures:
        fact = facts.get(path)
        if min(size) >= 1 or fact is None:
            sizes.append(size)
        elif fact.reason:
            tell("unreadable-image", str(path), fact.reason)
            sizes.append(None)
        else:
            sizes.append(fact.size_hw)
    return sizes


def _label(item: Object, entry: Entry, names: list[str], closed: bool, tell: Tell) -> int | None:
    where = f"{entry.file}: object {item.number}"
    if not item.label:
        tell("bad-record", where, "an object has no name; expected a class name")
        return None
    if item.label not in names:
        if closed:
            tell(
                "unknown-class",
                where,
                f"class {item.label!r} is not in the list of classes; {nearest(item.label, names)}",
            )
            return None
        names.append(item.label)
    return names.index(item.label)


def _scaled(box: Sides, size_hw: tuple[int, int]) -> Sides:
    """Shares as pixels. Rounded to 1e-10: a centre and a size give an edge at 0 back as some 1e-14."""
    height, width = size_hw
    x0, y0, x1, y1 = box
    return round(x0 * width, 10), round(y0 * height, 10), round(x1 * width, 10), round(y1 * height, 10)


def _ordered(names: Iterable[str], first: Iterable[str]) -> tuple[str, ...]:
    """The training split's classes, sorted, then what else occurs, sorted."""
    train = sorted(set(first) - {""})
    return tuple(train) + tuple(sorted(set(names) - set(train)))

"""CVAT's own XML (annotations.xml), for images, where a picture's `subset` is its split, and for videos with their frames."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from detector.data.formats._cvat_tracks import track_entries
from detector.data.formats._entries import (
    PASSED_OVER,
    ROTATED,
    SHAPES,
    Entry,
    Notes,
    Object,
    Sides,
    around,
    collect,
    turned,
)
from detector.data.formats._tool_files import picture_finder, tool_files
from detector.data.formats._xml import BadXml, parse_xml
from detector.data.raw_split import RawSplit, Tell, refuse
from detector.data.scalars import clean_name, number, shown, side
from detector.data.split_names import UNSPLIT, in_order, split_of
from search_spaces.errors import UserError

_SHAPES = ("box", "polygon", "ellipse", "mask", "cuboid")
_NO_AREA = ("polyline", "points", "skeleton")


def matches(root: Path) -> bool:
    """Whether there is a file of CVAT's in `root` or in a split's folder."""
    return bool(_files(root))


def splits(root: Path) -> list[str]:
    """The splits that folders or the pictures' subsets are called after."""
    found = _files(root)
    named = {split for split in found if split != UNSPLIT}
    for path in found.get(UNSPLIT, []):
        node = _parsed(path)
        named |= {_subset(image) for image in node.iter("image")} | ({UNSPLIT} if _has_tracks(node) else set())
    return in_order(named)


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split. Raises UserError for broken XML and for a video without its frames; shapes that cannot be read are
    told."""
    found = _files(root)
    files = found.get(split, found.get(UNSPLIT, []))
    notes = Notes()
    whole = split in found and split != UNSPLIT
    entries: list[Entry] = []
    for path in files:
        node = _parsed(path)
        images = (image for image in node.iter("image") if whole or split == UNSPLIT or _subset(image) == split)
        entries += [_entry(path, image, tell, notes) for image in images]
        if _has_tracks(node) and (whole or split == UNSPLIT):
            entries += track_entries(path, node, lambda shape: _shape(shape, notes), tell)
    return collect(f"{root.name} {split} (CVAT)", entries, picture_finder(root, files, split), tell, notes=notes)


def _files(root: Path) -> dict[str, list[Path]]:
    return tool_files(root, ".xml", _is_cvat)


def _is_cvat(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"<annotations" in file.read(1 << 12)
    except OSError:
        return False


def _parsed(path: Path) -> ElementTree.Element:
    try:
        return parse_xml(path)
    except BadXml as error:
        raise UserError(f"{path}:{error.line}: {error.reason}; restore the file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); restore the file") from None


def _has_tracks(node: ElementTree.Element) -> bool:
    return node.find("track") is not None


def _subset(image: ElementTree.Element) -> str:
    return split_of(image.get("subset", "")) or UNSPLIT


def _entry(path: Path, image: ElementTree.Element, tell: Tell, notes: Notes) -> Entry:
    name = image.get("name", "")
    objects = []
    for place, shape in enumerate(image, start=1):
        try:
            box = _shape(shape, notes)
            if box is not None:
                objects.append(Object(number=place, label=clean_name(shape.get("label")), box=box))
        except ValueError as error:
            tell("bad-record", f"{path}: {name}: shape {place}", f"{error}; correct or remove it")
    try:
        size = side(image.get("height")), side(image.get("width"))
    except ValueError:
        size = (0, 0)
    return Entry(file=path, name=name, objects=objects, stem="", size_hw=size if min(size) > 0 else (0, 0))


def _shape(shape: ElementTree.Element, notes: Notes) -> Sides | None:
    """The box of a shape; None for one without an area, and for what is no shape. Raises ValueError."""
    if shape.tag in _NO_AREA:
        notes.add(PASSED_OVER)
    return _box(shape, notes) if shape.tag in _SHAPES else None


def _box(shape: ElementTree.Element, notes: Notes) -> Sides:
    def value(key: str) -> float:
        try:
            return number(shape.get(key))
        except ValueError:
            raise ValueError(f"{shape.tag} has the {key} {shown(shape.get(key))}; expected a number") from None

    if shape.tag == "box":
        box = value("xtl"), value("ytl"), value("xbr"), value("ybr")
        degrees = number(shape.get("rotation", "0"))
        if degrees % 360:
            notes.add(ROTATED)
            box = turned(box, degrees, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
        return box
    notes.add(SHAPES)
    if shape.tag == "ellipse":
        x, y, across, down = value("cx"), value("cy"), value("rx"), value("ry")
        return x - across, y - down, x + across, y + down
    if shape.tag == "cuboid":  # corners of the near and the far side: top and bottom, left and right
        corners = [f"{end}{side}{number}" for end in "tb" for side in "lr" for number in (1, 2)]
        return around([(value(f"x{corner}"), value(f"y{corner}")) for corner in corners])
    if shape.tag == "mask":
        left, top = value("left"), value("top")
        return left, top, left + value("width"), top + value("height")
    points = [point.split(",") for point in shape.get("points", "").split(";") if point.strip()]
    if any(len(point) != 2 for point in points):
        raise ValueError(f"{shape.tag} has the points {shown(shape.get('points'))}; expected x,y;x,y;...")
    return around([(number(x), number(y)) for x, y in points])

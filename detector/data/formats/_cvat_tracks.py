"""CVAT's XML of a video: tracks of shapes, a shape for each frame, and the frames as pictures beside it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

from detector.data.file_tree import files_below
from detector.data.formats._entries import Entry, Object, Sides
from detector.data.image import IMAGE_SUFFIXES
from detector.data.raw_split import Tell
from detector.data.scalars import clean_name, side
from search_spaces.errors import UserError

_FRAME = re.compile(r"frame_(\d{6,9})", re.IGNORECASE)


def track_entries(
    path: Path, node: ElementTree.Element, box_of: Callable[[ElementTree.Element], Sides | None], tell: Tell
) -> list[Entry]:
    """An entry for each frame that has a shape, or a picture; shapes that have left the frame are left out.

    box_of: of a shape, None for one without an area; raises ValueError. Raises UserError when the frames' pictures are
    not there.
    """
    shapes: dict[int, list[Object]] = {}
    for place, track in enumerate(node.iter("track"), start=1):
        for shape in track:
            try:
                frame = int(shape.get("frame", ""))
                box = None if shape.get("outside") == "1" else box_of(shape)
            except ValueError as error:
                where = f"{path}: track {place}: frame {shape.get('frame')}"
                tell("bad-record", where, f"{error}; correct or remove it")
                continue
            if box is not None:
                shapes.setdefault(frame, []).append(Object(number=place, label=clean_name(track.get("label")), box=box))
    pictures = _pictures(path.parent)
    if not any(frame in pictures for frame in shapes):
        raise UserError(
            f"{path}: the frames of its video are not there; expected images/frame_000000.png and so on beside it: export "
            "with 'Save images' in CVAT, or write them with ffmpeg -i VIDEO -start_number 0 images/frame_%06d.png"
        )
    size = _size(node)
    names = {frame: pictures.get(frame, f"images/frame_{frame:06d}.png") for frame in sorted({*shapes, *pictures})}
    return [
        Entry(file=path, name=name, objects=shapes.get(frame, ()), stem="", size_hw=size)
        for frame, name in names.items()
    ]


def _pictures(folder: Path) -> dict[int, str]:
    """The frames' pictures by number, relative to the folder."""
    found = ((path, _FRAME.fullmatch(path.stem)) for path in files_below(folder, IMAGE_SUFFIXES, depth=2))
    return {int(match[1]): path.relative_to(folder).as_posix() for path, match in found if match is not None}


def _size(node: ElementTree.Element) -> tuple[int, int]:
    """Height and width of the frames, 0 where the file does not say."""
    original = next(node.iter("original_size"), None)
    try:
        size = (side(original.findtext("height")), side(original.findtext("width"))) if original is not None else (0, 0)
    except ValueError:
        return 0, 0
    return size if min(size) > 0 else (0, 0)

"""A model over a picture or a folder of pictures: drawn boxes and one JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.data.file_tree import FreeNames, files_below, one_form
from detector.data.image import IMAGE_SUFFIXES, OTHER_PICTURES, READABLE, read_image
from detector.detections import Detections
from detector.detector import Detector
from detector.drawing import write_picture
from search_spaces.errors import UserError
from search_spaces.files import check_folder, write_text

JSON_NAME = "detections.json"
JPEG_QUALITY = 95
_KEPT_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(slots=True)
class PredictionReport:
    """images: their entries in the JSON file. skipped: (file, reason) of those that could not be read."""

    images: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def num_detections(self) -> int:
        return sum(len(entry["detections"]) for entry in self.images)


def find_pictures(source: Path, out: Path) -> list[Path]:
    """The picture itself, or all pictures below a folder, sorted; hidden files, and what lies in `out` below that
    folder, left out; links are followed. Raises UserError when there is none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder; expected a picture or a folder of pictures")
    drawn, home = out.resolve(), source.resolve()
    earlier = source / drawn.relative_to(home) if drawn.is_relative_to(home) and drawn != home else None
    found = [path for path in files_below(source, IMAGE_SUFFIXES | OTHER_PICTURES) if earlier not in path.parents]
    if not found:
        raise UserError(f"{source}: no pictures in this folder; expected {READABLE}")
    return found


def claim_folder(out: Path, source: Path, overwrite: bool) -> None:
    """Raise UserError when the output folder holds anything (unless `overwrite`) or the source pictures, in folders of it
    too, or cannot be written. Makes nothing: the first picture does."""
    home = source if source.is_dir() else source.parent
    check_folder(out)
    if home.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{out}: holds the pictures to look at; choose another --out")
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise UserError(f"{out}: not empty; choose another --out or say --overwrite")


def predict_pictures(
    detector: Detector,
    pictures: Sequence[Path],
    root: Path,
    out: Path,
    *,
    model: str,
    advance: Callable[[int], object] = lambda _: None,
) -> PredictionReport:
    """Run the model, write a drawn copy of each picture under its path relative to `root`, and `detections.json`.

    A picture that cannot be read is reported and skipped; when all are, nothing is written and UserError is raised.
    model: named in the JSON. advance: told of pictures done.
    """
    report = PredictionReport()
    places = _drawn_places([path.relative_to(root) for path in pictures])
    for chunk in _chunks(pictures, detector.card.batch or 1):
        readable = list(_readable(chunk, root, report))
        for (path, picture), found in zip(readable, detector.detect([picture for _, picture in readable])):
            name = path.relative_to(root)
            drawn = out / places[name]
            write_picture(found.draw(picture), drawn, JPEG_QUALITY)
            report.images.append(_entry(name, drawn.relative_to(out), found))
        advance(len(chunk))
    if not report.images:
        more = f" (and {len(report.skipped) - 1} more pictures that cannot be read)" if len(report.skipped) > 1 else ""
        raise UserError(report.skipped[0][1] + more)
    write_text(out / JSON_NAME, _json(detector, model, report))
    return report


def _drawn_places(names: Sequence[Path]) -> dict[Path, Path]:
    """Where each picture is drawn, no two alike on any disk: its own name, or that with .png for types not written."""
    free: dict[Path, FreeNames] = {}
    kept = [name for name in names if name.suffix.lower() in _KEPT_SUFFIXES]
    others = [name for name in names if name.suffix.lower() not in _KEPT_SUFFIXES]
    places = {}
    for name, stem, suffix in [*((name, name.stem, name.suffix) for name in kept),
                               *((name, name.name, ".png") for name in others)]:  # fmt: skip
        taken = free.setdefault(Path(one_form(name.parent.as_posix()).casefold()), FreeNames())
        places[name] = name.with_name(f"{taken.take(stem, suffix)}{suffix}")
    return places


def _chunks(pictures: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(pictures), size):
        yield pictures[start : start + size]


def _readable(
    paths: Sequence[Path], root: Path, report: PredictionReport
) -> Iterator[tuple[Path, npt.NDArray[np.uint8]]]:
    for path in paths:
        try:
            yield path, read_image(path)
        except UserError as error:
            report.skipped.append((path.relative_to(root).as_posix(), str(error)))


def _entry(name: Path, drawn: Path, found: Detections) -> dict[str, Any]:
    height, width = found.image_size
    place = {"image": name.as_posix(), "picture": drawn.as_posix(), "width": width, "height": height}
    return {**place, "detections": found.to_rows()}


def _json(detector: Detector, model: str, report: PredictionReport) -> str:
    card = detector.card
    content = {
        "model": model,
        "image_size": list(card.image_size),
        "score_threshold": card.score_threshold,
        "iou_threshold": card.iou_threshold,
        "class_names": list(card.class_names),
        "images": report.images,
        "skipped": [{"image": image, "reason": reason} for image, reason in report.skipped],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

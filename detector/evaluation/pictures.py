"""Pictures of truth beside predictions, errors told by colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from detector.data.image import Pixels
from detector.drawing import CAPTION_PX, draw_detections, with_longer_side, write_picture
from detector.evaluation.assessment import Assessment
from detector.evaluation.confusion import LEFT_OUT, NONE

NUM_WORST, NUM_RANDOM = 6, 4
LONGER_SIDE_PX = 800
GAP_PX = 8
MOST_LETTERS = 80
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "found": (20, 150, 90),
    "missed": (255, 176, 0),
    "confused": (190, 70, 220),
    "false": (225, 45, 45),
    "ignored": (140, 140, 140),
}
"""Of a box: found / right, missed, found as another class, false, not counted."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One image: its place in the annotations, why it is shown (worst or random), and its two drawn panels (H, W, 3)."""

    index: int
    why: str
    truth: Pixels
    predicted: Pixels


def compare(assessment: Assessment, seed: int = 0) -> Iterator[Comparison]:
    """The images with most missed and false boxes, worst first, then random others.

    Raises UserError when an image can no longer be read.
    """
    for why, indices in choose_images(assessment, seed).items():
        for index in indices:
            yield Comparison(index, why, *_panels(assessment, index))


def choose_images(assessment: Assessment, seed: int = 0) -> dict[str, list[int]]:
    """Places in the annotations: `worst` by missed + false boxes (those without errors left out), and `random` ones."""
    errors = assessment.missed + assessment.false
    order = np.argsort(-errors, kind="stable")[:NUM_WORST]
    worst = [index for index in order.tolist() if errors[index]]
    others = np.setdiff1d(np.arange(len(errors)), worst)
    chosen = np.random.default_rng(seed).choice(others, min(NUM_RANDOM, len(others)), replace=False)
    return {"worst": worst, "random": sorted(chosen.tolist())}


def write_comparison(comparison: Comparison, folder: Path, number: int, stem: str) -> Path:
    """Write both panels side by side, captioned, as `worst-1-NAME.jpg`. Raises UserError when that fails."""
    panels = [comparison.truth, comparison.predicted]
    gap = np.full((panels[0].shape[0], GAP_PX, 3), 255, dtype=np.uint8)
    picture = np.concatenate([panels[0], gap, panels[1]], axis=1)
    picture = np.concatenate([_caption(picture.shape[1]), picture])
    path = folder / f"{comparison.why}-{number}-{stem[:MOST_LETTERS]}.jpg"
    write_picture(picture, path)
    return path


def _caption(width: int) -> Pixels:
    """A strip that tells the panels and the colours."""
    strip = Image.new("RGB", (width, CAPTION_PX), (255, 255, 255))
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(15)
    for start, title, states in ((0, "truth", ("found", "missed")), (width // 2, "predicted", ("found", "false"))):
        x = start + 6.0
        for text, state in ((title, ""), *((name, name) for name in (*states, "confused", "ignored"))):
            if state:
                draw.rectangle((x, 8, x + 12, 20), fill=COLOURS[state])
                x += 17
            draw.text((x, CAPTION_PX / 2), text, (0, 0, 0), font, anchor="lm")
            x += draw.textlength(text, font) + 14
    return np.asarray(strip, dtype=np.uint8)


def _panels(assessment: Assessment, index: int) -> tuple[Pixels, Pixels]:
    annotations, detections = assessment.annotations, assessment.evaluation.detections
    found, names = assessment.found, annotations.class_names
    pixels, scale = _shown(annotations.picture(index))
    boxes = np.arange(annotations.offsets[index], annotations.offsets[index + 1])
    labels = annotations.labels[boxes].astype(np.int64)
    states = [_state(found.found_by[box], label, detections.labels, "missed") for box, label in zip(boxes, labels)]
    truth = draw_detections(
        pixels, annotations.boxes_xyxy[boxes] * scale, labels, names, colours=[COLOURS[state] for state in states]
    )
    rows = np.arange(detections.offsets[index], detections.offsets[index + 1])
    rows = rows[detections.scores[rows].astype(np.float64) >= assessment.score_threshold]
    labels = detections.labels[rows].astype(np.int64)
    states = [_state(found.truth_of[row], label, annotations.labels, "false") for row, label in zip(rows, labels)]
    predicted = draw_detections(
        pixels, detections.boxes_xyxy[rows] * scale, labels, names, detections.scores[rows],
        colours=[COLOURS[state] for state in states],
    )  # fmt: skip
    return truth, predicted


def _state(partner: np.int64, label: np.int64, partners: npt.NDArray[np.int32], alone: str) -> str:
    if partner == LEFT_OUT:
        return "ignored"
    if partner == NONE:
        return alone
    return "found" if partners[partner] == label else "confused"


def _shown(pixels: Pixels) -> tuple[Pixels, np.float32]:
    """Large pictures made smaller, and the factor."""
    scale = min(1.0, LONGER_SIDE_PX / max(pixels.shape[:2]))
    return (pixels if scale == 1.0 else with_longer_side(pixels, LONGER_SIDE_PX)), np.float32(scale)

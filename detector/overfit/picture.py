"""Truth and predictions side by side, for the images that were learnt by heart."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from detector.data.image import Pixels
from detector.detector import PREDICT_SCORE_THRESHOLD, Detector
from detector.drawing import SMALLEST_SHOWN, caption, draw_detections, with_longer_side, write_picture
from detector.training.run import Run

COLUMNS = 4
MOST_IMAGES = 16
TILE_PX = SMALLEST_SHOWN
GAP_PX = 4


def write_overfit_picture(run: Run, path: Path) -> None:
    """Write a JPEG of the run's validation images, `MOST_IMAGES` at most: annotated boxes above, predicted ones below.

    Raises UserError when the file cannot be written.
    """
    annotations, names = run.val_set.annotations, run.blank.class_names
    # On the CPU, whatever the run trained on: a handful of images.
    detector = Detector.of(dataclasses.replace(run.blank, weights=run.stepper.ema.weights), "cpu")
    truth, found = [], []
    for index in range(min(len(annotations), MOST_IMAGES)):
        pixels = annotations.picture(index)
        boxes, labels, ignore = annotations.boxes_of(index)
        truth.append(_tile(draw_detections(pixels, boxes[~ignore], labels[~ignore].astype(np.int64), names)))
        seen = detector.predict(pixels)
        found.append(_tile(draw_detections(pixels, seen.boxes_xyxy, seen.labels, names, seen.scores)))
    rows = []
    for start in range(0, len(truth), COLUMNS):
        rows += [_row("annotated", truth[start : start + COLUMNS], min(COLUMNS, len(truth)))]
        title = f"predicted (score above {PREDICT_SCORE_THRESHOLD})"
        rows += [_row(title, found[start : start + COLUMNS], min(COLUMNS, len(truth)))]
    write_picture(np.concatenate(rows), path)


def _tile(drawn: Pixels) -> Pixels:
    """A drawn picture within a white square, a gap around it."""
    picture = with_longer_side(drawn, TILE_PX)
    height, width = picture.shape[:2]
    tile = np.full((TILE_PX + 2 * GAP_PX, TILE_PX + 2 * GAP_PX, 3), 255, dtype=np.uint8)
    tile[GAP_PX : GAP_PX + height, GAP_PX : GAP_PX + width] = picture
    return tile


def _row(title: str, tiles: list[Pixels], columns: int) -> Pixels:
    """A caption above tiles side by side, on white up to `columns` of them; what no tile reaches is cut off."""
    blank = np.full_like(tiles[0], 255)
    pictures = np.concatenate([*tiles, *[blank] * (columns - len(tiles))], axis=1)
    used = int(np.flatnonzero((pictures < 255).any(axis=(1, 2)))[-1]) + 1 + GAP_PX
    return np.concatenate([caption(title, pictures.shape[1]), pictures[:used]])

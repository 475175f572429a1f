"""Average precision on large pictures with a small detector, with tiles and without.

    python benchmarks/tiling.py MODEL DATA [--split val] [--tile 320] [--overlap 0.2]

The model looks at each picture of the split as a whole (shrunk to its input size), in tiles alone, and in tiles and, for what
is too large for their overlap, as a whole, which is what `tinynas predict --tile` does. COCO metrics, seconds a picture.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from detector.data.annotations import Annotations
from detector.data.formats import load_split
from detector.data.image import Pixels, read_image
from detector.detections import Detections
from detector.detector import Detector
from detector.evaluation.coco import evaluate
from detector.evaluation.detections import SplitDetections
from detector.prediction.looking import Look, in_tiles

MOST = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--tile", type=int, help="side in pixels; default: the model's input size")
    parser.add_argument("--overlap", type=float, default=0.2)
    options = parser.parse_args()
    detector = Detector.load(options.model, threads=1)
    annotations, _ = load_split(options.data, options.split, detector.class_names)
    card = detector.card
    size = card.image_size if options.tile is None else (options.tile, options.tile)

    def look(pictures: Sequence[Pixels]) -> list[Detections]:
        return list(detector.detect_each(pictures))

    tiled = in_tiles(look, size, card.iou_threshold, MOST, options.overlap)
    whole_left_out = in_tiles(_without_first(look), size, card.iou_threshold, MOST, options.overlap)
    print(f"{len(annotations)} pictures of {options.data} ({options.split}), tiles of {size[1]}x{size[0]}")
    for name, one in (("as a whole", look), ("tiles alone", whole_left_out), ("tiles and whole", tiled)):
        print(f"{name:16} {_judged(one, annotations)}", flush=True)


def _without_first(look: Look) -> Look:
    """What is found in the picture as a whole, which comes before its tiles, is thrown away."""

    def tiles_alone(pictures: Sequence[Pixels]) -> list[Detections]:
        first, *rest = look(pictures)
        return [first[:0], *rest] if rest else [first]

    return tiles_alone


def _judged(look: Callable[[Sequence[Pixels]], list[Detections]], annotations: Annotations) -> str:
    found, seconds = [], 0.0
    for path in annotations.image_paths:
        picture = read_image(path)
        begun = time.perf_counter()
        (one,) = look([picture])
        seconds += time.perf_counter() - begun
        found.append((one.boxes_xyxy, one.scores, one.labels))
    metrics = evaluate(SplitDetections.pack(found), annotations)
    return f"{metrics}  {seconds / len(found):.3f} s a picture, {np.mean([len(f[1]) for f in found]):.0f} found"


if __name__ == "__main__":
    main()

"""What the metrics can reach at most where a picture has more objects of a class than they count."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.evaluation.curves import RECALLS
from detector.evaluation.detections import MAX_DETECTIONS


def crowded_images(
    image: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], limit: int = MAX_DETECTIONS
) -> tuple[int, float]:
    """Of boxes with their image (M,) and label (M,): images with more than `limit` boxes of one class, and the AP that a
    perfect detector has (1.0 when there is no such image). AP's recalls are read off at 101 places.
    """
    if not len(image):
        return 0, 1.0
    pairs, counts = np.unique(np.stack([image, labels], axis=1), axis=0, return_counts=True)
    crowded = len(np.unique(pairs[counts > limit, 0]))
    if not crowded:
        return 0, 1.0
    there = np.bincount(pairs[:, 1], weights=counts)
    counted = np.bincount(pairs[:, 1], weights=np.minimum(counts, limit))
    recall = counted[there > 0] / there[there > 0]
    return crowded, float((recall[:, None] + 1e-12 >= RECALLS).mean())


def crowding_note(annotations: Annotations, limit: int = MAX_DETECTIONS) -> str:
    """One line to print about a split in which AP is capped, "" where it is not."""
    kept = ~annotations.ignore
    return note_of(
        *crowded_images(annotations.image_index()[kept], annotations.labels[kept].astype(np.int64), limit), limit
    )


def note_of(images: int, ceiling: float, limit: int = MAX_DETECTIONS) -> str:
    """The line, from what `crowded_images` gives."""
    if not images:
        return ""
    have = "1 image has" if images == 1 else f"{images} images have"
    return (
        f"{have} more than {limit} boxes of one class: AP counts the {limit} best detections of an image and class, and can "
        f"be {ceiling:.3f} at most here; count more with eval --max-detections N, or --set eval.counted_detections=N"
    )

"""Running anything that detects over a split. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from detector.data.annotations import Annotations
from detector.data.image import Pixels
from detector.detections import Detections
from detector.evaluation.detections import SplitDetections

_READERS = 2


def detect_split(
    detect: Callable[[Sequence[Pixels]], Sequence[Detections]], annotations: Annotations, batch_size: int
) -> SplitDetections:
    """What `detect` finds in every image of a split, `batch_size` pictures (H, W, 3) uint8 RGB at a time; the next ones are
    read meanwhile. A terminal shows a bar. Raises UserError for a picture that cannot be read."""
    found = []
    with tqdm(total=len(annotations), desc="evaluation", unit="img", disable=None, leave=False) as bar:
        for pictures in _pictures(annotations, batch_size):
            found += [(one.boxes_xyxy, one.scores, one.labels) for one in detect(pictures)]
            bar.update(len(pictures))
    return SplitDetections.pack(found)


def _pictures(annotations: Annotations, batch_size: int) -> Iterator[list[Pixels]]:
    def read(index: int) -> Pixels:
        return annotations.picture(index)

    starts = range(0, len(annotations), batch_size)
    parts = [range(start, min(start + batch_size, len(annotations))) for start in starts]
    with ThreadPoolExecutor(_READERS) as pool:
        coming = [pool.submit(read, index) for index in (parts[0] if parts else ())]
        for number in range(len(parts)):
            current = coming
            coming = [pool.submit(read, index) for index in (parts[number + 1] if number + 1 < len(parts) else ())]
            try:
                pictures = [one.result() for one in current]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            yield pictures

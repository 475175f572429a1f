"""Pictures that look alike though their files differ: saved again, resized, or neighbouring frames of one video.

The difference hash of a picture says, for each place of an 8 x 8 grid, whether it is brighter than its neighbour to the
right and than the one below: 128 bits, of which another size or compression changes few.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from detector.data.image import Pixels

GRID = 8
NEAR_BITS = 10
"""Hashes that differ in no more bits are those of pictures that look alike."""
_MOST_ALIKE = 200


def look_of(image: Pixels) -> str:
    """The difference hash of RGB pixels (H, W, 3), 32 hex digits; "" for one without contrast, which looks like many."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    wide = cv2.resize(grey, (GRID + 1, GRID), interpolation=cv2.INTER_AREA).astype(np.int16)
    high = cv2.resize(grey, (GRID, GRID + 1), interpolation=cv2.INTER_AREA).astype(np.int16)
    if int(wide.max()) - int(wide.min()) < 8:
        return ""
    bits = np.concatenate([(wide[:, 1:] > wide[:, :-1]).ravel(), (high[1:] > high[:-1]).ravel()])
    return np.packbits(bits).tobytes().hex()


def alike(looks: Sequence[str], most_bits: int = NEAR_BITS) -> Iterator[tuple[int, int]]:
    """Pairs of places (earlier, later) whose hashes differ in at most `most_bits` of their bits; "" matches nothing.

    The hash is cut into `most_bits` + 1 pieces: two that near agree in one of them at least, so only pictures that share a
    piece are compared. Of a piece that more than 200 share, only neighbours are.
    """
    places = [i for i, look in enumerate(looks) if look]
    if len(places) < 2:
        return
    packed = np.array([list(bytes.fromhex(looks[i])) for i in places], dtype=np.uint8)
    bits = np.unpackbits(packed, axis=1)
    seen: set[tuple[int, int]] = set()
    for piece in np.array_split(np.arange(bits.shape[1]), most_bits + 1):
        groups: dict[bytes, list[int]] = defaultdict(list)
        for row, key in enumerate(np.packbits(bits[:, piece], axis=1)):
            groups[key.tobytes()].append(row)
        for rows in groups.values():
            for first, second in _near_pairs(bits, np.array(rows), most_bits):
                pair = places[first], places[second]
                if pair not in seen:
                    seen.add(pair)
                    yield pair


def _near_pairs(bits: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], most_bits: int) -> Iterator[tuple[int, int]]:
    """Pairs among `rows`, ascending, of at most that many differing bits."""
    for place in range(len(rows) - 1):
        others = rows[place + 1 : place + 1 + _MOST_ALIKE]
        distance = (bits[others] != bits[rows[place]]).sum(axis=1)
        for other in others[distance <= most_bits].tolist():
            yield int(rows[place]), other

"""SADA's searched policy: 40 numbers, and the sub-policies and size-class ratios that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detector.data.sada.colour import COLOUR_OPS
from detector.data.sada.geometric import GEOMETRIC_OPS

PUBLISHED = (
    6, 9, 5, 3,
    3, 4, 2, 4, 4, 4,
    5, 2, 4, 1, 4, 2,
    6, 4, 2, 2, 2, 6,
    2, 2, 2, 0, 5, 1,
    3, 0, 8, 5, 2, 8,
    7, 5, 1,
    3, 3, 3,
)  # fmt: skip
"""The vector that the authors' search found. Its first four numbers zoom whole images; the detector does not use them."""

AREA_RATIOS = (0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
"""What an area number (0..9) of the vector stands for: the blended area per size class's reference area."""
SPLITS_PX2 = (2048.0, 10240.0, 51200.0)
"""Areas between small, medium and large boxes, and the one above which a box is its own reference; at 800 px."""
SPLITS_SIDE_PX = 800
BOX_PROBABILITY = 0.3
"""Of a box to be augmented, shared out over the three size classes."""
NUM_SUB_POLICIES = 5


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `op` a name, applied to an image with `probability` (times the progress), `level` 0..10."""

    op: str
    probability: float
    level: int


@dataclass(frozen=True, slots=True)
class Policy:
    """sub_policies: pairs (colour step, geometric step), one pair drawn per image.

    areas: the ratio of the blended area for small, medium and large boxes; box_probabilities: of a box of that class.
    """

    sub_policies: tuple[tuple[Operation, Operation], ...]
    areas: tuple[float, float, float]
    box_probabilities: tuple[float, float, float]


def parse_policy(vector: Sequence[int] = PUBLISHED) -> Policy:
    """The policy that 40 numbers describe.

    4 unused, then five times (colour op, probability x 10, level, geometric op, probability x 10, level), then the area
    indices and the probability ratios of small, medium and large boxes. Raises ValueError for any other vector.
    """
    numbers = list(vector)
    length = 4 + 6 * NUM_SUB_POLICIES + 6
    if len(numbers) != length or not all(0 <= number <= 10 for number in numbers):
        raise ValueError(f"a SADA policy is {length} numbers from 0 to 10; {len(numbers)} found: {numbers}")
    areas, ratios = numbers[-6:-3], numbers[-3:]
    if max(areas) >= len(AREA_RATIOS) or not sum(ratios):
        raise ValueError(
            f"a SADA policy ends with three area indices 0..9 and three ratios, not all 0; found {numbers[-6:]}"
        )
    colours, geometrics = tuple(COLOUR_OPS), tuple(GEOMETRIC_OPS)
    pairs = []
    for at in range(4, length - 6, 6):
        colour, colour_tenths, colour_level, geometric, tenths, level = numbers[at : at + 6]
        pairs.append(
            (
                Operation(colours[colour % len(colours)], colour_tenths / 10, colour_level),
                Operation(geometrics[geometric % len(geometrics)], tenths / 10, level),
            )
        )
    small, medium, large = (AREA_RATIOS[area] for area in areas)
    shares = [BOX_PROBABILITY * ratio / sum(ratios) for ratio in ratios]
    return Policy(tuple(pairs), (small, medium, large), (shares[0], shares[1], shares[2]))


def splits_for(size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The three area splits (3,) px^2 in an image of `size_hw`."""
    return np.array(SPLITS_PX2) * (min(size_hw) / SPLITS_SIDE_PX)


def size_classes(areas_px2: npt.NDArray[np.floating], size_hw: tuple[int, int]) -> npt.NDArray[np.int64]:
    """0 small, 1 medium, 2 large, for areas (n,) px^2 in an image of `size_hw`."""
    return np.searchsorted(splits_for(size_hw)[:2], areas_px2, side="right").astype(np.int64)


def blended_shares(
    areas_px2: npt.NDArray[np.floating], size_hw: tuple[int, int], policy: Policy
) -> npt.NDArray[np.float64]:
    """k (n,): the area under each box's Gaussian map over the box's own, for areas (n,) > 0 px^2.

    The class's ratio times its reference area over the box's; the ratio alone for boxes above the last split.
    """
    first, second, last = splits_for(size_hw)
    references = np.array([first, (first + second) / 2, last])
    classes = size_classes(areas_px2, size_hw)
    reference = np.where(areas_px2 >= last, areas_px2, references[classes])
    return np.asarray(np.array(policy.areas)[classes] * reference / areas_px2, dtype=np.float64)

"""The groups of the main path that the closed-form scores sum over.

Groups end where the next stride 2 begins: stem, stage 1, stage 2, stages 3 + 4, stage 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search_spaces.errors import UserError
from search_spaces.graph import Dim, Graph, MainConv

Values = float | npt.NDArray[np.float64]
REFERENCE_SIDE = 640


@dataclass(frozen=True, slots=True, eq=False)
class ScoreGroup:
    """The convs of one resolution level, in order. Dimensions are ints, or arrays of shape (P,) for a population."""

    convs: tuple[MainConv, ...]

    @property
    def out_channels(self) -> Dim:
        """Channels of the group's output."""
        return self.convs[-1].out_channels

    @property
    def pixels(self) -> int:
        """Height x width of the group's output."""
        return self.convs[-1].height * self.convs[-1].width


def groups(graph: Graph) -> list[ScoreGroup]:
    """The groups of a graph's main path, from the stem on."""
    found: list[ScoreGroup] = []
    start, convs = 0, graph.main_path
    for end in range(1, len(convs) + 1):
        if end == len(convs) or convs[end].level != convs[end - 1].level:
            found.append(ScoreGroup(convs[start:end]))
            start = end
    return found


def weighted_groups(graph: Graph, weights: Sequence[float]) -> list[tuple[float, ScoreGroup]]:
    """Each group with its weight. Raises UserError when there are not as many weights as groups."""
    found = groups(graph)
    if len(found) != len(weights):
        raise UserError(
            f"score weights: {len(weights)} found, expected {len(found)}, one for each of stem, stage 1, stage 2, "
            "stages 3 + 4, stage 5"
        )
    return list(zip(weights, found, strict=True))


def sized(weights: Sequence[float], image_size: tuple[int, int]) -> list[float]:
    """The weights of the groups (strides 2, 4, ...) times ln(positions) of their maps, in units of a 640 x 640 picture's."""
    height, width = image_size
    return [
        weight * float(np.log(height * width / 4**level) / np.log(REFERENCE_SIDE**2 / 4**level))
        for level, weight in enumerate(weights, start=1)
    ]


def log_gain(conv: MainConv) -> Values:
    """What a conv, with its repeats, adds to the log standard deviation: count x ln sqrt(fan_in)."""
    gain: Values = conv.count * (0.5 * np.log(conv.fan_in))
    return gain


def plain(values: Values) -> Values:
    """A Python float where numpy gave a scalar; arrays as they are."""
    return values if isinstance(values, np.ndarray) and values.ndim else float(values)

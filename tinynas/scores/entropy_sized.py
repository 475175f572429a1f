"""Entropy that sees the image size: each group's value times the log of the number of positions of its map.

DeepMAD (CVPR 2023) has entropy times the log of the map's size for a feature map; here the factor is ln(positions) over that
of a picture of 640 x 640 pixels, so that at 640 pixels this is `entropy`. At any one image size it is `entropy` with other
weights, nearly proportional to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.graph import Graph
from tinynas.scores import entropy
from tinynas.scores._groups import Values, sized

WEIGHTS = entropy.WEIGHTS
SEES = ("image_size",)


def score(graph: Graph, weights: Sequence[float]) -> Values:
    """Weighted sum of the group values: a float, or (P,). Raises UserError when the number of weights does not fit."""
    return entropy.score(graph, sized(weights, graph.image_size))


def gains(graph: Graph, weights: Sequence[float]) -> list[tuple[str, Values]]:
    """What each main-path conv adds, as `entropy.gains`."""
    return entropy.gains(graph, sized(weights, graph.image_size))

"""Entropy of what the head reads, at the image size that it is read at: a score that sees the neck and the image size.

The published score (`entropy`) ends at the backbone's taps and does not know how many pixels there are. Here each tap's group
value goes on through the neck: every conv on the way to the output of its level adds ln sqrt(fan_in), as in the backbone, and
ln(channels) is that of the output. The way is the longest one (most convs) from the coarsest tap; shortcuts and shorter
branches are left out, as in the backbone. The value of a level is multiplied by ln(positions) of its map over that of a map
of 640 x 640 pixels: entropy times the log of the map's size is what DeepMAD (CVPR 2023) has for a feature map. The score
is the weighted sum over levels.

At one image size and with one neck rule the order of backbones is close to that of `entropy`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search_spaces import costs
from search_spaces.graph import Graph
from search_spaces.structure import TAP_STRIDES
from tinynas.scores import entropy
from tinynas.scores._groups import Values, log_gain, plain, sized, weighted_groups

WEIGHTS = entropy.WEIGHTS
SEES = ("neck", "image_size")
LEVELS = len(TAP_STRIDES)


def score(graph: Graph, weights: Sequence[float]) -> Values:
    """The score of a graph that has a neck: a float, or (P,). Raises UserError when the number of weights does not fit."""
    total: Values = 0.0
    for _, gain in gains(graph, weights):
        total = total + gain
    return plain(total)


def gains(graph: Graph, weights: Sequence[float]) -> list[tuple[str, Values]]:
    """What each conv adds, as (path, float or (P,)); of a graph that begins at the taps, what its neck adds."""
    scaled = sized(weights, graph.image_size)
    found = _backbone_gains(graph, scaled) if graph.main_path else []
    return found + (_neck_gains(graph, scaled[-LEVELS:]) if "neck1" in graph.outputs else [])


def _backbone_gains(graph: Graph, weights: Sequence[float]) -> list[tuple[str, Values]]:
    """As those of `entropy`, but ln(channels) of the levels that the head reads is the neck's."""
    found: list[tuple[str, Values]] = []
    groups = weighted_groups(graph, weights)
    for number, (weight, group) in enumerate(groups):
        later = sum(weights[number:])
        found += [(conv.path, plain(log_gain(conv) * later)) for conv in group.convs]
        if number < len(groups) - LEVELS:
            path, last = found[-1]
            found[-1] = path, plain(last + weight * np.log(group.out_channels))
    return found


def _neck_gains(graph: Graph, weights: Sequence[float]) -> list[tuple[str, Values]]:
    found: list[tuple[str, Values]] = []
    ways: dict[int, list[int]] = {}
    for level in range(LEVELS):
        end = graph.outputs[f"neck{level + 1}"]
        for index in _way(graph, end, ways):
            op = graph.ops[index]
            found.append((op.path, plain(weights[level] * 0.5 * np.log(costs.fan_in(graph, op)))))
        found.append((graph.ops[end].path, plain(weights[level] * np.log(graph.ops[end].shape.channels))))
    return found


def _way(graph: Graph, end: int, ways: dict[int, list[int]]) -> list[int]:
    """Convs of the neck on the longest way to an op."""
    if end in ways:
        return ways[end]
    op = graph.ops[end]
    if op.part != "neck":
        return []
    before = [_way(graph, source, ways) for source in op.main_inputs]
    longest = max(before, key=len)
    ways[end] = [*longest, end] if op.kind == "conv" else longest
    return ways[end]

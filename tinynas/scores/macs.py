"""Baseline: the more the backbone computes, the better. GMACs of the backbone's convs for one image, deploy form."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces import costs
from search_spaces.graph import Graph
from tinynas.scores._groups import Values, plain

# none are used
WEIGHTS: tuple[float, ...] = ()
SEES = ("image_size",)


def score(graph: Graph, weights: Sequence[float] = WEIGHTS) -> Values:
    """GMACs of the backbone: a float, or (P,). `weights` are not used."""
    return plain(costs.conv_macs(graph, part="backbone") / 1e9)


def gains(graph: Graph, weights: Sequence[float] = WEIGHTS) -> list[tuple[str, Values]]:
    """GMACs of each conv of the backbone, with its repeats, as (path, float or (P,)); they add up to the score."""
    return [
        (op.path, plain(op.count * costs.op_macs(graph, op) / 1e9))
        for op in graph
        if op.kind == "conv" and op.part == "backbone"
    ]

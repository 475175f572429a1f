"""Maximum-entropy score over the main path as the public search counts it, for figures that compare with published ones.

In res and mob it is the entropy. In csp the public search scores convs that are not built (search_spaces.blocks.csp):
`depth` inner blocks in a strided stage that has one less, at the stage's full width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search_spaces.graph import Graph
from tinynas.scores import entropy
from tinynas.scores._groups import Values

WEIGHTS = entropy.WEIGHTS


def score(graph: Graph, weights: Sequence[float]) -> Values:
    """Weighted sum of the group entropies: a float, or (P,). Raises UserError when the number of weights does not fit."""
    return entropy.score(_as_published(graph), weights)


def gains(graph: Graph, weights: Sequence[float]) -> list[tuple[str, Values]]:
    """What each conv of the path adds, as `entropy.gains`."""
    return entropy.gains(_as_published(graph), weights)


def _as_published(graph: Graph) -> Graph:
    return replace(graph, main_path=graph.published_path)

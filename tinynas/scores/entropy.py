"""Maximum-entropy score (MAE-DET, ICML 2022; report, 2.1).

For Gaussian weights and inputs the log standard deviation of a plain conv's output grows by ln sqrt(fan_in). A group's
entropy is the sum of these terms over all convs of the main path up to the group's end, plus ln(channels) of its output.
The score is the weighted sum over groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search_spaces.graph import Graph
from tinynas.scores._groups import Values, groups, log_gain, plain, weighted_groups

# as published for detectors of the S size
WEIGHTS = (0.0, 0.0, 1.0, 1.0, 16.0)


def group_entropies(graph: Graph) -> list[Values]:
    """Entropy of each group, from the stem on; floats, or arrays of shape (P,)."""
    entropies: list[Values] = []
    log_std: Values = 0.0
    for group in groups(graph):
        for conv in group.convs:
            log_std = log_std + log_gain(conv)
        entropies.append(plain(log_std + np.log(group.out_channels)))
    return entropies


def score(graph: Graph, weights: Sequence[float]) -> Values:
    """Weighted sum of the group entropies: a float, or (P,). Raises UserError when the number of weights does not fit."""
    total: Values = 0.0
    for (weight, _), entropy in zip(weighted_groups(graph, weights), group_entropies(graph), strict=True):
        if weight:
            total = total + weight * entropy
    return plain(total)


def gains(graph: Graph, weights: Sequence[float]) -> list[tuple[str, Values]]:
    """What each main-path conv adds to the score, as (path, float or (P,)): its log term, with its repeats, times the
    weights of its own and all later groups. A path may occur more than once; the values add up to the score.

    The last conv of a group also carries weight x ln(channels), whatever its count.
    Raises UserError when the number of weights does not fit.
    """
    found: list[tuple[str, Values]] = []
    for number, (weight, group) in enumerate(weighted_groups(graph, weights)):
        later = sum(weights[number:])
        found += [(conv.path, plain(log_gain(conv) * later)) for conv in group.convs]
        path, last = found[-1]
        found[-1] = path, plain(last + weight * np.log(group.out_channels))
    return found

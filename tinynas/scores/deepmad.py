"""DeepMAD score (CVPR 2023): entropy that values resolution, a penalty for uneven depths, and network effectiveness.

Group value = (ln channels + ln(height x width) of the group's output) x the sum of ln sqrt(fan_in) over all main-path
convs up to there (as published for square images: ln channels + 2 ln side). The score is the weighted sum of the group
values minus 10 x exp(population standard deviation of the stages' depths), depths counted in blocks. Published for
classification, where the stem works at the input's full size; here it works at half. The score is not a sum over convs,
so there are no gains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search_spaces.graph import Graph
from tinynas.scores._groups import Values, groups, log_gain, plain, weighted_groups

WEIGHTS = (1.0, 1.0, 1.0, 1.0, 8.0)
SEES = ("image_size",)
DEPTH_PENALTY = 10.0
# the published search keeps `effectiveness` at or below this
MAX_EFFECTIVENESS = 0.3


def score(graph: Graph, weights: Sequence[float]) -> Values:
    """The score of a graph that has a backbone: a float, or (P,). Raises UserError when the number of weights does not
    fit."""
    log_std: Values = 0.0
    total: Values = 0.0
    for weight, group in weighted_groups(graph, weights):
        for conv in group.convs:
            log_std = log_std + log_gain(conv)
        total = total + weight * (np.log(group.out_channels) + np.log(group.pixels)) * log_std
    depths = np.stack(np.broadcast_arrays(*graph.stage_depths))
    return plain(total - DEPTH_PENALTY * np.exp(depths.std(axis=0)))


def effectiveness(graph: Graph) -> Values:
    """Largest depth-to-width ratio rho over the groups: main-path convs up to the group's end over the geometric mean
    of their fan-ins. Low values propagate signals well; a float, or (P,)."""
    layers: Values = 0.0
    log_std: Values = 0.0
    largest: Values = 0.0
    for group in groups(graph):
        for conv in group.convs:
            layers = layers + np.asarray(conv.count, np.float64)
            log_std = log_std + log_gain(conv)
        largest = plain(np.maximum(largest, layers / np.exp(2.0 * log_std / layers)))
    return largest

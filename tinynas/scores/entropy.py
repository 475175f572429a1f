"""Maximum-entropy score (MAE-DET, ICML 2022; report, 2.1).

For Gaussian weights and inputs the log standard deviation of a plain conv's output grows by ln sqrt(fan_in). A group's
entropy is the sum of these terms over all convs of the main path up to the group's end, plus ln(channels) of its output.
Groups end where the next stride 2 begins. The score is the weighted sum over groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from search_spaces.graph import Graph

Score = float | npt.NDArray[np.float64]


def group_entropies(graph: Graph) -> list[Score]:
    """Entropy of each group, from the stem on; floats, or arrays of shape (P,)."""
    entropies: list[Score] = []
    log_std: Score = 0.0
    convs = graph.main_path
    for position, conv in enumerate(convs):
        log_std = log_std + conv.count * (0.5 * np.log(conv.fan_in))
        if position + 1 == len(convs) or convs[position + 1].level != conv.level:
            entropies.append(log_std + np.log(conv.out_channels))
    return entropies


def score(graph: Graph, weights: Sequence[float]) -> Score:
    """Weighted sum of the group entropies. Raises ValueError when the number of weights does not fit."""
    entropies = group_entropies(graph)
    if len(entropies) != len(weights):
        raise ValueError(f"{len(weights)} score weights for {len(entropies)} groups")
    total: Score = 0.0
    for weight, entropy in zip(weights, entropies, strict=True):
        if weight:
            total = total + weight * entropy
    return total if isinstance(total, np.ndarray) else float(total)


def conv_entropy_gains(graph: Graph, weights: Sequence[float]) -> dict[str, float]:
    """What each main-path conv of one network adds to the score: its log term times the weights of all later groups.

    The ln(channels) terms go to the last conv of their group, so that the values add up to the score.
    """
    gains: dict[str, float] = {}
    convs = graph.main_path
    group = 0
    for position, conv in enumerate(convs):
        gain = float(conv.count * 0.5 * np.log(conv.fan_in) * sum(weights[group:]))
        if position + 1 == len(convs) or convs[position + 1].level != conv.level:
            gain += weights[group] * float(np.log(conv.out_channels))
            group += 1
        gains[conv.path] = gains.get(conv.path, 0.0) + gain
    return gains

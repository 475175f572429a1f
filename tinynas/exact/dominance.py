"""Which of many (score, cost, ..., cost) vectors are not dominated by another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
FEW = 64
STRONG = 128


def undominated(values: Values) -> npt.NDArray[np.bool_]:
    """Mask (n,) of rows (n, K) that no other row dominates: scores no less, costs no more. Of equal rows one stays.

    Exact for one cost, and for two when one of them has few different values; otherwise some dominated rows may stay
    (they are compared with the strongest rows alone). Costs that are the same for all do not count.
    """
    if len(values) < 2:
        return np.ones(len(values), np.bool_)
    costs = values[:, 1:]
    costs = costs[:, (costs != costs[0]).any(axis=0)]
    if costs.shape[1] == 0:
        best = np.zeros(len(values), np.bool_)
        best[np.argmax(values[:, 0])] = True
        return best
    if costs.shape[1] == 1:
        return _one_cost(values[:, 0], costs[:, 0])
    distinct = [np.unique(column) for column in costs.T]
    if costs.shape[1] == 2 and min(map(len, distinct)) <= FEW:
        few = int(len(distinct[1]) <= len(distinct[0]))
        return _few_levels(values[:, 0], costs[:, 1 - few], costs[:, few], distinct[few])
    return _against_strongest(values[:, 0], costs)


def _one_cost(score: Values, cost: Values) -> npt.NDArray[np.bool_]:
    order = np.lexsort((-score, cost))
    ranked = score[order]
    keep = np.ones(len(score), np.bool_)
    keep[order[1:]] = ranked[1:] > np.maximum.accumulate(ranked)[:-1]
    return keep


def _few_levels(score: Values, cost: Values, level: Values, levels: Values) -> npt.NDArray[np.bool_]:
    """Ascending levels: each is held to the best scores of itself and of all levels below."""
    order = np.lexsort((level, -score, cost))
    keep = np.ones(len(score), np.bool_)
    ranked, ranked_level = score[order], level[order]
    for value in levels:
        below = np.flatnonzero(ranked_level <= value)
        best = np.maximum.accumulate(ranked[below])
        here = ranked_level[below] == value
        beaten = np.zeros(len(below), np.bool_)
        beaten[1:] = ranked[below][1:] <= best[:-1]
        keep[order[below[here & beaten]]] = False
    return keep


def _against_strongest(score: Values, costs: Values) -> npt.NDArray[np.bool_]:
    """Rows are compared with the `STRONG` rows of the best score for their mean cost, and with each other if few."""
    keep = np.ones(len(score), np.bool_)
    spread = np.maximum(costs.max(axis=0) - costs.min(axis=0), 1e-300)
    rise = (score.max() - score.min()) / costs.shape[1]
    strength = score - rise * ((costs - costs.min(axis=0)) / spread).sum(axis=1)
    strongest = np.argsort(-strength, kind="stable")[:STRONG]
    for row in strongest.tolist():
        if keep[row]:
            beaten = (score <= score[row]) & (costs >= costs[row]).all(axis=1)
            beaten[row] = False
            keep &= ~beaten
    return keep

"""The Pareto front of a search: the best score at every cost, kept in bins of 0.1 % of the cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tinynas.genes.layout import GENES, Genes

Values = npt.NDArray[np.float64]
BINS_PER_E = 1000.0
"""Bins per factor of e: neighbouring bins are 0.1 % apart."""


@dataclass(slots=True, kw_only=True)
class Front:
    """For every bin of the cost `key` the best candidate seen there. `origin`: cost at the lower end of the first bin.

    `envelope`: best score in this bin or any cheaper one, so that a dominated candidate is turned away by one
    comparison.
    """

    key: str
    origin: float
    score: Values
    cost: Values
    genes: Genes
    envelope: Values

    @staticmethod
    def empty(key: str, lowest: float, highest: float) -> Front:
        """A front for costs from `lowest` to `highest`; what lies beyond counts into the end bins."""
        bins = int(np.log(max(highest / lowest, 1.0)) * BINS_PER_E) + 1
        nothing = np.full(bins, -np.inf)
        return Front(
            key=key,
            origin=lowest,
            score=nothing,
            cost=np.full(bins, np.inf),
            genes=np.zeros((GENES, bins), np.int64),
            envelope=nothing.copy(),
        )

    def copy(self) -> Front:
        return replace(
            self,
            score=self.score.copy(),
            cost=self.cost.copy(),
            genes=self.genes.copy(),
            envelope=self.envelope.copy(),
        )

    def offer(self, genes: Genes, score: Values, cost: Values, admitted: npt.NDArray[np.bool_] | None = None) -> None:
        """Take in what is better than its bin and all cheaper ones. `admitted`: who is within the other budgets."""
        place = (np.log(cost / self.origin) * BINS_PER_E).astype(np.int64)
        np.clip(place, 0, self.score.size - 1, out=place)
        better = score > self.envelope.take(place)
        if admitted is not None:
            better &= admitted
        chosen = np.flatnonzero(better)
        if not chosen.size:
            return
        # ascending in score, cheaper last among equals: the last write to a bin stays
        chosen = chosen[np.lexsort((-cost[chosen], score[chosen]))]
        bins = place[chosen]
        self.score[bins], self.cost[bins], self.genes[:, bins] = score[chosen], cost[chosen], genes[:, chosen]
        self.envelope = np.maximum.accumulate(self.score)

    def merge(self, other: Front) -> None:
        """Take in another front over the same bins."""
        filled = np.flatnonzero(other.score > -np.inf)
        self.offer(other.genes[:, filled], other.score[filled], other.cost[filled])

    def members(self) -> tuple[Genes, Values, Values]:
        """The non-dominated candidates by rising cost: genes (GENES, F), score (F,), cost (F,)."""
        filled = np.flatnonzero(self.score > -np.inf)
        order = filled[np.lexsort((-self.score[filled], self.cost[filled]))]
        score = self.score[order]
        before = np.concatenate([[-np.inf], np.maximum.accumulate(score)[:-1]]) if order.size else score
        order = order[score > before]
        return self.genes[:, order], self.score[order], self.cost[order]

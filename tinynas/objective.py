"""What a search asks of a population: score, costs, and by how much budgets are exceeded.

Neck and head depend on the three taps' widths alone, so their costs are computed once per triple and gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from latency_tables import Pricer, Table
from search_spaces import costs
from search_spaces.emit import emit_backbone, emit_detector, emit_neck_and_head
from search_spaces.graph import Dim, Graph
from search_spaces.plugins import load_plugin
from tinynas.budgets import Budget, Quantity
from tinynas.population import Encoding, Genes

Values = npt.NDArray[np.float64]
GraphCost = Callable[[Graph], Dim | Values | float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Per candidate: `score`, `costs` of each budgeted quantity, and `excess`, the sum of relative excesses (0 if within
    all budgets). All of shape (P,)."""

    score: Values
    costs: dict[Quantity, Values]
    excess: Values

    def take(self, index: npt.NDArray[np.intp]) -> Evaluation:
        return Evaluation(self.score[index], {k: v[index] for k, v in self.costs.items()}, self.excess[index])

    @staticmethod
    def join(parts: Sequence[Evaluation]) -> Evaluation:
        keys = parts[0].costs
        return Evaluation(
            np.concatenate([part.score for part in parts]),
            {key: np.concatenate([part.costs[key] for part in parts]) for key in keys},
            np.concatenate([part.excess for part in parts]),
        )


@dataclass(slots=True)
class NeckHeadCosts:
    """Memo of a neck-and-head cost over tap widths; unknown triples are computed together when first met."""

    encoding: Encoding
    cost: GraphCost
    _dense: Values | None = None

    def lookup(self, taps: tuple[Genes, Genes, Genes]) -> Values:
        """Cost per candidate, (P,)."""
        table, codes = self._table(), self._codes(taps)
        values = table[codes]
        unknown = np.unique(codes[np.isnan(values)])
        if unknown.size:
            table[unknown] = self._compute(unknown)
            values = table[codes]
        return values

    def _bases(self) -> tuple[list[int], list[int]]:
        """Lowest width and number of widths of each tap, in channel steps."""
        space = self.encoding.space
        stages = [space.stages[index] for index in (1, 3, 4)]
        lows = [stage.out[0] // space.channel_step for stage in stages]
        counts = [stage.out[1] // space.channel_step - low + 1 for stage, low in zip(stages, lows, strict=True)]
        return lows, counts

    def _table(self) -> Values:
        if self._dense is None:
            self._dense = np.full(int(np.prod(self._bases()[1])), np.nan)
        return self._dense

    def _codes(self, taps: tuple[Genes, Genes, Genes]) -> Genes:
        codes = np.zeros_like(taps[0])
        for tap, low, count in zip(taps, *self._bases(), strict=True):
            codes = codes * count + (tap // self.encoding.space.channel_step - low)
        return codes

    def _compute(self, codes: Genes) -> Values:
        step = self.encoding.space.channel_step
        lows, counts = self._bases()
        widths = []
        for low, count in zip(reversed(lows), reversed(counts), strict=True):
            codes, rest = np.divmod(codes, count)
            widths.append((rest + low) * step)
        five, four, three = widths
        structure = self.encoding.population(self.encoding.corner(largest=False))
        structure = replace(structure, neck=self.encoding.with_taps((three, four, five)))
        return np.broadcast_to(np.asarray(self.cost(emit_neck_and_head(structure)), np.float64), three.shape)


class Objective:
    """Score and costs of whole detectors (or of backbones alone) under budgets."""

    def __init__(self, encoding: Encoding, budgets: Sequence[Budget], table: Table | None) -> None:
        self.encoding, self.budgets, self.table = encoding, tuple(budgets), table
        self._scorer = load_plugin("tinynas.scores", encoding.space.score.kind)
        # single candidates may lie beyond the table; the winner is held to the table's own limit (predict)
        self._pricer = Pricer(table, max_extrapolated=1.0) if table is not None else None
        self._neck_head: dict[Quantity, NeckHeadCosts] = {}

    def evaluate(self, genes: Genes) -> Evaluation:
        """Score, budgeted costs and excess of every candidate."""
        backbone = emit_backbone(self.encoding.population(genes))
        size = genes.shape[1]
        values = {budget.quantity: self._cost(budget.quantity, backbone, genes) for budget in self.budgets}
        excess = np.zeros(size)
        for budget in self.budgets:
            excess += np.maximum(values[budget.quantity] / budget.limit - 1.0, 0.0)
        score = np.broadcast_to(self._scorer.score(backbone, self.encoding.space.score.weights), (size,))
        return Evaluation(np.array(score, np.float64), values, excess)

    def _cost(self, quantity: Quantity, backbone: Graph, genes: Genes) -> Values:
        if quantity == "layers":
            return np.asarray(costs.layers(backbone) + np.zeros(genes.shape[1]))
        if quantity == "peak_memory_bytes":
            whole = emit_detector(self.encoding.population(genes))
            return np.asarray(costs.peak_memory_bytes(whole) + np.zeros(genes.shape[1]))
        cost = self._graph_cost(quantity)
        if quantity not in self._neck_head:
            self._neck_head[quantity] = NeckHeadCosts(self.encoding, cost)
        fixed = self.table.metadata.overhead_ms if quantity == "latency_ms" and self.table is not None else 0.0
        return cost(backbone) + self._neck_head[quantity].lookup(self.encoding.taps(genes)) + fixed

    def _graph_cost(self, quantity: Quantity) -> GraphCost:
        if quantity == "params":
            return costs.params
        if quantity == "conv_macs":
            return costs.conv_macs
        pricer = self._pricer
        if pricer is None:
            raise ValueError("a latency budget needs a table")
        return lambda graph: sum(pricer.price(graph).values())

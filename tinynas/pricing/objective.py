"""What a search asks of a population: score, costs, and by how much each target's budgets are exceeded.

What is a sum over stages comes from compiled rows (`AdditiveCosts`), everything else from the population's graph; a score
that runs networks is asked only for candidates within some target's budgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latency_tables import Table
from search_spaces.emit import emit_backbone, emit_detector
from search_spaces.plugins import load_plugin
from tinynas.budgets import Budget
from tinynas.genes.layout import Genes
from tinynas.genes.population import Encoding
from tinynas.pricing import columns as additive
from tinynas.pricing.additive_costs import AdditiveCosts
from tinynas.quantities import QUANTITIES

Values = npt.NDArray[np.float64]
SCORE = "score"


@dataclass(frozen=True, slots=True)
class PricedPopulation:
    """Per candidate: `score` (P,), `costs` of each budgeted quantity by key (P,), and `excess` (T, P), the sum of
    relative excesses over a target's budgets (0 if all hold). A score is nan where it was too dear to ask (see module)."""

    score: Values
    costs: dict[str, Values]
    excess: Values


class Objective:
    """Score and costs of whole detectors, or of backbones alone, for T targets: tuples of budgets that must all hold.

    `tables`: latency tables by id; a latency budget without a device means the only one. `score`: a plug-in's name; the
    space's if None. `backbone_only`: neck, head and fixed overhead cost nothing.
    """

    def __init__(
        self, encoding: Encoding, targets: Sequence[tuple[Budget, ...]], tables: Mapping[str, Table], *,
        score: str | None = None, backbone_only: bool = False,
    ) -> None:  # fmt: skip
        if not targets or not all(targets):
            raise ValueError("a search needs at least one target, and each target a budget")
        self.encoding, self.targets, self.tables = encoding, tuple(targets), dict(tables)
        self.score, self.backbone_only = score or encoding.space.score.kind, backbone_only
        self._plugin = load_plugin("tinynas.scores", self.score)
        budgets = {budget.key: budget for target in targets for budget in target}
        self.keys: tuple[str, ...] = tuple(budgets)
        quantities = {key: QUANTITIES[budget.quantity] for key, budget in budgets.items()}
        self._graph_costs = {key: quantity for key, quantity in quantities.items() if not quantity.additive}
        sums = [budget for key, budget in budgets.items() if key not in self._graph_costs]
        columns = [additive.budgeted(budget, self.tables) for budget in sums]
        if hasattr(self._plugin, "gains"):
            columns.append(additive.score(encoding, self.score, SCORE))
        self.additive = AdditiveCosts(encoding, columns, backbone_only=backbone_only) if columns else None
        self.front_key = next((key for key in self.keys if budgets[key].quantity == "latency_ms"), self.keys[0])
        self._others = list(
            dict.fromkeys(tuple(budget for budget in target if budget.key != self.front_key) for target in targets)
        )

    def evaluate(self, genes: Genes) -> PricedPopulation:
        """Score, budgeted costs and excesses of candidates (GENES, P)."""
        values: dict[str, Values] = {}
        if self.additive is not None:
            values = dict(zip(self.additive.columns, self.additive.total(genes).T, strict=True))
        whole_score = SCORE not in values and hasattr(self._plugin, SCORE)
        if self._graph_costs or whole_score:
            values |= self._from_graph(genes, whole_score)
        found = {key: values[key] for key in self.keys}
        excess = np.zeros((len(self.targets), genes.shape[1]))
        for row, target in zip(excess, self.targets, strict=True):
            for budget in target:
                row += budget.excess(found[budget.key])
        score = values[SCORE] if SCORE in values else self._asked_scores(genes, np.asarray((excess <= 0).any(axis=0)))
        return PricedPopulation(score, found, excess)

    def admitted(self, evaluation: PricedPopulation) -> npt.NDArray[np.bool_] | None:
        """Who meets all of some target's budgets but that on `front_key` (P,); None if there are no others."""
        if not all(self._others):
            return None
        meets = [np.all([b.met(evaluation.costs[b.key]) for b in others], axis=0) for others in self._others]
        admitted: npt.NDArray[np.bool_] = np.any(meets, axis=0) if len(meets) > 1 else meets[0]
        return admitted

    def cost_range(self, key: str) -> tuple[float, float]:
        """What a budgeted cost is for the smallest and for the largest candidate of the space."""
        low, high = (self.evaluate(self.encoding.corner(largest=end)).costs[key] for end in (False, True))
        return float(low[0]), float(high[0])

    def _from_graph(self, genes: Genes, with_score: bool) -> dict[str, Values]:
        structure = self.encoding.population(genes)
        backbone = emit_backbone(structure)
        beyond = any(not quantity.of_backbone for quantity in self._graph_costs.values()) and not self.backbone_only
        whole = emit_detector(structure) if beyond else backbone
        found = {}
        for key, quantity in self._graph_costs.items():
            assert quantity.count is not None
            found[key] = quantity.count(backbone if quantity.of_backbone else whole)
        if with_score:
            found[SCORE] = self._plugin.score(backbone, self.encoding.space.score.weights)
        return {key: np.zeros(genes.shape[1]) + value for key, value in found.items()}

    def _asked_scores(self, genes: Genes, wanted: npt.NDArray[np.bool_]) -> Values:
        scores = np.full(genes.shape[1], np.nan)
        chosen = np.flatnonzero(wanted)
        if chosen.size:
            structures = [self.encoding.single(genes, int(index)) for index in chosen]
            scores[chosen] = self._plugin.score_structures(structures)
        return scores

"""The Pareto front of a search as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinynas.genes.layout import DEPTH, HIDDEN, KERNEL, OUT, STAGES, STEM, Genes
from tinynas.quantities import QUANTITIES
from tinynas.search.plan import FrontTable, SearchPlan

Values = npt.NDArray[np.float64]
COUNTED = ("params", "conv_macs", "layers")
"""Columns besides the limited quantity, the score and the structure."""


def front_table(plan: SearchPlan, key: str, genes: Genes, score: Values, cost: Values) -> FrontTable:
    """Candidates (GENES, F) with their `score` and `cost` (F,) of the budget `key`."""
    columns = list(dict.fromkeys((key, "score", *COUNTED, "structure")))
    if not score.size:
        return FrontTable(tuple(columns), ())
    graph = plan.graph(plan.encoding().population(genes))
    values: dict[str, Any] = {"score": score.round(6)}
    for name in COUNTED:
        count = QUANTITIES[name].count
        assert count is not None
        values[name] = np.broadcast_to(np.asarray(count(graph)), score.shape)
    if key not in values:
        values[key] = cost.round(6)
    values["structure"] = np.array([short_structure(column) for column in genes.T], dtype=object)
    return FrontTable(tuple(columns), tuple(zip(*(values[name].tolist() for name in columns), strict=True)))


def short_structure(column: Genes) -> str:
    """`48 | 104-40-1-3 | ...`: the stem's width, then out-hidden-depth-kernel of each stage."""
    stages = ["-".join(str(int(column[row + i])) for row in (OUT, HIDDEN, DEPTH, KERNEL)) for i in range(STAGES)]
    return " | ".join([str(int(column[STEM])), *stages])

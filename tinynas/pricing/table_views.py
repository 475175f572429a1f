"""A latency table seen otherwise: its convolutions alone, or corrected by what was measured end to end."""

from __future__ import annotations

from dataclasses import replace

from latency_tables import Table
from latency_tables.kernels import KINDS

CONV_KINDS = ("conv", "depthwise", "stem")
NEXT_TO_NOTHING_MS = 1e-12  # a table's grid holds logarithms, so that a kernel cannot cost nothing


def convs_only(table: Table) -> Table:
    """The table with everything but convolutions free, and no fixed overhead: the latency that the published searches
    had as their budget."""
    rows = {}
    for group, values in table.rows.items():
        rows[group] = values.copy()
        if group.kind not in CONV_KINDS:
            rows[group][:, 3] = NEXT_TO_NOTHING_MS
    return replace(table, rows=rows, metadata=table.metadata.model_copy(update={"overhead_ms": 0.0}), _grids={})


def without_overhead(table: Table) -> Table:
    """The table without its fixed cost per network, for a backbone alone."""
    return replace(table, metadata=table.metadata.model_copy(update={"overhead_ms": 0.0}), _grids={})


def corrected(table: Table, factor: float, offset_ms: float = 0.0) -> Table:
    """The table with every latency times `factor`, and `offset_ms` more (or less, if negative) per network."""
    overhead_ms = table.metadata.overhead_ms * factor + offset_ms
    return table.with_fit(factors=dict.fromkeys(KINDS, factor), overhead_ms=overhead_ms)

"""Structures side by side: the content of `tinynas compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from latency_tables import Table, Trust, predict, trust_of
from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.graph import PARTS, Graph
from search_spaces.structure import Structure
from tinynas.scores.entropy import WEIGHTS, score


@dataclass(frozen=True, slots=True)
class Quantity:
    """One row: `values` per structure in the quantity's own unit; shown divided by `scale` with `digits` decimals.
    `trust`: how far to trust each value, by structure; empty for what is counted."""

    key: str
    label: str
    unit: str
    scale: float
    digits: int
    values: tuple[float, ...]
    trust: tuple[Trust, ...] = ()

    def shown(self, index: int) -> str:
        return f"{self.values[index] / self.scale:,.{self.digits}f}" + (f" {self.unit}" if self.unit else "")

    def percent(self, index: int) -> float | None:
        """Difference to the first in percent; None where the first is 0."""
        first = self.values[0]
        return 100 * (self.values[index] / first - 1) if first else None


def compare(structures: Sequence[Structure], tables: Sequence[Table]) -> list[Quantity]:
    """Score, costs and latencies of the structures, one Quantity each.

    Score: maximum entropy with the published detector weights. Latencies: total, per part and the fixed overhead, per
    table. Raises UserError when a table does not cover a structure.
    """
    graphs = [emit_detector(structure) for structure in structures]

    def row(key: str, label: str, unit: str, scale: float, digits: int, cost: Any) -> Quantity:
        return Quantity(key, label, unit, scale, digits, tuple(cost(graph) for graph in graphs))

    rows = [
        row("score", "score (entropy)", "", 1, 2, lambda g: float(score(g, WEIGHTS))),
        row("params", "params", "M", 1e6, 3, lambda g: int(costs.params(g))),
        row("params_train", "params, training form", "M", 1e6, 3, lambda g: int(costs.params(g, deploy=False))),
        row("conv_macs", "MACs", "G", 1e9, 3, lambda g: int(costs.conv_macs(g))),
        row("layers", "layers", "", 1, 0, lambda g: int(costs.layers(g))),
        row("peak_memory_bytes", "peak memory, fp32", "MB", 1e6, 2, lambda g: int(costs.peak_memory_bytes(g))),
    ]
    for table in tables:
        rows += _latencies(graphs, table)
    return rows


def _latencies(graphs: Sequence[Graph], table: Table) -> list[Quantity]:
    predictions = [predict(graph, table) for graph in graphs]
    key = f"latency_ms@{table.id}"
    trust = tuple(trust_of(table.metadata, prediction.shares) for prediction in predictions)
    rows = [Quantity(key, f"latency, {table.id}", "ms", 1, 3, tuple(p.total_ms for p in predictions), trust)]
    for part in PARTS:
        values = tuple(p.parts.get(part, 0.0) for p in predictions)
        rows.append(Quantity(f"{key}.{part}", f"  {part}", "ms", 1, 3, values))
    fixed = tuple(p.overhead_ms for p in predictions)
    return [*rows, Quantity(f"{key}.overhead", "  fixed", "ms", 1, 3, fixed)]


def stage_text(structure: Structure) -> list[str]:
    """One line per stage: `128, hidden 24, x1` (with the kernel where it is not 3)."""
    lines = [f"{structure.backbone.stem.out_channels}, {structure.backbone.stem.kind}"]
    for stage in structure.backbone.stages:
        kernel = f", k{stage.kernel}" if stage.kernel != 3 else ""
        lines.append(f"{stage.out_channels}, hidden {stage.hidden_channels}, x{stage.depth}{kernel}")
    return lines

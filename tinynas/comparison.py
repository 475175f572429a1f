"""Structures side by side: the content of `tinynas compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latency_tables import Table, Trust
from search_spaces.emit import emit_detector
from search_spaces.graph import PARTS
from search_spaces.structure import Structure
from tinynas.account import Account, account
from tinynas.quantities import QUANTITIES, Quantity, quantity_of
from tinynas.scores.entropy import WEIGHTS, score


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: `values` per structure in the quantity's own unit. `key`: its name in JSON, `label`: on the screen.
    `trust`: how far to trust each value, by structure; empty for what is counted."""

    key: str
    label: str
    quantity: Quantity
    values: tuple[float, ...]
    trust: tuple[Trust, ...] = ()

    def shown(self, index: int) -> str:
        return self.quantity.text(self.values[index])

    def percent(self, index: int) -> float | None:
        """Difference to the first in percent; None where the first is 0."""
        first = self.values[0]
        return 100 * (self.values[index] / first - 1) if first else None


def compare(structures: Sequence[Structure], tables: Sequence[Table]) -> list[Row]:
    """Score, costs and latencies of the structures, a Row each.

    Score: maximum entropy with the published detector weights. Latencies: total, per part and the fixed overhead, per
    table. Raises UserError when a table does not cover a structure.
    """
    graphs = [emit_detector(structure) for structure in structures]
    accounts = [account(graph, {table.id: table for table in tables}) for graph in graphs]
    scores = tuple(float(score(graph, WEIGHTS)) for graph in graphs)
    rows = [Row(key="score", label="score (entropy)", quantity=QUANTITIES["score"], values=scores)]
    for key in ("params", "params_train", "conv_macs", "layers", "peak_memory_bytes"):
        values = tuple(getattr(one, key) for one in accounts)
        rows.append(Row(key=key, label=QUANTITIES[key].label, quantity=QUANTITIES[key], values=values))
    for table in tables:
        rows += _latencies(accounts, table.id)
    return rows


def _latencies(accounts: Sequence[Account], table_id: str) -> list[Row]:
    predictions = [one.latency[table_id] for one in accounts]
    key = f"latency_ms@{table_id}"
    whole = quantity_of(key)

    def part(name: str, label: str, values: tuple[float, ...]) -> Row:
        return Row(key=f"{key}.{name}", label=f"  {label}", quantity=whole, values=values)

    total = tuple(prediction.total_ms for prediction in predictions)
    trust = tuple(one.trust[table_id] for one in accounts)
    parts = [part(name, name, tuple(p.parts.get(name, 0.0) for p in predictions)) for name in PARTS]
    fixed = part("overhead", "fixed", tuple(prediction.overhead_ms for prediction in predictions))
    return [Row(key=key, label=whole.label, quantity=whole, values=total, trust=trust), *parts, fixed]


def stage_text(structure: Structure) -> list[str]:
    """One line per stage: `128, hidden 24, x1` (with the kernel where it is not 3)."""
    lines = [f"{structure.backbone.stem.out_channels}, {structure.backbone.stem.kind}"]
    for stage in structure.backbone.stages:
        kernel = f", k{stage.kernel}" if stage.kernel != 3 else ""
        lines.append(f"{stage.out_channels}, hidden {stage.hidden_channels}, x{stage.depth}{kernel}")
    return lines

"""What a structure is made of and what it costs, op by op: the content of `tinynas explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latency_tables import Prediction, Table, Trust, predict, trust_of
from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.graph import Graph
from search_spaces.structure import Structure
from tinynas.scores.entropy import WEIGHTS, gains, score


@dataclass(frozen=True, slots=True)
class OpRow:
    """One op: output shape (channels, height, width), costs, and its entropy (its share in the score; 0 off the main
    path). `latency_ms` is None without a table, 0.0 for an op that is fused into the one before it."""

    path: str
    kind: str
    shape: tuple[int, int, int]
    params: int
    macs: int
    latency_ms: float | None
    entropy: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Totals and parts as they go into JSON, the ops, the prediction and how far to trust it (None without a table)."""

    totals: dict[str, Any]
    ops: tuple[OpRow, ...]
    prediction: Prediction | None
    trust: Trust | None


def explain(structure: Structure, table: Table | None = None, weights: tuple[float, ...] = WEIGHTS) -> Explanation:
    """Explain one structure. Raises UserError when the table lacks a kernel."""
    graph = emit_detector(structure)
    prediction = predict(graph, table) if table is not None else None
    trust = trust_of(table.metadata, prediction.shares) if table is not None and prediction is not None else None
    totals = _totals(graph, prediction, weights) | {"latency_trust": trust.data() if trust is not None else None}
    return Explanation(totals, tuple(_rows(graph, prediction, weights)), prediction, trust)


def _totals(graph: Graph, prediction: Prediction | None, weights: tuple[float, ...]) -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = {}
    for part in costs.parts(graph):
        parts[part] = {
            "params_deploy": costs.params(graph, part=part),
            "params_train": costs.params(graph, deploy=False, part=part),
            "conv_macs": costs.conv_macs(graph, part=part),
            "latency_ms": prediction.parts.get(part, 0.0) if prediction is not None else None,
        }
    parts["backbone"] |= {"layers": costs.layers(graph), "score": score(graph, weights)}
    return {
        "params_deploy": costs.params(graph),
        "params_train": costs.params(graph, deploy=False),
        "conv_macs": costs.conv_macs(graph),
        "layers": costs.layers(graph),
        "peak_memory_bytes": costs.peak_memory_bytes(graph),
        "score": score(graph, weights),
        "latency_ms": prediction.total_ms if prediction is not None else None,
        "latency_overhead_ms": prediction.overhead_ms if prediction is not None else None,
        "latency_shares": prediction.shares if prediction is not None else None,
        "device": prediction.table_id if prediction is not None else None,
        "parts": parts,
    }


def _rows(graph: Graph, prediction: Prediction | None, weights: tuple[float, ...]) -> list[OpRow]:
    entropy: dict[str, float] = {}
    for path, gain in gains(graph, weights):
        entropy[path] = entropy.get(path, 0.0) + float(gain)
    latency = prediction.by_op() if prediction is not None else {}
    rows = []
    for index, op in enumerate(graph):
        shape = (int(op.shape.channels), op.shape.height, op.shape.width)
        params, macs = int(costs.op_params(graph, op)), int(costs.op_macs(graph, op))
        ms = latency.get(index, 0.0) if prediction is not None else None
        rows.append(OpRow(op.path, op.kind, shape, params, macs, ms, entropy.get(op.path, 0.0)))
    return rows

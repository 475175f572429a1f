"""What a structure is made of and what it costs, op by op: the content of `tinynas explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latency_tables import Prediction, Table, Trust
from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.graph import Graph
from search_spaces.structure import Structure
from tinynas.account import Account, account
from tinynas.published import neck_share
from tinynas.scores.entropy import WEIGHTS, gains, score


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Totals and parts as they go into JSON, the ops, the account that they are from, and of it the prediction and how far
    to trust it (None without a table)."""

    account: Account
    totals: dict[str, Any]
    ops: tuple[OpRow, ...]
    prediction: Prediction | None
    trust: Trust | None


def explain(structure: Structure, table: Table | None = None) -> Explanation:
    """Explain one structure. Raises UserError when the table lacks a kernel."""
    graph = emit_detector(structure)
    found = account(graph, {table.id: table} if table is not None else None)
    prediction, trust = (found.latency[table.id], found.trust[table.id]) if table is not None else (None, None)
    totals = _totals(found, prediction, float(score(graph, WEIGHTS)))
    totals["neck_share"] = (
        neck_share(prediction, table, structure) if table is not None and prediction is not None else None
    )
    totals["latency_trust"] = trust.data() if trust is not None else None
    return Explanation(
        account=found, totals=totals, ops=tuple(_rows(graph, prediction)), prediction=prediction, trust=trust
    )


def _totals(found: Account, prediction: Prediction | None, score: float) -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = {}
    for name, part in found.parts.items():
        parts[name] = {
            "params_deploy": part.params,
            "params_train": part.params_train,
            "conv_macs": part.conv_macs,
            "latency_ms": prediction.parts.get(name, 0.0) if prediction is not None else None,
        }
    parts["backbone"] |= {"layers": found.layers, "score": score}
    return {
        "params_deploy": found.params,
        "params_train": found.params_train,
        "conv_macs": found.conv_macs,
        "layers": found.layers,
        "peak_memory_bytes": found.peak_memory_bytes,
        "score": score,
        "latency_ms": prediction.total_ms if prediction is not None else None,
        "latency_overhead_ms": prediction.overhead_ms if prediction is not None else None,
        "latency_shares": prediction.shares if prediction is not None else None,
        "device": prediction.table_id if prediction is not None else None,
        "parts": parts,
    }


def _rows(graph: Graph, prediction: Prediction | None) -> list[OpRow]:
    entropy: dict[str, float] = {}
    for path, gain in gains(graph, WEIGHTS):
        entropy[path] = entropy.get(path, 0.0) + float(gain)
    latency = prediction.by_op() if prediction is not None else {}
    rows = []
    for index, op in enumerate(graph):
        shape = (int(op.shape.channels), op.shape.height, op.shape.width)
        params, macs = int(costs.op_params(graph, op)), int(costs.op_macs(graph, op))
        ms = latency.get(index, 0.0) if prediction is not None else None
        rows.append(OpRow(
            path=op.path, kind=op.kind, shape=shape, params=params, macs=macs, latency_ms=ms,
            entropy=entropy.get(op.path, 0.0),
        ))  # fmt: skip
    return rows

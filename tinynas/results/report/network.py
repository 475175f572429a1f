"""One network that was found, with every text and share that its part of the page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.structure import Structure
from search_spaces.text import read_structure
from tinynas.quantities import quantity_of
from tinynas.results.drawing import Drawing, draw, scope_of
from tinynas.results.report.latency import LatencyRows, latency_rows, off_text, percent, timed_with, trust_text

NO_GAP = 1e-6
"""Percent: what is left of a proven optimum's gap is rounding."""
Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A budget: its texts, and how much of it is used in percent (None where the cost is not known)."""

    label: str
    limit: str
    found: str
    used: float | None


@dataclass(frozen=True, slots=True)
class Share:
    """A value (empty where there is none), its percent of the whole, and the length of its bar: percent of the largest."""

    text: str
    percent: float
    bar: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeRow:
    """One stage: output, costs, and its part of each device's latency and of the score."""

    scope: str
    part: str
    output: str
    params: str
    macs: str
    latency: tuple[Share, ...]
    entropy: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSection:
    """`headline`: (figure, unit, caption, remark) of what matters most. `bound`: certified upper bound of the score, or None.

    `gap`: how far below it the score is at most, empty where that is not known. `values`: all costs by key. `drawing` is
    None when the structure file could not be read.
    """

    number: int
    name: str
    structure_file: str
    score: float
    bound: float | None
    proof: str
    gap: str
    headline: tuple[tuple[str, str, str, str], ...]
    asked: tuple[Asked, ...]
    costs: tuple[tuple[str, str], ...]
    values: Data
    latency: tuple[LatencyRows, ...]
    scopes: tuple[ScopeRow, ...]
    drawing: Drawing | None

    def cost(self, key: str) -> float | None:
        """A cost by its key; a plain `latency_ms` is the first device's."""
        return _cost(self.values, key)


def network_section(target: Data, number: int, folder: Path) -> NetworkSection:
    """Everything about `targets[number]` of a search."""
    latency: Data = target.get("latency") or {}
    measured: Data = target.get("measured") or {}
    first: Data = next(iter(latency.values()), {})
    values = {**(target.get("costs") or {})}
    for table, account in latency.items():
        values.setdefault(f"latency_ms@{table}", account["total"])
        values.setdefault("latency_ms", account["total"])
    for table, row in measured.items():
        values.setdefault(f"measured_ms@{table}", row["measured_ms"])
    structure = _structure(folder, target.get("structure_file"))
    graph = emit_detector(structure) if structure is not None else None
    certified = target.get("certified") or {}
    drawing = (
        draw(structure, graph, first.get("by_scope") or {}) if structure is not None and graph is not None else None
    )
    costs = (target.get("costs") or {}).items()
    return NetworkSection(
        number=number,
        name=str(target.get("name") or f"network {number + 1}"),
        structure_file=str(target.get("structure_file") or ""),
        score=float(target["score"]),
        bound=certified.get("bound"),
        proof=_proof(certified),
        gap=f"{_gap(float(certified['gap_percent']))} %" if certified else "",
        headline=_headline(target, latency, certified),
        asked=tuple(_asked(budget, values) for budget in target.get("budgets") or []),
        costs=tuple((quantity_of(key).label, quantity_of(key).text(value)) for key, value in costs),
        values=values,
        latency=tuple(
            latency_rows(table, found, measured.get(table), (target.get("neck_share") or {}).get(table))
            for table, found in latency.items()
        ),
        scopes=tuple(_scopes(graph, drawing, latency, target.get("entropy_by_scope") or {})),
        drawing=drawing,
    )


def _structure(folder: Path, name: Any) -> Structure | None:
    """The structure, or None: a report without a picture is better than none."""
    try:
        return read_structure(folder / str(name)) if name else None
    except (UserError, OSError):
        return None


def _cost(values: Data, key: str) -> float | None:
    value = values.get(key, values.get(key.partition("@")[0]))
    return float(value) if isinstance(value, (int, float)) else None


def _proof(certified: Data) -> str:
    """What is proven about the score, in words."""
    if not certified:
        return "Not proven: a moment was not enough, or the score has no proof; --certify takes longer, where it can."
    seconds = certified.get("seconds")
    took = f" Proved in {seconds:.2g} s." if isinstance(seconds, (int, float)) else ""
    dropped = ", ".join(quantity_of(str(key)).label for key in certified.get("dropped") or [])
    aside = f" The proof leaves the limit on {dropped} aside." if dropped else ""
    gap = float(certified["gap_percent"])
    if is_best(certified):
        return f"Proven: no network of the space scores higher within the budget.{aside}{took}"
    return f"Proven: no network of the space scores above {certified['bound']:,.2f}, {_gap(gap)} % more.{aside}{took}"


def is_best(certified: Data) -> bool:
    """Whether a network's proof leaves no room above it."""
    return bool(certified.get("exact")) and float(certified["gap_percent"]) <= NO_GAP


def _gap(gap: float) -> str:
    return "0" if gap <= NO_GAP else f"{gap:.2g}"


def _headline(target: Data, latency: Data, certified: Data) -> tuple[tuple[str, str, str, str], ...]:
    tiles = [
        (f"{account['total']:.3f}", "ms", f"predicted on {table}", trust_text(account))
        for table, account in latency.items()
    ]
    for table, row in (target.get("measured") or {}).items():
        tiles.append((f"{row['measured_ms']:.3f}", "ms", f"measured on {table} ({off_text(row)})", timed_with(row)))
        corrected = row.get("corrected_ms", row["predicted_ms"])
        if corrected != row["predicted_ms"]:
            off = percent(corrected - row["measured_ms"], row["measured_ms"])
            tiles.append((f"{off:+.1f}", "%", "off: the corrected prediction, to what was measured", ""))
    tiles.append((f"{target['score']:,.2f}", "", "score", ""))
    if certified:
        tiles.append((_gap(float(certified["gap_percent"])), "%", "certified gap to the optimum, at most", ""))
    if not latency:
        for key, value in list((target.get("costs") or {}).items())[:2]:
            figure, _, unit = quantity_of(key).text(value).partition(" ")
            tiles.append((figure, unit, quantity_of(key).label, ""))
    return tuple(tiles)


def _asked(budget: Data, values: Data) -> Asked:
    key, name = str(budget.get("key") or budget["quantity"]), str(budget["quantity"])
    device = budget.get("device")
    quantity = quantity_of(f"{name}@{device}" if device else key)
    found = _cost(values, quantity.key)
    limit = float(budget["limit"])
    used = percent(found, limit) if found is not None else None
    least = "at least " if quantity.floor else ""
    return Asked(quantity.label, least + quantity.brief(limit, 6), quantity.text(found), used)


def _scopes(graph: Graph | None, drawing: Drawing | None, latency: Data, entropy: Data) -> list[ScopeRow]:
    """One row per scope that is drawn or priced, in the network's order, the fixed overhead last."""
    sizes = _sizes(graph) if graph is not None else {}
    shown = {node.scope: node.lines[0] for node in drawing.nodes} if drawing is not None else {}
    by_scope = [account.get("by_scope") or {} for account in latency.values()]
    names = list(dict.fromkeys([*sizes, *(scope for scopes in (*by_scope, entropy) for scope in scopes)]))
    names.sort(key=lambda name: name == "overhead")
    shares = [_shares(scopes, float(account["total"])) for scopes, account in zip(by_scope, latency.values())]
    gains, none = _shares(entropy, sum(entropy.values())), Share("", 0.0, 0.0)
    rows = []
    for scope in names:
        part, output, params, macs = sizes.get(scope, (scope, "", "", ""))
        times = tuple(share.get(scope, none) for share in shares)
        if scope != "overhead" or any(share.percent for share in times):
            name = "fixed" if scope == "overhead" else shown.get(scope, scope)
            rows.append(ScopeRow(
                scope=name, part=part, output=output, params=params, macs=macs, latency=times,
                entropy=gains.get(scope, none),
            ))  # fmt: skip
    return rows


def _shares(values: Data, whole: float) -> dict[str, Share]:
    largest = max(values.values(), default=0.0)
    return {
        scope: Share(f"{value:.3f}", percent(value, whole), max(percent(value, largest), 0.0))
        for scope, value in values.items()
    }


def _sizes(graph: Graph) -> dict[str, tuple[str, str, str, str]]:
    """Per scope: part, output shape, params, MACs."""
    totals: dict[str, list[int]] = {}
    shapes: dict[str, tuple[str, str]] = {}
    for op in graph:
        if op.kind == "input":
            continue
        scope = scope_of(op.path)
        total = totals.setdefault(scope, [0, 0])
        total[0] += int(costs.op_params(graph, op)) * int(op.count)
        total[1] += int(costs.op_macs(graph, op)) * int(op.count)
        boxes = f"{op.shape.height:,} boxes" if op.kind == "detect" else ""
        shapes[scope] = (op.part, boxes or f"{op.shape.channels} \u00d7 {op.shape.height} \u00d7 {op.shape.width}")
    return {
        scope: (*shapes[scope], f"{params / 1e6:.3f}", f"{macs / 1e9:.3f}") for scope, (params, macs) in totals.items()
    }

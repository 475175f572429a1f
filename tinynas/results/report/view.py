"""What the page says, figure by figure: search.json's content turned into texts, rows and chart data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.errors import UserError
from tinynas.quantities import quantity_of
from tinynas.results.page.settings import flat_settings
from tinynas.results.report.frames import frames_section
from tinynas.results.report.network import NetworkSection, network_section
from tinynas.results.report.ranking import ranking_chart, ranking_section

MAX_POINTS = 4000
# other forms of a figure that the table of the family has already
REPEATED = ("params_train",)
Data = Mapping[str, Any]


def page_content(data: Data, folder: Path) -> dict[str, Any]:
    """All variables of the template. `data`: the content of search.json. Raises UserError when it has no targets."""
    targets = data.get("targets")
    if not targets:
        raise UserError(f"{folder / 'search.json'}: no targets in it; expected the result of tinynas search")
    members = [network_section(target, number, folder) for number, target in enumerate(targets)]
    front = _front(data.get("front") or {}, members, targets)
    curves = [_curves(item, target) for item, target in zip(members, targets)]
    return {
        "tool": data.get("tool", "tinynas"),
        "kind": "search report",
        "title": _title(data, members),
        "work": _work(data),
        "interrupted": bool(data.get("interrupted")),
        "notes": [str(note) for note in data.get("notes") or []],
        "backbone_only": bool((data.get("settings") or {}).get("backbone_only")),
        "members": members,
        "family": _family(members),
        "front": front,
        "front_rows": len(front["rows"]) if front else 0,
        "has_history": any(curve["history"] for curve in curves),
        "frames": frames_section(data),
        "ranking": ranking_section(data.get("ranking")),
        "charts": {"front": front, "members": curves, "ranking": ranking_chart(data.get("ranking"))},
        "settings": flat_settings({key: v for key, v in (data.get("settings") or {}).items() if key != "frames"}),
        "commands": _commands(data.get("commands"), members),
    }


def _title(data: Data, members: Sequence[NetworkSection]) -> str:
    space = (data.get("settings") or {}).get("space", "")
    name = space.get("name", "") if isinstance(space, Mapping) else space
    networks = f"{len(members)} networks" if len(members) > 1 else "One network"
    return f"{networks} from space {name}" if name else networks


def _work(data: Data) -> str:
    """What the search took: `500,000 candidates in 1.3 s, 384,000 per second`."""
    evaluations = data.get("evaluations") or max(
        (point["evaluations"] for target in data["targets"] for point in target.get("history") or []), default=0
    )
    words = [f"{evaluations:,} candidates" if evaluations else "Solved exactly"]
    if data.get("seconds") is not None:
        words.append(f"in {data['seconds']:.3g} s" if data["seconds"] < 1000 else f"in {data['seconds']:,.0f} s")
    text = " ".join(words)
    rate = data.get("candidates_per_second")
    return f"{text}, {rate:,.0f} per second" if rate else text


def _family(members: Sequence[NetworkSection]) -> dict[str, Any]:
    """All members in one table: score, certified gap, then every cost that each of them has."""
    keys = [key for key in members[0].values if key not in REPEATED and all(key in item.values for item in members)]
    if any(key.startswith("latency_ms@") for key in keys):
        keys = [key for key in keys if key != "latency_ms"]
    keys.sort(key=lambda key: (not key.startswith("latency_ms"), not key.startswith("measured_ms")))
    certified = any(item.gap for item in members)
    rows = [
        (
            item.name,
            [quantity_of("score").text(item.score), *([item.gap or "\u2013"] if certified else [])]
            + [quantity_of(key).text(item.values[key]) for key in keys],
        )
        for item in members
    ]
    gap = ["certified gap"] if certified else []
    trust = dict.fromkeys(f"{a.table}: {a.trust}" for item in members for a in item.latency if a.trust)
    return {"labels": ["score", *gap, *(quantity_of(key).label for key in keys)], "rows": rows, "trust": list(trust)}


def _front(front: Data, members: Sequence[NetworkSection], targets: Sequence[Data]) -> dict[str, Any] | None:
    """Columns with how to show them, rows by rising cost, and where the members stand; None for less than two rows."""
    names, rows = list(front.get("columns") or []), list(front.get("rows") or [])
    shown = _axis(names, targets)
    if not rows or shown is None or "score" not in names:
        return None
    if isinstance(rows[0], Mapping):
        rows = [[row.get(name) for name in names] for row in rows]
    rows = [row for row in rows if _is_number(row[names.index(shown)]) and _is_number(row[names.index("score")])]
    if len(rows) < 2:
        return None
    numeric = [i for i in range(len(names)) if all(_is_number(row[i]) for row in rows)]
    x, y = numeric.index(names.index(shown)), numeric.index(names.index("score"))
    points = sorted(([row[i] for i in numeric] for row in rows), key=lambda row: (row[x], row[y]))
    quantities = [quantity_of(names[i]) for i in numeric]
    plain = [quantity_of(names[i].partition("@")[0]).label for i in numeric]
    marks = []
    for item, target in zip(members, targets):
        cost = item.cost(shown)
        if cost is not None:
            limits = [budget["limit"] for budget in target.get("budgets") or [] if _names(budget, shown)]
            marks.append(
                {
                    "member": item.number,
                    "name": item.name,
                    "x": cost,
                    "y": item.score,
                    "limit": limits[0] if limits else None,
                }
            )
    return {
        "x": x, "y": y, "rows": _thinned(points), "marks": marks,
        "columns": [
            # the device is named where several have a column
            {"label": q.label, "name": name if plain.count(name) == 1 else q.label, "scale": q.scale, "unit": q.unit,
             "digits": q.digits}
            for q, name in zip(quantities, plain)
        ],
    }  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _axis(names: Sequence[str], targets: Sequence[Data]) -> str | None:
    """The cost that the front is drawn over: a budgeted one, latencies first."""
    budgeted = [key for target in targets for budget in target.get("budgets") or [] for key in _keys(budget)]
    candidates = [key for key in budgeted if key in names] + [name for name in names if name != "score"]
    latencies = [name for name in candidates if name.startswith("latency_ms")]
    return next(iter(latencies + candidates), None)


def _keys(budget: Data) -> list[str]:
    quantity, device = budget.get("quantity", ""), budget.get("device")
    return [budget.get("key") or quantity, f"{quantity}@{device}" if device else quantity, quantity]


def _names(budget: Data, key: str) -> bool:
    return key in _keys(budget)


def _thinned(points: list[list[float]]) -> list[list[float]]:
    """At most MAX_POINTS, evenly taken; the last one always stays."""
    step = -(-len(points) // MAX_POINTS)
    return points[::step] + ([points[-1]] if (len(points) - 1) % step else [])


def _curves(item: NetworkSection, target: Data) -> dict[str, Any]:
    history = [
        [point["evaluations"], point["best_score"]]
        for point in target.get("history") or []
        if point.get("best_score") is not None
    ]
    return {
        "name": item.name,
        "history": _thinned(history) if history else [],
        "bound": item.bound,
        "score": item.score,
    }


def _commands(given: Any, members: Sequence[NetworkSection]) -> list[dict[str, str]]:
    """Commands to go on, each with what it does where that is known."""
    if isinstance(given, Mapping):
        return [{"says": str(key), "line": str(line)} for key, line in given.items()]
    lines = [str(item) for item in given or []]
    if not lines:
        lines = [f"tinynas train {item.structure_file} --data DIR" for item in members if item.structure_file]
    said = {
        "train": "Train it on your data", "export": "Export the trained checkpoint", "explain": "See it op by op",
        "profile": "Measure this machine's own latency table", "compare": "Put it beside others", "eval": "Evaluate",
        "predict": "Detect in pictures",
    }  # fmt: skip
    return [{"says": said.get([*line.split(), "", ""][1], ""), "line": line} for line in lines]

"""From budgets to structure.txt: resolve settings, evolve, write what was found."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import tinynas
from latency_tables import Prediction, Table, predict
from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.files import write_text
from search_spaces.space import Space
from search_spaces.structure import Structure
from search_spaces.text import format_structure
from tinynas.budgets import NAMES, Budget, show
from tinynas.evolution import Pool, SearchSettings, evolve
from tinynas.objective import Objective
from tinynas.pictures import SearchTrace, draw_network, draw_search, scope_of
from tinynas.population import Encoding

OUTPUTS = ["structure.txt", "search.json", "search.png", "network.png"]


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """Everything that decides a search's result."""

    space: Space
    space_name: str
    table: Table | None
    budgets: tuple[Budget, ...]
    image_size: tuple[int, int]
    num_classes: int
    settings: SearchSettings


@dataclass(slots=True)
class SearchResult:
    """The best structure, with the history of the search. `interrupted`: Ctrl-C came before all evaluations."""

    plan: SearchPlan
    structure: Structure
    score: float
    prediction: Prediction | None
    pool: Pool
    history: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False


def run_search(plan: SearchPlan, progress: Callable[[Pool], None] = lambda pool: None) -> SearchResult:
    """Search, calling `progress` after every generation. Ctrl-C ends it early with the best so far.

    Raises UserError when a budget is out of reach, saying what range is reachable.
    """
    encoding = Encoding(plan.space, plan.image_size, plan.num_classes)
    objective = Objective(encoding, plan.budgets, plan.table)
    check_reachable(objective, plan)
    history: list[dict[str, Any]] = []
    interrupted, pool = False, None
    try:
        for pool in evolve(objective, plan.settings):
            best = {str(quantity): float(values[0]) for quantity, values in pool.evaluation.costs.items()}
            score = pool.best_score if pool.feasible else None
            history.append({"evaluations": pool.evaluated, "best_score": score, **best})
            progress(pool)
    except KeyboardInterrupt:
        interrupted = True
    if pool is None:
        raise KeyboardInterrupt
    if not pool.feasible:
        raise UserError(
            f"nothing in space {plan.space_name} met {_join(plan.budgets)} in {pool.evaluated:,} candidates; the nearest "
            f"had {_costs_text(pool)}; loosen a budget, or raise --evaluations"
        )
    structure = encoding.single(pool.genes)
    prediction = predict(emit_detector(structure), plan.table) if plan.table is not None else None
    result = SearchResult(plan, structure, pool.best_score, prediction, pool, history, interrupted)
    result.structure = replace(structure, search=provenance(result))
    return result


def check_reachable(objective: Objective, plan: SearchPlan) -> None:
    """Raises UserError when even the smallest candidate of the space exceeds a budget."""
    smallest = objective.evaluate(objective.encoding.corner(largest=False))
    largest = objective.evaluate(objective.encoding.corner(largest=True))
    for budget in plan.budgets:
        low, high = smallest.costs[budget.quantity][0], largest.costs[budget.quantity][0]
        if low > budget.limit:
            on = f" on {plan.table.id}" if plan.table is not None and budget.quantity == "latency_ms" else ""
            height, width = plan.image_size
            raise UserError(
                f"budget {budget}: nothing in space {plan.space_name} meets it; with {plan.num_classes} classes at "
                f"{height}x{width}{on} the reachable range is {show(budget.quantity, low)} to "
                f"{show(budget.quantity, high)}; raise the budget, lower --image-size, or take another --space"
            )


def provenance(result: SearchResult) -> dict[str, Any]:
    """The structure file's `search:` block: enough to repeat the search, no time stamps."""
    plan = result.plan
    block: dict[str, Any] = {
        "tool": f"tinynas {tinynas.__version__}",
        "space": plan.space_name,
        "budgets": {budget.quantity: _plain(budget.limit) for budget in plan.budgets},
        "seed": plan.settings.seed,
        "evaluations": result.pool.evaluated,
        "population": plan.settings.population,
        "score": round(result.score, 6),
    }
    if plan.table is not None and result.prediction is not None:
        block["device"] = plan.table.id
        block["table_sha256"] = plan.table.hash
        block["predicted_ms"] = round(result.prediction.total_ms, 4)
        block["measured_ms"] = None
    return block


def write_result(result: SearchResult, folder: Path) -> None:
    """structure.txt, search.json and the two pictures."""
    write_text(folder / "structure.txt", format_structure(result.structure))
    write_text(folder / "search.json", json.dumps(report(result), indent=1) + "\n")
    pool, plan = result.pool, result.plan
    shown = next((b for b in plan.budgets if b.quantity == "latency_ms"), plan.budgets[0])
    name, scale, unit = NAMES[shown.quantity]
    within = pool.evaluation.excess <= 0
    found = [row for row in result.history if row["best_score"] is not None]
    trace = SearchTrace(
        [row["evaluations"] for row in found], [row["best_score"] for row in found], pool.evaluation.score[within],
        pool.evaluation.costs[shown.quantity][within] / scale, f"{name} [{unit}]" if unit else name, shown.limit / scale,
    )  # fmt: skip
    draw_search(trace, folder / "search.png")
    graph = emit_detector(result.structure)
    title = f"{plan.space_name}, {' x '.join(map(str, plan.image_size))}, score {result.score:.1f}"
    if result.prediction is not None and plan.table is not None:
        title += f", {result.prediction.total_ms:.2f} ms predicted on {plan.table.id}"
        draw_network(result.structure, graph, latency_by_scope(result.prediction), title, folder / "network.png")
    else:
        macs: dict[str, float] = {}
        for op in graph:
            if op.kind == "conv":
                scope = scope_of(op.path)
                macs[scope] = macs.get(scope, 0.0) + float(costs.op_macs(graph, op)) / 1e9
        draw_network(result.structure, graph, macs, title, folder / "network.png", "conv GMACs")


def latency_by_scope(prediction: Prediction) -> dict[str, float]:
    """Milliseconds per drawn scope (`stem`, `stage1`, ... `head`), and the fixed `overhead`."""
    scopes: dict[str, float] = {}
    for item in prediction.sites:
        scope = scope_of(item.site.path)
        scopes[scope] = scopes.get(scope, 0.0) + item.latency_ms
    return {**scopes, "overhead": prediction.overhead_ms}


def report(result: SearchResult) -> dict[str, Any]:
    """The content of search.json."""
    plan, prediction = result.plan, result.prediction
    graph = emit_detector(result.structure)
    data: dict[str, Any] = {
        "tool": f"tinynas {tinynas.__version__}",
        "settings": {
            "space": plan.space.model_dump(mode="json"),
            "budgets": {budget.quantity: budget.limit for budget in plan.budgets},
            "image_size": list(plan.image_size),
            "num_classes": plan.num_classes,
            **asdict(plan.settings),
        },
        "interrupted": result.interrupted,
        "score": result.score,
        "costs": {
            "params_deploy": costs.params(graph),
            "conv_macs": costs.conv_macs(graph),
            "layers": costs.layers(graph),
            "peak_memory_bytes": costs.peak_memory_bytes(graph),
        },
        "generations": result.history,
    }
    if prediction is not None and plan.table is not None:
        data["table"] = {"id": plan.table.id, "sha256": plan.table.hash, "source": Path(plan.table.source).name}
        data["latency_ms"] = {
            "total": prediction.total_ms, **prediction.parts, "overhead": prediction.overhead_ms,
            "shares": prediction.shares,
        }  # fmt: skip
    return data


def _join(budgets: Sequence[Budget]) -> str:
    return ", ".join(str(budget) for budget in budgets)


def _costs_text(pool: Pool) -> str:
    return ", ".join(f"{NAMES[q][0]} {show(q, float(values[0]))}" for q, values in pool.evaluation.costs.items())


def _plain(value: float) -> int | float:
    return int(value) if math.isfinite(value) and value == np.floor(value) else value

"""A candidate that a search settled on: its account, and the provenance that its structure file carries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import tinynas
from search_spaces.plugins import load_plugin
from tinynas.account import Account, account
from tinynas.budgets import Target
from tinynas.evolution.loop import SearchSettings
from tinynas.genes.layout import Genes
from tinynas.quantities import QUANTITIES
from tinynas.search.plan import FoundNetwork, SearchPlan


def found_network(plan: SearchPlan, target: Target, genes: Genes, score: float) -> FoundNetwork:
    """A found candidate with its full account. Raises UserError when a table does not cover it."""
    structure = plan.encoding().single(genes)
    graph = plan.graph(structure)
    found = account(graph, plan.tables)
    counted: dict[str, float] = dict(found.counted())
    for budget in target.budgets:
        count = QUANTITIES[budget.quantity].count
        if budget.quantity not in counted and count is not None:
            counted[budget.quantity] = count(graph)
    costs = {key: float(value) for key, value in counted.items()} | found.latency_ms() | _neck_ms(found, target)
    return FoundNetwork(target=target, genes=genes, structure=structure, score=score, costs=costs, account=found)


def _neck_ms(found: Account, target: Target) -> dict[str, float]:
    """The neck's latency by key of the budgets that limit it."""
    limited = [budget for budget in target.budgets if budget.quantity == "neck_ms"]
    return {budget.key: found.latency[budget.device].parts["neck"] for budget in limited}


def note_provenance(plan: SearchPlan, member: FoundNetwork, evaluated: int, solver: str = "evolution") -> None:
    """Write into a network's structure where it came from, anew whenever more is known of it."""
    member.structure = replace(member.structure, search=_provenance(plan, member, evaluated, solver))


def _provenance(plan: SearchPlan, member: FoundNetwork, evaluated: int, solver: str) -> dict[str, Any]:
    """The structure file's `search:` block: enough to repeat the search (or the origin of a network that is not its outcome),
    no time stamps."""
    alone = len(plan.tables) == 1
    block: dict[str, Any] = {
        "tool": f"tinynas {tinynas.__version__}",
        "space": plan.space.name,
        "budgets": {b.quantity if alone else b.key: _plain(b.limit) for b in member.target.budgets},
        **(_found_by(plan, evaluated, solver) if member.origin is None else {"origin": member.origin}),
        "score": round(member.score, 6),
    }
    if member.ranked is not None:
        block["ranked_by_training"] = member.ranked
    if plan.space.score.kind != "entropy":
        block["score_kind"] = plan.space.score.kind
    weights = plan.space.score.weights
    if weights and weights != getattr(load_plugin("tinynas.scores", plan.space.score.kind), "WEIGHTS", ()):
        block["score_weights"] = list(weights)
    if plan.backbone_only:
        block["priced"] = "convs of the backbone" if plan.convs_only else "backbone"
    if plan.tables:
        keys = ("device", "table_sha256", "predicted_ms", "prediction", "measured_ms")
        figures: dict[str, dict[str, Any]] = {key: {} for key in keys}
        for name, table in plan.tables.items():
            figures["device"][name] = name
            figures["table_sha256"][name] = table.hash
            timed = (member.measured or {}).get(name)
            figures["predicted_ms"][name] = round(
                timed["predicted_ms"] if timed else member.account.latency[name].total_ms, 4
            )
            figures["prediction"][name] = member.account.trust[name].record
            figures["measured_ms"][name] = round(timed["measured_ms"], 4) if timed else None
        block |= {
            key: next(iter(by.values())) if alone else by for key, by in figures.items() if alone or key != "device"
        }
    return block


def _found_by(plan: SearchPlan, evaluated: int, solver: str) -> dict[str, Any]:
    if solver == "exact":
        return {"solver": solver}
    found = {"seed": plan.settings.seed, "evaluations": evaluated, "population": plan.settings.population}
    islands = plan.settings.islands
    return found if islands == SearchSettings().islands else found | {"islands": islands}


def _plain(value: float) -> int | float:
    return int(value) if np.isfinite(value) and value == np.floor(value) else value

"""The content of search.json: what was asked, what was found, and how, for people's scripts and for the report page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import tinynas
from latency_tables import Prediction, Table, Trust, trust_of
from latency_tables.registry import SHIPPED, user_folder
from search_spaces.plugins import load_plugin
from tinynas.budgets import Budget
from tinynas.published import neck_share
from tinynas.quantities import QUANTITIES
from tinynas.results.drawing import scope_of
from tinynas.results.families import next_commands, structure_files
from tinynas.results.report.network import is_best
from tinynas.search.plan import FoundNetwork, SearchPlan, SearchResult

LIMITS = {
    "layers": "--max-layers", "params": "--max-params", "conv_macs": "--max-macs", "peak_memory_bytes": "--max-memory",
    "effectiveness": "--max-effectiveness",
}  # fmt: skip
"""By quantity, the option that limits it."""
NEAR = 0.85
"""Share of a limit on what is no sum over stages, as memory, from which on it may be what binds: it comes in large steps."""
UNUSED = 0.97
"""Share of a latency budget below which a person is told that the rest goes unused."""


def settings_data(plan: SearchPlan) -> dict[str, Any]:
    """All that decides a search's result, as plain values; a resume is held against it."""
    limits = {target.name: {b.key: b.limit for b in target.budgets} for target in plan.targets}
    return {
        "tool": f"tinynas {tinynas.__version__}",
        "space": plan.space.model_dump(mode="json"),
        "budgets": limits if len(limits) > 1 else next(iter(limits.values())),
        "tables": {name: table.hash for name, table in plan.tables.items()},
        "image_size": list(plan.image_size),
        **({"frames": [frame.data() for frame in plan.frames]} if plan.frames else {}),
        "num_classes": plan.num_classes,
        "backbone_only": plan.backbone_only,
        "convs_only": plan.convs_only,
        **asdict(plan.settings),
    }


def search_data(result: SearchResult, folder: Path) -> dict[str, Any]:
    """The whole of search.json. `folder`: where the structure files lie, for the commands to go on with."""
    files = structure_files(result.members)
    rate = result.evaluated_now / result.seconds if result.seconds > 0 else 0.0
    return {
        "tool": f"tinynas {tinynas.__version__}",
        "settings": settings_data(result.plan),
        "targets": [member_data(result.plan, m, file) for m, file in zip(result.members, files, strict=True)],
        **({"frames": result.frames} if result.frames else {}),
        "front": {"columns": list(result.front.columns), "rows": [list(row) for row in result.front.rows]},
        "evaluations": result.evaluated,
        "interrupted": result.interrupted,
        "seconds": round(result.seconds, 3),
        "candidates_per_second": round(rate),
        "notes": [
            *result.plan.notes, *(note for member in result.members for note in notes(result.plan, member)), *result.notes,
        ],
        "commands": next_commands(result.members, folder, [device_of(table) for table in result.plan.tables.values()]),
    }  # fmt: skip


def device_of(table: Table) -> str:
    """What `--device` has to say to mean this table: its id, or the path where tinynas does not look for tables."""
    folders = (user_folder().resolve(), SHIPPED.resolve())
    return table.id if Path(table.source).resolve().parent in folders else table.source


def notes(plan: SearchPlan, member: FoundNetwork) -> list[str]:
    """What a person should know about a network that does not use its latency budget up: how sure it is that none does
    better, and what else limits it."""
    found = []
    latencies = [budget for budget in member.target.budgets if budget.quantity == "latency_ms"]
    if latencies and all(member.costs[budget.key] < UNUSED * budget.limit for budget in latencies):
        budget = min(latencies, key=lambda b: b.limit / member.costs[b.key])
        proven = member.certified is not None and is_best(member.certified)
        space = f"space {plan.space.name}"
        best = f"the best that {space} has for" if proven else f"what was found in {space} for"
        binding = [
            f"raise {LIMITS[b.quantity]} ({QUANTITIES[b.quantity].brief(b.limit)})" for b in member.target.budgets
            if b.quantity in LIMITS
            and member.costs.get(b.key, 0.0) >= (UNUSED if QUANTITIES[b.quantity].additive else NEAR) * b.limit
        ]  # fmt: skip
        more = [] if proven or binding else ["look at more candidates (--evaluations)"]
        found.append(
            f"{best} {member.target.name} takes {member.costs[budget.key]:.2f} ms only; "
            f"{', or '.join([*binding, *more, 'take a larger --image-size or another --space'])}"
        )
    return found


def member_data(plan: SearchPlan, member: FoundNetwork, file: str) -> dict[str, Any]:
    """One target's network."""
    return {
        "name": member.target.name,
        "budgets": [budget_data(budget) for budget in member.target.budgets],
        "structure_file": file,
        **({"frame": member.frame.data()} if member.frame is not None else {}),
        "score": member.score,
        "costs": member.costs,
        "latency": {
            name: latency_data(prediction, prediction_trust(plan, member, name))
            for name, prediction in member.account.latency.items()
        },
        "neck_share": neck_shares(plan, member),
        "entropy_by_scope": entropy_by_scope(plan, member),
        "history": member.history,
        "certified": member.certified,
        "measured": member.measured,
    }


def neck_shares(plan: SearchPlan, member: FoundNetwork) -> dict[str, Any]:
    """By table: the neck's share of the latency, and beside it that of the published detector of the same block whose latency
    is the most similar (None where the table prices none); empty for a backbone alone."""
    if plan.backbone_only:
        return {}
    return {
        name: neck_share(prediction, plan.tables[name], member.structure)
        for name, prediction in member.account.latency.items()
    }


def prediction_trust(plan: SearchPlan, member: FoundNetwork, table_id: str) -> Trust:
    """How far to trust a member's predicted latency: its table's, corrected where the search measured and went on."""
    row = (member.measured or {}).get(table_id) or {}
    if row.get("rounds", 1) == 1:
        return member.account.trust[table_id]
    return trust_of(plan.tables[table_id].metadata, member.account.latency[table_id].shares, row["candidates"])


def budget_data(budget: Budget) -> dict[str, Any]:
    """A budget as plain values."""
    return {"quantity": budget.quantity, "limit": budget.limit, "device": budget.device, "key": budget.key}


def latency_data(prediction: Prediction, trust: Trust) -> dict[str, Any]:
    """A predicted latency in ms: total, by part, by drawn scope, where the figures come from, and how far to trust them."""
    return {
        "total": prediction.total_ms,
        "parts": prediction.parts,
        "overhead": prediction.overhead_ms,
        "shares": prediction.shares,
        "by_scope": latency_by_scope(prediction),
        "trust": trust.data(),
    }


def latency_by_scope(prediction: Prediction) -> dict[str, float]:
    """Milliseconds per drawn scope (`stem`, `stage1`, ... `head`), and the fixed `overhead`."""
    scopes: dict[str, float] = {}
    for item in prediction.sites:
        scope = scope_of(item.site.path)
        scopes[scope] = scopes.get(scope, 0.0) + item.latency_ms
    return {**scopes, "overhead": prediction.overhead_ms}


def entropy_by_scope(plan: SearchPlan, member: FoundNetwork) -> dict[str, float]:
    """What each drawn scope adds to the score; empty for a score that is not a sum."""
    plugin = load_plugin("tinynas.scores", plan.space.score.kind)
    if not hasattr(plugin, "gains"):
        return {}
    scopes: dict[str, float] = {}
    for path, gain in plugin.gains(plan.graph(member.structure), plan.space.score.weights):
        scope = scope_of(path)
        scopes[scope] = scopes.get(scope, 0.0) + float(gain)
    return scopes

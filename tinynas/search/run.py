"""From a plan to the best network per target: evolve (or solve), certify, and account for what was found."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import tinynas
from latency_tables import Prediction, Table, predict, trust_of
from search_spaces import costs
from search_spaces.emit import emit_backbone, emit_detector
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.plugins import load_plugin
from search_spaces.space import Space
from search_spaces.structure import Structure
from tinynas.budgets import NAMES, Budget, Target, show
from tinynas.evolution.engine import Engine
from tinynas.evolution.loop import SearchSettings, evolve
from tinynas.evolution.state import SearchState
from tinynas.exact.solver import ADDITIVE, least
from tinynas.genes.population import Encoding, Genes
from tinynas.pricing.objective import Objective
from tinynas.results.families import FrontTable, front_table
from tinynas.search.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """Everything that decides a search's result. `tables` by id: as the search sees them (for a backbone alone without
    the fixed overhead, with `convs_only` everything but convs free). `notes`: what the person should know of it."""

    space: Space
    tables: Mapping[str, Table]
    targets: tuple[Target, ...]
    image_size: tuple[int, int]
    num_classes: int
    settings: SearchSettings
    backbone_only: bool = False
    convs_only: bool = False
    notes: tuple[str, ...] = ()

    def encoding(self) -> Encoding:
        return Encoding(self.space, self.image_size, self.num_classes)

    def objective(self) -> Objective:
        budgets = [target.budgets for target in self.targets]
        return Objective(self.encoding(), budgets, self.tables, backbone_only=self.backbone_only)

    def graph(self, structure: Structure) -> Graph:
        """What is counted: the whole detector, or its backbone alone."""
        return emit_backbone(structure) if self.backbone_only else emit_detector(structure)


@dataclass(slots=True)
class Member:
    """One target's network. `genes` (GENES, 1); `costs` by budget key and the usual others; `predictions` by table id;
    `measured` and `certified` as they go into search.json (None: not asked for)."""

    target: Target
    genes: Genes
    structure: Structure
    score: float
    costs: dict[str, float]
    predictions: dict[str, Prediction]
    history: list[dict[str, Any]] = field(default_factory=list)
    certified: dict[str, Any] | None = None
    measured: dict[str, Any] | None = None


@dataclass(slots=True)
class SearchResult:
    """The members, smallest budget first, and the Pareto front. `interrupted`: Ctrl-C came before all evaluations;
    `seconds`: of the search itself, in which `evaluated_now` candidates were looked at
    (a resumed search began with others). `notes`: what the person should know of what was found."""

    plan: SearchPlan
    members: list[Member]
    front: FrontTable
    evaluated: int
    evaluated_now: int = 0
    interrupted: bool = False
    seconds: float = 0.0
    state: SearchState | None = None
    notes: list[str] = field(default_factory=list)


def run_search(
    plan: SearchPlan, engine: Engine | None = None, run: RunFolder | None = None, *, resume: bool = False, part: int = 0
) -> SearchResult:
    """Evolve until all evaluations are spent; `run` keeps the state of this `part` of a session for a resume. Ctrl-C
    ends it early with the best so far. Raises UserError when a target's budgets were never met."""
    engine = engine or Engine()
    path = run.state_path(part) if run is not None else None
    state = SearchState.load(path) if path is not None and resume and path.exists() else None
    start, before = time.monotonic(), state.evaluated if state is not None else 0
    interrupted = False
    try:
        epochs = evolve(plan.objective(), plan.settings, state=state, workers=engine.workers, backend=engine.backend)
        for state in epochs:
            if run is not None and path is not None and run.due():
                _save(state, path)
            engine.progress(state)
    except KeyboardInterrupt:
        interrupted = True
    if state is None:
        raise KeyboardInterrupt
    seconds = time.monotonic() - start
    if path is not None:
        _save(state, path)
    return _result(plan, state, interrupted, seconds, before)


def _save(state: SearchState, path: Path) -> None:
    """Save for a resume. A disk that is full for the moment does not end the search."""
    try:
        state.save(path)
    except OSError as error:
        warnings.warn(f"{path}: cannot be written ({error.strerror}); the search goes on", stacklevel=2)


def _result(plan: SearchPlan, state: SearchState, interrupted: bool, seconds: float, before: int) -> SearchResult:
    members = []
    for number, target in enumerate(plan.targets):
        pool = state.pool(number)
        if not pool.feasible:
            near = {key: float(values[0]) for key, values in pool.costs.items()}
            raise UserError(
                f"nothing in space {plan.space.name} met {join_budgets(target.budgets)} in {state.evaluated:,} "
                f"candidates; the nearest had {costs_text(near)}; loosen a budget, or raise --evaluations"
            )
        member = make_member(plan, target, pool.genes[:, :1], pool.best_score)
        member.history = [dict(row) for row in state.history[number]]
        members.append(member)
    for member in members:
        member.structure = replace(member.structure, search=provenance(plan, member, state.evaluated))
    front = front_table(plan, state.front.key, *state.front.members())
    now = state.evaluated - before
    return SearchResult(plan, members, front, state.evaluated, now, interrupted, seconds, state)


def make_member(plan: SearchPlan, target: Target, genes: Genes, score: float) -> Member:
    """A found candidate with its full account. Raises UserError when a table does not cover it."""
    structure = plan.encoding().single(genes)
    graph = plan.graph(structure)
    predictions = {name: predict(graph, table) for name, table in plan.tables.items()}
    account = {
        "params": float(costs.params(graph)),
        "conv_macs": float(costs.conv_macs(graph)),
        "layers": float(costs.layers(graph)),
        "peak_memory_bytes": float(costs.peak_memory_bytes(graph)),
    }
    if any(budget.quantity == "effectiveness" for budget in target.budgets):
        deepmad = load_plugin("tinynas.scores", "deepmad")
        account["effectiveness"] = float(deepmad.effectiveness(graph))
    account |= {f"latency_ms@{name}": prediction.total_ms for name, prediction in predictions.items()}
    return Member(target, genes, structure, score, account, predictions)


def check_reachable(plan: SearchPlan) -> None:
    """Raises UserError when no candidate of the space is within one of the budgets."""
    objective = plan.objective()
    encoding = objective.encoding
    smallest = objective.evaluate(encoding.corner(largest=False)).costs
    largest = objective.evaluate(encoding.corner(largest=True)).costs
    for budget in (budget for target in plan.targets for budget in target.budgets):
        if budget.quantity == "effectiveness":  # a ratio: lowest at neither end of the space
            continue
        low, high = sorted((float(smallest[budget.key][0]), float(largest[budget.key][0])))
        if low > budget.limit and budget.quantity in ADDITIVE:
            low = least(encoding, budget, plan.tables, backbone_only=plan.backbone_only)
        if low > budget.limit:
            on = f" on {budget.device}" if budget.device else ""
            height, width = plan.image_size
            what = "the backbone alone" if plan.backbone_only else f"{plan.num_classes} classes"
            raise UserError(
                f"budget {budget}: nothing in space {plan.space.name} meets it; with {what} at {height}x{width}{on} the "
                f"reachable range is {show(budget.quantity, low)} to {show(budget.quantity, high)}; raise the budget, "
                "lower --image-size, or take another --space"
            )


def provenance(plan: SearchPlan, member: Member, evaluated: int, solver: str = "evolution") -> dict[str, Any]:
    """The structure file's `search:` block: enough to repeat the search, no time stamps."""
    alone = len(plan.tables) == 1
    block: dict[str, Any] = {
        "tool": f"tinynas {tinynas.__version__}",
        "space": plan.space.name,
        "budgets": {b.quantity if alone else b.key: _plain(b.limit) for b in member.target.budgets},
        **_found_by(plan, evaluated, solver),
        "score": round(member.score, 6),
    }
    if plan.space.score.kind != "entropy":
        block["score_kind"] = plan.space.score.kind
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
                timed["predicted_ms"] if timed else member.predictions[name].total_ms, 4
            )
            figures["prediction"][name] = trust_of(table.metadata, member.predictions[name].shares).record
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


def join_budgets(budgets: Sequence[Budget]) -> str:
    """`latency 3.8 ms, layers 25`."""
    return ", ".join(f"{budget} on {budget.device}" if budget.device else str(budget) for budget in budgets)


def costs_text(values: Mapping[str, float]) -> str:
    """`latency 4.1 ms, layers 27`, from values by budget key."""
    found = []
    for key, value in values.items():
        quantity = next(name for name in NAMES if key.split("@")[0] == name)
        found.append(f"{NAMES[quantity][0]} {show(quantity, value)}")
    return ", ".join(found)


def _plain(value: float) -> int | float:
    return int(value) if np.isfinite(value) and value == np.floor(value) else value

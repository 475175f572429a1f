"""From a plan to the best network per target: evolve (or solve), certify, and account for what was found."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from latency_tables.predictor import MAX_EXTRAPOLATED
from search_spaces.errors import UserError
from tinynas.budgets import Budget
from tinynas.evolution.engine import Engine
from tinynas.evolution.loop import evolve
from tinynas.evolution.state import SearchState
from tinynas.exact.solver import least
from tinynas.quantities import QUANTITIES
from tinynas.search.coverage import extrapolated_share
from tinynas.search.folder import SearchFolder
from tinynas.search.found import found_network, note_provenance
from tinynas.search.front import front_table
from tinynas.search.plan import SearchPlan, SearchResult


class OutOfReach(UserError):
    """No network of a space is within the budgets, or none was found."""


def run_search(
    plan: SearchPlan, engine: Engine | None = None, run: SearchFolder | None = None, *,
    resume: bool = False, part: int = 0,
) -> SearchResult:  # fmt: skip
    """Evolve until all evaluations are spent; `run` keeps the state of this `part` of a session for a resume. Ctrl-C
    ends it early with the best so far, if there is one. Raises UserError when a target's budgets were never met
    (OutOfReach)."""
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
        if not pool.feasible and interrupted:
            raise KeyboardInterrupt
        if not pool.feasible:
            near = {key: float(values[0]) for key, values in pool.costs.items()}
            raise OutOfReach(
                f"nothing in space {plan.space.name} met {join_budgets(target.budgets)} in {state.evaluated:,} "
                f"candidates; the nearest had {costs_text(near)}; loosen a budget, or raise --evaluations"
            )
        member = found_network(plan, target, pool.genes[:, :1], pool.best_score)
        member.history = [dict(row) for row in state.history[number]]
        note_provenance(plan, member, state.evaluated)
        members.append(member)
    return SearchResult(
        plan=plan, members=members, front=front_table(plan, state.front.key, *state.front.members()),
        evaluated=state.evaluated, evaluated_now=state.evaluated - before, interrupted=interrupted, seconds=seconds,
        state=state,
    )  # fmt: skip


def check_reachable(plan: SearchPlan) -> None:
    """Raises OutOfReach when no candidate of the space is within one of the budgets."""
    objective = plan.objective()
    encoding = objective.encoding
    smallest = objective.evaluate(encoding.corner(largest=False)).costs
    largest = objective.evaluate(encoding.corner(largest=True)).costs
    for budget in (budget for target in plan.targets for budget in target.budgets):
        quantity = QUANTITIES[budget.quantity]
        if not quantity.rising:
            continue
        low, high = sorted((float(smallest[budget.key][0]), float(largest[budget.key][0])))
        if low > budget.limit and quantity.additive:
            low = least(encoding, budget, plan.tables, backbone_only=plan.backbone_only)
        if low > budget.limit:
            on = f" on {budget.device}" if budget.device else ""
            height, width = plan.image_size
            what = "the backbone alone" if plan.backbone_only else f"{plan.num_classes} classes"
            reach = f"{quantity.brief(low)} to {quantity.brief(high)}"
            beyond = extrapolated_share(plan, budget.device) if budget.device in plan.tables else 0.0
            said = (
                f"range is {reach}, but {beyond:.0%} of the smallest network's latency lies beyond what the table covers "
                f"(at most {MAX_EXTRAPOLATED:.0%} may); take an image size that it covers, or profile it further"
                if beyond > MAX_EXTRAPOLATED
                else f"reachable range is {reach}; raise the budget, lower --image-size, or take another --space"
            )
            raise OutOfReach(
                f"budget {budget}: nothing in space {plan.space.name} meets it; with {what} at {height}x{width}{on} the "
                + said
            )


def join_budgets(budgets: Sequence[Budget]) -> str:
    """`latency 3.8 ms, layers 25`."""
    return ", ".join(f"{budget} on {budget.device}" if budget.device else str(budget) for budget in budgets)


def costs_text(values: Mapping[str, float]) -> str:
    """`latency 4.1 ms, layers 27`, from values by budget key."""
    quantities = {key: QUANTITIES[key.partition("@")[0]] for key in values}
    return ", ".join(f"{quantities[key].label} {quantities[key].brief(value)}" for key, value in values.items())

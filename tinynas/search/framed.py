"""A search over image sizes and necks: each frame by itself, then the best of all, with one proof over all of them.

Where score and budgets are sums over stages, each frame is solved exactly, and a frame whose bound is not above what another
one has is given up at once. Elsewhere each frame is evolved, with an equal share of the evaluations.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from search_spaces.errors import UserError
from tinynas.budgets import Budget, Target, main_budget
from tinynas.evolution.engine import Engine
from tinynas.exact.solver import PROVEN, Certificate, improve, priced
from tinynas.genes.layout import Genes
from tinynas.pricing.additive_costs import AdditiveCosts
from tinynas.pricing.columns import is_additive
from tinynas.quantities import QUANTITIES
from tinynas.search.folder import SearchFolder
from tinynas.search.found import found_network, note_provenance
from tinynas.search.front import front_table
from tinynas.search.plan import FoundNetwork, Frame, FrontTable, SearchPlan, SearchResult
from tinynas.search.proof import with_bar
from tinynas.search.run import OutOfReach, check_reachable, join_budgets, run_search

NO_SCORE = 0.0
"""No score that is a sum over convs is below."""


@dataclass(slots=True, kw_only=True)
class _Best:
    """What is known of one target: the best network so far (genes (GENES, 1), in which frame), and the highest bound of the
    frames looked at."""

    score: float = NO_SCORE
    genes: Genes | None = None
    frame: Frame | None = None
    bound: float = -np.inf
    history: list[dict[str, Any]] = field(default_factory=list)

    def offer(self, score: float, genes: Genes, frame: Frame) -> bool:
        """Take what is better; whether it was."""
        if self.genes is not None and score <= self.score:
            return False
        self.score, self.genes, self.frame = score, genes, frame
        return True


def is_solvable(plan: SearchPlan) -> bool:
    """Whether every frame of a plan can be solved exactly."""
    budgets = [budget for target in plan.targets for budget in target.budgets]
    return is_additive(plan.space.score.kind) and all(QUANTITIES[budget.quantity].additive for budget in budgets)


def search_frames(
    plan: SearchPlan, engine: Engine, run: SearchFolder | None, *, seconds: float, resume: bool = False
) -> SearchResult:
    """The best network of every target in any of the plan's frames. `seconds`: limit of the solver per frame and target.

    Ctrl-C ends it with the best so far. Raises UserError when a target's budgets can be met in none of the frames.
    """
    begin = time.monotonic()
    best = [_Best() for _ in plan.targets]
    rows: dict[Frame, dict[str, Any]] = {}
    evaluated, interrupted, solvable = 0, False, is_solvable(plan)
    try:
        if solvable:
            _solve_all(plan, best, rows, seconds)
        for part, frame in enumerate(with_bar([] if solvable else plan.frames, "frames", "frame")):
            result = _evolve(plan, frame, best, engine, run, resume=resume, part=part)
            rows[frame] = _row(plan, frame, result)
            evaluated += result.evaluated if result is not None else 0
            if result is not None and result.interrupted:
                raise KeyboardInterrupt
        if not solvable and is_additive(plan.space.score.kind):
            _bound(plan, best, seconds)
    except KeyboardInterrupt:
        interrupted = True
    members = _members(plan, best, interrupted)
    proven = not interrupted and is_additive(plan.space.score.kind)
    for member, own in zip(members, best, strict=True):
        if proven:
            member.certified = _certified(member, own.bound, time.monotonic() - begin)
        note_provenance(plan, member, evaluated, solver="exact" if solvable else "evolution")
    shown = [rows[frame] for frame in plan.frames if frame in rows]
    return SearchResult(
        plan=plan, members=members, front=_front(plan, members), evaluated=evaluated, evaluated_now=evaluated,
        interrupted=interrupted, seconds=time.monotonic() - begin, frames=shown,
    )  # fmt: skip


def _solve_all(plan: SearchPlan, best: Sequence[_Best], rows: dict[Frame, dict[str, Any]], seconds: float) -> None:
    """Solve every frame for all targets, and note what each has.

    The largest pictures come first: they have the most if they have anything, and what cannot add to it is soon given up.
    """
    costs: AdditiveCosts | None = None
    for frame in with_bar(sorted(plan.frames, key=lambda frame: frame.image_size, reverse=True), "frames", "frame"):
        encoding = plan.framed(frame).encoding()
        if costs is not None and costs.encoding.image_size == frame.image_size:
            costs = costs.with_neck(encoding)
        else:
            costs = priced(encoding, plan.targets[0].budgets, plan.tables, None, plan.backbone_only)
        rows[frame] = _solve(plan, frame, costs, best, seconds)


def _solve(
    plan: SearchPlan, frame: Frame, costs: AdditiveCosts, best: Sequence[_Best], seconds: float
) -> dict[str, Any]:
    """Solve one frame for all targets, as far as it can have more than what is known; its row of the account."""
    row = frame.data() | {"networks": {}}
    for target, known in zip(plan.targets, best, strict=True):
        found, bound = improve(costs, target.budgets, known.score, seconds)
        known.bound = max(known.bound, bound)
        if found is not None:
            known.offer(found.score, found.genes, frame)
        possible = found is not None or bound > NO_SCORE
        row["networks"][target.name] = {
            "score": found.score if found is not None else None, "bound": bound if possible else None,
        }  # fmt: skip
    return row


def _evolve(
    plan: SearchPlan, frame: Frame, best: Sequence[_Best], engine: Engine, run: SearchFolder | None, *, resume: bool,
    part: int,
) -> SearchResult | None:  # fmt: skip
    """Evolve one frame; None where one of the budgets cannot be met in it."""
    share = replace(plan.settings, evaluations=max(plan.settings.evaluations // len(plan.frames), 1))
    inside = replace(plan.framed(frame), settings=share)
    try:
        check_reachable(inside)
        result = run_search(inside, engine, run, resume=resume, part=part)
    except OutOfReach:
        return None
    for member, known in zip(result.members, best, strict=True):
        if known.offer(member.score, member.genes, frame):
            known.history = member.history
    return result


def _row(plan: SearchPlan, frame: Frame, result: SearchResult | None) -> dict[str, Any]:
    scores = [member.score for member in result.members] if result is not None else [None] * len(plan.targets)
    found = {target.name: {"score": score, "bound": None} for target, score in zip(plan.targets, scores, strict=True)}
    return frame.data() | {"networks": found}


def _bound(plan: SearchPlan, best: Sequence[_Best], seconds: float) -> None:
    """Bounds over all frames, without the budgets that are no sums over stages."""
    for frame in with_bar(plan.frames, "prove", "frame"):
        kept = [_additive(target) for target in plan.targets]
        costs = priced(plan.framed(frame).encoding(), kept[0], plan.tables, None, plan.backbone_only)
        for budgets, known in zip(kept, best, strict=True):
            _, bound = improve(costs, budgets, max(known.score, known.bound), seconds)
            known.bound = max(known.bound, bound)


def _additive(target: Target) -> list[Budget]:
    return [budget for budget in target.budgets if QUANTITIES[budget.quantity].additive]


def _certified(member: FoundNetwork, bound: float, seconds: float) -> dict[str, Any]:
    """As a certificate goes into search.json: the highest of the frames' bounds."""
    bound, kept = max(bound, member.score), _additive(member.target)
    dropped = [budget.key for budget in member.target.budgets if budget not in kept]
    gap = bound / member.score - 1.0
    return Certificate(
        bound=bound, gap_percent=100 * gap, exact=gap <= PROVEN and not dropped, dropped=dropped, seconds=seconds
    ).data()


def _members(plan: SearchPlan, best: Sequence[_Best], interrupted: bool) -> list[FoundNetwork]:
    """The networks; raises KeyboardInterrupt when there was no time for one, UserError when there is none."""
    members = []
    for target, known in zip(plan.targets, best, strict=True):
        if known.genes is None or known.frame is None:
            if interrupted:
                raise KeyboardInterrupt
            raise _nothing(plan, target)
        member = found_network(plan.framed(known.frame), target, known.genes, known.score)
        member.frame, member.history = known.frame, known.history
        members.append(member)
    return members


def _nothing(plan: SearchPlan, target: Target) -> UserError:
    """That no frame has a network within a target's budgets; check_reachable says what is within reach, where it is that."""
    smallest = min(plan.frames, key=lambda frame: frame.image_size)
    check_reachable(replace(plan.framed(smallest), targets=(target,)))
    return UserError(
        f"none of {len(plan.frames)} combinations of image size and neck has a network of space {plan.space.name} within "
        f"{join_budgets(target.budgets)}; loosen a budget, --neck-share or --image-size"
    )


def _front(plan: SearchPlan, members: Sequence[FoundNetwork]) -> FrontTable:
    """The members, where a larger budget brought a better score, with their frames."""
    key = main_budget(plan.targets[0]).key
    rows: list[tuple[float | int | str, ...]] = []
    columns: tuple[str, ...] = ()
    highest = -np.inf
    for member in members:
        if member.frame is None or member.score <= highest:
            continue
        frame, highest = member.frame, member.score
        score, cost = np.array([member.score]), np.array([member.costs[key]])
        table = front_table(plan.framed(frame), key, member.genes, score, cost)
        height, width = frame.image_size
        columns = (*table.columns, "image_size", "neck_depth")
        rows += [(*row, f"{height}x{width}", frame.neck.depth) for row in table.rows]
    return FrontTable(columns, tuple(rows))

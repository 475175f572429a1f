"""The exact solver's part in a search: the proven best per target, or a bound on how far a result can be from it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from search_spaces.errors import UserError
from tinynas.budgets import main_budget
from tinynas.exact.solver import Certificate, solve
from tinynas.exact.solver import certify as certificate
from tinynas.pricing.columns import is_additive
from tinynas.search.found import found_network, note_provenance
from tinynas.search.front import front_table
from tinynas.search.plan import FoundNetwork, FrontTable, SearchPlan, SearchResult

Item = TypeVar("Item")


def check_additive(plan: SearchPlan, *, exactly: bool) -> None:
    """Raises UserError when the exact solver (`exactly`) or a certificate does not apply to what the plan asks for."""
    kind = plan.space.score.kind
    what = "--solver exact" if exactly else "--certify"
    if not is_additive(kind):
        raise UserError(
            f"{what}: score {kind!r} is not a sum over stages, so that nothing can be proven; leave {what} out"
        )


def solve_exactly(plan: SearchPlan, seconds: float) -> SearchResult:
    """The best network of every target, with its proof; after `seconds` each, the best so far and its bound.

    Raises UserError where a budget or the score is no sum over stages.
    """
    begin = time.monotonic()
    members = []
    for target in with_bar(plan.targets, "prove", "network"):
        solution = solve(
            plan.encoding(), target.budgets, plan.tables, backbone_only=plan.backbone_only, seconds=seconds
        )
        member = found_network(plan, target, solution.genes, solution.score)
        member.certified = Certificate(
            bound=solution.upper_bound, gap_percent=100 * solution.gap, exact=solution.exact, dropped=[],
            seconds=solution.seconds,
        ).data()  # fmt: skip
        note_provenance(plan, member, 0, solver="exact")
        members.append(member)
    return SearchResult(
        plan=plan, members=members, front=_members_front(plan, members), evaluated=0, seconds=time.monotonic() - begin
    )


def certify(result: SearchResult, seconds: float) -> None:
    """Note on every member how far from the best it can be. Each member starts the proof of the others."""
    plan = result.plan
    start = np.concatenate([member.genes for member in result.members], axis=1)
    for member in with_bar(result.members, "prove", "network"):
        found = certificate(
            plan.encoding(), member.target.budgets, plan.tables, member.score, backbone_only=plan.backbone_only,
            start=start, seconds=seconds,
        )  # fmt: skip
        member.certified = found.data()


def with_bar(items: Iterable[Item], what: str, unit: str) -> Iterable[Item]:
    """The items, with a bar once they take a while."""
    from tqdm import tqdm

    return tqdm(items, desc=what, unit=unit, delay=1.0, dynamic_ncols=True)


def _members_front(plan: SearchPlan, members: list[FoundNetwork]) -> FrontTable:
    """The front as far as it is known: the members themselves, where a larger budget brought a better score."""
    better = [m for i, m in enumerate(members) if all(m.score > other.score for other in members[:i])]
    key = main_budget(members[0].target).key
    genes = np.concatenate([member.genes for member in better], axis=1)
    scores = np.array([member.score for member in better])
    return front_table(plan, key, genes, scores, np.array([member.costs[key] for member in better]))

"""Why a searched network is as it is: which limits bind, what more of each would buy, what other widths would cost.

All of it comes from the exact solver, so it holds for every network of the space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.errors import UserError
from search_spaces.structure import Structure
from tinynas.account import account
from tinynas.budgets import Budget
from tinynas.exact.solver import Solution, solve
from tinynas.genes import choices
from tinynas.genes.layout import TAP_STAGES
from tinynas.genes.membership import neck_rule_of
from tinynas.quantities import QUANTITIES
from tinynas.search.options import SearchOptions
from tinynas.search.plan import SearchPlan
from tinynas.search.request import build_plan

SECONDS = 20.0
"""Limit of each solution; the shipped spaces take a fraction of a second."""
MORE_MS, MORE_LAYERS, MORE = 1.0, 2, 0.1
"""By how much limits are raised: a millisecond, two layers, a tenth of any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A budget, how much of it the best network uses, and the best network with `more` of it (of a floor: less, `more` is
    negative): its score and structure."""

    budget: Budget
    used: float
    more: float
    score: float
    structure: Structure


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """`score`: the structure's; `best`, `structure`: the best network within the budgets, and whether that is `proven`.
    `limits`: by budget. `widths`: per stage, by number: the best score of networks within the budgets whose stage has this
    width instead, by width. `dropped`: budgets that are no sums over stages, which nothing here knows of. `beyond`:
    what the structure itself takes more of than the budgets have, in words."""

    score: float
    best: float
    structure: Structure
    proven: bool
    limits: tuple[Limit, ...]
    widths: Mapping[int, Mapping[int, float]]
    dropped: tuple[str, ...]
    beyond: tuple[str, ...] = ()


def plan_of(
    structure: Structure, space: str | None = None, *, device: str | None = None, measure: bool = True
) -> SearchPlan:
    """The search that a structure file's `search:` block says it came from. `space`: the file of a space of one's own;
    `device`: the path of its table, where tinynas does not know it by its id.

    Raises UserError for a structure without provenance, and as `build_plan` does.
    """
    found = structure.search or {}
    if "budgets" not in found or "space" not in found:
        raise UserError(
            "--why: the structure does not say which search found it; expected one that tinynas search wrote"
        )
    limits, latencies, floors = {}, [], []
    for key, limit in found["budgets"].items():
        quantity, _, own = str(key).partition("@")
        if quantity == "latency_ms":
            latencies.append(f"{limit}ms@{own or device or found.get('device')}")
        elif quantity == "neck_ms":
            floors.append((limit, own))
        else:
            limits[quantity] = limit
    priced = str(found.get("priced", ""))
    options = SearchOptions(
        budget=",".join(latencies) or None, space=space or str(found["space"]),
        image_size="x".join(map(str, structure.image_size)), num_classes=structure.head.num_classes,
        max_layers=_count(limits.get("layers")), max_params=_count(limits.get("params")),
        max_macs=_count(limits.get("conv_macs")), score=found.get("score_kind"), backbone_only="backbone" in priced,
        convs_only="convs" in priced, max_effectiveness=_text(limits.get("effectiveness")),
        max_memory=_text(limits.get("peak_memory_bytes"), "B"), score_weights=_weights(found.get("score_weights")),
    )  # fmt: skip
    plan = build_plan(options, measure=measure)
    if device is not None and found.get("table_sha256") not in [table.hash for table in plan.tables.values()]:
        raise UserError(
            f"--device {device}: not the table that the search went by, {found.get('device')}; expected that one"
        )
    rule = neck_rule_of(structure, plan.space)
    if rule is not None:
        plan = replace(plan, space=plan.space.with_neck(rule))
    least = tuple(Budget("neck_ms", limit, own or next(iter(plan.tables))) for limit, own in floors)
    return replace(plan, targets=tuple(replace(each, budgets=(*each.budgets, *least)) for each in plan.targets))


def why(structure: Structure, plan: SearchPlan) -> Why:
    """Solve the plan, and again with more of each limit. Raises UserError where the score is no sum over stages."""
    (target,), given = plan.targets, structure
    budgets = [budget for budget in target.budgets if QUANTITIES[budget.quantity].additive]
    score, best = _score(structure, plan), _solved(plan, budgets)
    limits = []
    for place, budget in enumerate(budgets):
        step = {"latency_ms": MORE_MS, "layers": MORE_LAYERS}.get(budget.quantity, MORE * budget.limit)
        step = -step if budget.floor else step
        raised = [*budgets[:place], replace(budget, limit=budget.limit + step), *budgets[place + 1 :]]
        better = _solved(plan, raised)
        limits.append(Limit(
            budget=budget, used=best.costs[budget.key], more=step, score=better.score,
            structure=plan.encoding().single(better.genes),
        ))  # fmt: skip
    structure = plan.encoding().single(best.genes)
    return Why(
        score=score, best=best.score, structure=structure, proven=best.exact, limits=tuple(limits),
        widths=_other_widths(plan, budgets, structure),
        dropped=tuple(budget.key for budget in target.budgets if not QUANTITIES[budget.quantity].additive),
        beyond=tuple(_excess(given, plan, budgets)),
    )  # fmt: skip


def _other_widths(plan: SearchPlan, budgets: list[Budget], structure: Structure) -> dict[int, dict[int, float]]:
    """Per stage of a width of its own, the best score by width, for some widths around the optimum's; those that no network
    within budget has are left out. Where taps grow by a factor, the first one's width dictates the others'."""
    found: dict[int, dict[int, float]] = {}
    for number, stage in enumerate(plan.space.stages, start=1):
        if stage.tied or (plan.space.tap_growth is not None and number in TAP_STAGES[1:]):
            continue
        width = int(structure.backbone.stages[number - 1].out_channels)
        found[number] = {}
        for other in _near(choices.widths(plan.space, stage.out).tolist(), width):
            with suppress(UserError):
                found[number][other] = _solved(plan, budgets, (number, other)).score
    return found


def told(found: Why) -> list[str]:
    """What there is to say, a line each."""
    lines = [_distance(found)]
    for limit in found.limits:
        lines.append(_limit_line(limit, found))
    lines += [f"{key} is no sum over stages: this leaves it out" for key in found.dropped]
    for number, scores in found.widths.items():
        width = int(found.structure.backbone.stages[number - 1].out_channels)
        others = [f"{other}: {_percent(score, found.best)}" for other, score in scores.items()]
        lines.append(
            f"stage {number}: {width} channels; with {', '.join(others) or 'any other nothing is within the limits'}"
        )
    return lines


def as_data(found: Why) -> dict[str, Any]:
    """As it goes into JSON."""
    return {
        "score": found.score, "best": found.best, "proven": found.proven,
        "limits": [
            {
                "budget": limit.budget.key, "limit": limit.budget.limit, "used": limit.used, "more": limit.more,
                "score_with_more": limit.score,
                "stages_with_more": [_stage(stage) for stage in limit.structure.backbone.stages],
            }
            for limit in found.limits
        ],
        "stages": [_stage(stage) for stage in found.structure.backbone.stages],
        "best_by_width": {str(number): dict(scores) for number, scores in found.widths.items()},
        "dropped": list(found.dropped), "beyond": list(found.beyond),
    }  # fmt: skip


def _excess(structure: Structure, plan: SearchPlan, budgets: list[Budget]) -> Iterator[str]:
    """What the structure takes more of than a budget has, as the tables say it here."""
    if plan.backbone_only:
        return
    found = account(plan.graph(structure), plan.tables)
    costs = {**found.counted(), **found.latency_ms()}
    for budget in budgets:
        quantity, used = QUANTITIES[budget.quantity], costs.get(budget.key)
        if used is not None and not budget.floor and used > budget.limit * (1 + 1e-6):
            yield f"{quantity.label} {quantity.brief(used)} of {quantity.brief(budget.limit)}"


def _distance(found: Why) -> str:
    if found.beyond:
        return (
            f"score {found.score:.2f}, beyond the limits as they are priced here ({'; '.join(found.beyond)}; a search with "
            f"--measure corrects its table); the best within them scores {found.best:.2f}"
        )
    word = "the best" if found.proven else "the best that was found"
    if found.score >= found.best * (1 - 1e-9):
        return f"score {found.score:.2f}: {word} within the limits"
    return f"score {found.score:.2f}; {word} within the limits scores {found.best:.2f} ({_percent(found.best, found.score)})"


def _limit_line(limit: Limit, found: Why) -> str:
    quantity = QUANTITIES[limit.budget.quantity]
    on = f" on {limit.budget.device}" if limit.budget.device else ""
    of = "of at least" if limit.budget.floor else "of"
    use = f"{quantity.label} {quantity.brief(limit.used)} {of} {quantity.brief(limit.budget.limit)}{on}"
    more = f"{quantity.brief(abs(limit.more))} {'less' if limit.budget.floor else 'more'}"
    if limit.score <= found.best * (1 + 1e-9):
        return f"{use}: does not bind; {more} would change nothing"
    changed = [
        f"stage {number}: {_stage(before)} -> {_stage(after)}"
        for number, (before, after) in enumerate(
            zip(found.structure.backbone.stages, limit.structure.backbone.stages, strict=True), start=1
        )
        if before != after
    ]
    gain = f"{limit.score:.2f} ({_percent(limit.score, found.best)})"
    return f"{use}: binds; {more} would score {gain}; {', '.join(changed)}"


def _stage(stage: Any) -> str:
    return f"{stage.out_channels}-{stage.hidden_channels}-{stage.depth}"


def _near(widths: Sequence[int], width: int) -> list[int]:
    """The next widths below and above, and the two that are nearest to a quarter away."""
    lower, higher = [w for w in widths if w < width], [w for w in widths if w > width]
    near = {max(lower, default=width), min(higher, default=width)}
    near |= {min(widths, key=lambda w: abs(w - width * factor)) for factor in (0.75, 1.25)}
    return sorted(near - {width})


def _percent(value: float, base: float) -> str:
    return f"{100 * (value / base - 1):+.2f} %"


def _text(limit: Any, unit: str = "") -> str | None:
    return None if limit is None else f"{limit}{unit}"


def _weights(weights: Any) -> str | None:
    return None if weights is None else ",".join(map(str, weights))


def _count(limit: Any) -> str | None:
    return None if limit is None else str(int(limit))


def _solved(plan: SearchPlan, budgets: list[Budget], width: tuple[int, int] | None = None) -> Solution:
    return solve(plan.encoding(), budgets, plan.tables, backbone_only=plan.backbone_only, seconds=SECONDS, width=width)


def _score(structure: Structure, plan: SearchPlan) -> float:
    from search_spaces.plugins import load_plugin

    rule = plan.space.score
    return float(load_plugin("tinynas.scores", rule.kind).score(plan.graph(structure), rule.weights))

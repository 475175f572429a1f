"""Whether the latency tables cover what a search will ask of them, before it asks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from latency_tables.predictor import MAX_EXTRAPOLATED, predict
from latency_tables.tables import Table
from search_spaces.errors import UserError
from tinynas.search.plan import SearchPlan

USUAL_CLASSES = 80


def check_covered(plan: SearchPlan) -> None:
    """Raises UserError when so many classes take the head beyond a table that no network within the budgets is covered.

    What lies beyond is at least what does in the smallest network, and the largest has the least share of it.
    """
    if plan.backbone_only or plan.num_classes <= USUAL_CLASSES:
        return
    for name, table in plan.tables.items():
        small, large = (_extrapolated(plan, table, largest=end) for end in (False, True))
        share = large.beyond_ms / large.total_ms
        limits = [b.limit for target in plan.targets for b in target.budgets if b.key == f"latency_ms@{name}"]
        if limits and small.total_ms <= max(limits):
            share = max(share, small.beyond_ms / max(limits))
        if share > MAX_EXTRAPOLATED:
            raise UserError(
                f"--num-classes {plan.num_classes}: with so many classes {share:.0%} or more of the latency lies beyond what "
                f"table {name} covers (at most {MAX_EXTRAPOLATED:.0%} may); search with fewer, training takes the number of "
                "classes from the data, or profile the table further"
            )
        if small.beyond_ms > MAX_EXTRAPOLATED * small.total_ms:
            warnings.warn(
                f"--num-classes {plan.num_classes}: table {name} does not cover the heads of small networks with so many "
                "classes; if the search ends in a refusal, search with fewer",
                stacklevel=2,
            )


def extrapolated_share(plan: SearchPlan, device: str) -> float:
    """Of the latency of the space's smallest network on a table of the plan: what lies beyond the table."""
    encoding = plan.encoding()
    smallest = plan.graph(encoding.single(encoding.corner(largest=False)))
    return predict(smallest, plan.tables[device], max_extrapolated=1.0).shares["extrapolated"]


@dataclass(frozen=True, slots=True)
class _Beyond:
    """Latency in ms, and how much more of it than with 80 classes lies beyond the table."""

    total_ms: float
    beyond_ms: float


def _extrapolated(plan: SearchPlan, table: Table, *, largest: bool) -> _Beyond:
    beyond = []
    for classes in (USUAL_CLASSES, plan.num_classes):
        encoding = replace(plan, num_classes=classes).encoding()
        found = predict(plan.graph(encoding.single(encoding.corner(largest=largest))), table, max_extrapolated=1.0)
        beyond.append(found.shares["extrapolated"] * (found.total_ms - found.overhead_ms))
    return _Beyond(found.total_ms, beyond[1] - beyond[0])

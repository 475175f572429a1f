"""Rivals of a search's best: networks that trained better than their score says (docs/scores.md), whatever the data.

The published network of about the same cost, and the best one under other weights of the score's groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from search_spaces.errors import UserError
from search_spaces.text import resolve_structure, shipped_names
from tinynas.genes.membership import genes_of, neck_rule_of, outside
from tinynas.pricing.columns import is_additive
from tinynas.search.found import found_network
from tinynas.search.plan import FoundNetwork, SearchResult
from tinynas.search.run import run_search

OTHER_WEIGHTS = ((0.0, 0.0, 4.0, 4.0, 8.0), (0.0, 0.0, 1.0, 1.0, 16.0))
"""Of the score's groups: more for the maps of strides 8 and 16 than by default; and the default, for a search that had the
first."""
NEAR = 0.75
"""Least cost of a published network, as a share of the search's best's: with less, it is of another class."""


def rivals(result: SearchResult) -> Iterator[FoundNetwork]:
    """The rivals of a search's best, within its budgets, the published one first: each is looked for when it is asked for.
    Their scores are those of the search itself, so that all its candidates compare. Same result, same rivals."""
    for find in (_published, _other_weights):
        rival = find(result)
        if rival is not None:
            yield rival


def _published(result: SearchResult) -> FoundNetwork | None:
    """The dearest shipped structure of the space, its neck included, that is within the budgets; None where the best costs
    far more."""
    plan, best = result.plan, result.members[0]
    objective = plan.objective()
    key = objective.front_key
    found: list[FoundNetwork] = []
    for name in shipped_names():
        structure = resolve_structure(name).with_image_size(*plan.image_size).with_classes(plan.num_classes)
        if outside(structure, plan.space) is not None or neck_rule_of(structure, plan.space) != plan.space.neck:
            continue
        genes = genes_of(structure)
        priced = objective.evaluate(genes)
        if priced.excess[0, 0] > 0 or priced.costs[key][0] < NEAR * best.costs[key]:
            continue
        with suppress(UserError):  # a table that does not cover it
            network = found_network(plan, best.target, genes, float(priced.score[0]))
            found.append(replace(network, origin=f"published {name}"))
    return max(found, key=lambda network: network.costs[key], default=None)


def _other_weights(result: SearchResult) -> FoundNetwork | None:
    """The best under the first of OTHER_WEIGHTS that the search did not have; None for a score that weighs no groups."""
    plan, best = result.plan, result.members[0]
    if not plan.space.score.weights or not is_additive(plan.space.score.kind):
        return None
    weights = next(weights for weights in OTHER_WEIGHTS if weights != plan.space.score.weights)
    rule = plan.space.score.model_copy(update={"weights": weights})
    weighed = replace(plan, space=plan.space.model_copy(update={"score": rule}), targets=(best.target,))
    try:
        found = run_search(weighed)
        genes = found.members[0].genes
        network = found_network(plan, best.target, genes, float(plan.objective().evaluate(genes).score[0]))
    except UserError:  # none found, or beyond a table: the search's own candidates go on without it
        return None
    if found.interrupted:
        raise KeyboardInterrupt
    return replace(network, origin="score weights " + ",".join(f"{weight:g}" for weight in weights))

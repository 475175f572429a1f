"""Whom the second stage trains: networks of one latency that the score cannot tell apart, as different as there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search_spaces.errors import UserError
from tinynas.genes.layout import DEPTH, HIDDEN, KERNEL, OUT, STAGES, STEM, Genes
from tinynas.genes.population import fingerprints
from tinynas.pricing.objective import SCORE, Objective
from tinynas.search.found import found_network, note_provenance
from tinynas.search.plan import FoundNetwork, SearchPlan, SearchResult

ROOM = 0.05
"""Share of a space's best score that the others may stay below it. In trainings that differ by the seed alone, AP varies by
more than such a share of the score moves it (docs/training-benchmarks.md)."""
APART = 0.2
"""Least distance of two candidates of a space, in octaves: a stage of twice the depth, or every width 15 % off."""
BAND = 0.03
"""Share of a space's best network's cost (latency, where one is limited) that the others may stay below it."""
POOL, CHILDREN, GENERATIONS = 256, 2048, 60
_SHAPE = (STEM, *(row + stage for row in (OUT, HIDDEN, DEPTH, KERNEL) for stage in range(STAGES)))
_STREAM = 15  # keeps these draws apart from those of the search
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """`name`: of its files (`mob-1`); `search`: the place of the search that it comes from; `distance`: to the nearest
    other one of that search, in octaves (None for a search's only one)."""

    name: str
    search: int
    network: FoundNetwork
    distance: float | None

    @property
    def title(self) -> str:
        """The name, and the origin of one that is a rival of its search's best: `mob-2 (published Ns)`."""
        origin = self.network.origin
        return self.name if origin is None else f"{self.name} ({origin})"


def distance(one: Genes, others: Genes) -> Values:
    """How far candidates (GENES, P) are from one (GENES,): the root mean square over stem and stages of what widths, hidden
    widths, depths and kernels differ by, in octaves (1: all twice as large). (P,)"""
    rows = list(_SHAPE)
    differences = np.log2(others[rows]) - np.log2(one[rows])[:, None]
    octaves: Values = np.sqrt(np.mean(differences**2, axis=0))
    return octaves


def shares(number: int, searches: int) -> list[int]:
    """How many of `number` candidates each of several searches gives: equally many, the first ones one more."""
    return [(number + searches - 1 - place) // searches for place in range(searches)]


def _none(_: SearchResult) -> tuple[FoundNetwork, ...]:
    return ()


def draw_candidates(
    results: Sequence[SearchResult], number: int, rivals: Callable[[SearchResult], Iterable[FoundNetwork]] = _none
) -> list[Candidate]:
    """`number` candidates in the order of the searches, all within their budgets: the best of each, its `rivals` as far as it
    has a place for them, and those that differ most from these; fewer where a space holds no more that differ. Same
    arguments, same candidates.

    Raises UserError when there are not two of them.
    """
    plans = [result.plan for result in results]
    found = [
        candidate
        for place, (result, share) in enumerate(zip(results, shares(number, len(results)), strict=True))
        for candidate in _of_search(result, place, share, rivals, _label(result.plan, plans))
    ]
    if len(found) < 2:
        raise UserError(
            "--rank-by-training: fewer than two different networks are within the budget; loosen the budget, or name more "
            "spaces (--space mob,res,csp)"
        )
    return found


def _of_search(
    result: SearchResult, place: int, share: int, rivals: Callable[[SearchResult], Iterable[FoundNetwork]], label: str
) -> Iterator[Candidate]:
    if not share:
        return
    best, plan = result.members[0], result.plan
    networks = [best]
    if share > 1:
        for rival in rivals(result):
            if distance(rival.genes[:, 0], _together(networks)).min() >= APART:
                networks.append(rival)
            if len(networks) == share:
                break
    networks += _apart(result, _together(networks), share - len(networks))
    genes = _together(networks)
    for number, network in enumerate(networks):
        note_provenance(plan, network, result.evaluated)
        others = np.delete(genes, number, axis=1)
        near = float(distance(genes[:, number], others).min()) if others.size else None
        yield Candidate(name=f"{label}-{number + 1}", search=place, network=network, distance=near)
    assert all(network.costs.keys() == best.costs.keys() for network in networks), plan.space.name


def _together(networks: Sequence[FoundNetwork]) -> Genes:
    return np.concatenate([network.genes for network in networks], axis=1)


def _label(plan: SearchPlan, plans: Sequence[SearchPlan]) -> str:
    """`mob`, or `mob-192` where there are several image sizes."""
    if len({other.image_size for other in plans}) == 1:
        return plan.space.name
    height, width = plan.image_size
    return f"{plan.space.name}-{height}" + ("" if height == width else f"x{width}")


def _apart(result: SearchResult, taken: Genes, number: int) -> Iterator[FoundNetwork]:
    """Up to `number` networks beside those taken: each as far as can be from these and those before it."""
    plan, best = result.plan, result.members[0]
    objective, rng = plan.objective(), np.random.default_rng([plan.settings.seed, _STREAM])
    start = best.genes if result.state is None else result.state.pool(0, POOL).genes
    for _ in range(number):
        genes, score = _farthest(objective, taken, start, best, rng)
        if genes is None:
            return
        yield found_network(plan, best.target, genes, score)
        taken = np.concatenate([taken, genes], axis=1)


def _farthest(
    objective: Objective, taken: Genes, start: Genes, best: FoundNetwork, rng: np.random.Generator
) -> tuple[Genes | None, float]:
    """The candidate (GENES, 1) farthest from those taken, of about the best network's cost and score, and its score; None
    when none is APART. A score that runs networks is too dear to evolve by: then of the search's own survivors."""
    key, encoding = objective.front_key, objective.encoding
    least_cost, least_score = (1 - BAND) * best.costs[key], best.score - ROOM * abs(best.score)
    cheap = objective.additive is not None and SCORE in objective.additive.columns
    pool = start
    for generation in range(1 + (GENERATIONS if cheap else 0)):
        if generation:
            children = encoding.mutate(pool[:, rng.integers(pool.shape[1], size=CHILDREN)], rng)
            pool = _different(np.concatenate([pool, children], axis=1))
        priced = objective.evaluate(pool)
        score = np.nan_to_num(priced.score, nan=-np.inf)
        outside = priced.excess[0] + np.maximum(least_cost / priced.costs[key] - 1, 0)
        outside = outside + np.maximum(least_score - score, 0) / max(abs(best.score), 1e-9)
        near = np.min([distance(column, pool) for column in taken.T], axis=0)
        order = np.lexsort((-near, outside))[:POOL]
        pool = pool[:, order]
    first = int(order[0])
    return (pool[:, :1], float(score[first])) if outside[first] == 0 and near[first] >= APART else (None, 0.0)


def _different(genes: Genes) -> Genes:
    return genes[:, np.sort(np.unique(fingerprints(genes), return_index=True)[1])]

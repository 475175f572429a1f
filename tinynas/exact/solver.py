"""The best network of a space under additive budgets, with proof, and certificates for networks found otherwise.

Score and costs are sums over stages, so the search is a longest path under knapsack constraints. Prices on the budgets
(Lagrange multipliers) bound what any completion of a partial network can score; label setting with these bounds leaves a
few thousand partial networks. The optimum is proven when none is left that could score more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from latency_tables import Table
from search_spaces.errors import UserError
from tinynas.budgets import Budget
from tinynas.exact.bounds import Relaxed, descend, relax
from tinynas.exact.labels import sweep
from tinynas.exact.lattice import Lattice, attainable, build_lattice, with_width
from tinynas.genes.layout import OUT, Genes
from tinynas.genes.population import Encoding
from tinynas.pricing import columns
from tinynas.pricing.additive_costs import AdditiveCosts
from tinynas.quantities import QUANTITIES

PROVEN = 1e-9
"""Relative gap below which an optimum counts as proven."""
FIRST_SLACK = 1e-3
WIDTHS = (300, 3_000, 30_000, 300_000, 2_000_000)
FACTORS = (0.7, 0.85, 0.95, 1.05, 1.15, 1.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """`genes` (GENES, 1) with its `score` and `costs` by budget key; no network within budget scores above
    `upper_bound`. `gap` = upper_bound / score - 1: at most PROVEN when the optimum is proven."""

    genes: Genes
    score: float
    costs: dict[str, float]
    upper_bound: float
    gap: float
    seconds: float

    @property
    def exact(self) -> bool:
        return self.gap <= PROVEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """No network within budget scores above `bound`, `gap_percent` above the certified score. `exact`: the bound is the
    optimum itself. `dropped`: keys of budgets that the bound leaves out (it then holds all the more)."""

    bound: float
    gap_percent: float
    exact: bool
    dropped: list[str]
    seconds: float

    def data(self) -> dict[str, Any]:
        """As it goes into search.json."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}


def solve(
    encoding: Encoding, budgets: Sequence[Budget], tables: Mapping[str, Table], *,
    score: str | None = None, backbone_only: bool = False, start: Genes | None = None, seconds: float = 60.0,
    width: tuple[int, int] | None = None,
) -> Solution:  # fmt: skip
    """The best network under budgets that are sums over stages. `tables`: by id; a latency budget without a device means
    the only one. `start`: candidates (GENES, P) to begin with. `width`: (stage, channels) looks among those networks alone
    whose stage is so wide. After `seconds` the best so far, with its upper bound.

    Raises UserError when a budget or the score is not a sum over stages, and when no network meets all budgets.
    """
    entangled = [budget.key for budget in budgets if not QUANTITIES[budget.quantity].additive]
    if entangled:
        raise UserError(
            f"--solver exact: {', '.join(entangled)} is not a sum over stages, so the exact solver does not apply; "
            "use --solver evolution, or drop this limit"
        )
    begin = time.monotonic()
    costs = priced(encoding, budgets, tables, score, backbone_only)
    return _Solver(costs, budgets, begin + seconds, width).run(start, begin)


def improve(
    costs: AdditiveCosts, budgets: Sequence[Budget], above: float, seconds: float = 60.0
) -> tuple[Solution | None, float]:
    """The best network that scores more than `above`, None where there is none or none was found in time; and a bound that
    no network within the budgets scores above (where there is no network, `above` or less). Much faster than `solve` where
    the bound alone tells that nothing is to be had. `costs`: from `priced`, for budgets of these keys."""
    begin = time.monotonic()
    solver = _Solver(costs, budgets, begin + seconds, None, above)
    solution = solver.improved(begin)
    return solution, max(solver.bound, solution.score) if solution is not None else solver.bound


def certify(
    encoding: Encoding, budgets: Sequence[Budget], tables: Mapping[str, Table], found: float, *,
    score: str | None = None, backbone_only: bool = False, start: Genes | None = None, seconds: float = 60.0,
) -> Certificate:  # fmt: skip
    """How far the score `found` can be from the optimum. Budgets that are not sums over stages are dropped: a bound
    without them holds with them. Raises UserError for a score that is not a sum over stages."""
    kept = [budget for budget in budgets if QUANTITIES[budget.quantity].additive]
    dropped = [budget.key for budget in budgets if not QUANTITIES[budget.quantity].additive]
    solution = solve(
        encoding, kept, tables, score=score, backbone_only=backbone_only, start=start, seconds=seconds
    )  # fmt: skip
    bound = solution.upper_bound
    return Certificate(
        bound=bound,
        gap_percent=max(bound / found - 1.0, 0.0) * 100.0,
        exact=solution.exact and not dropped,
        dropped=dropped,
        seconds=solution.seconds,
    )


def priced(
    encoding: Encoding, budgets: Sequence[Budget], tables: Mapping[str, Table], score: str | None, backbone_only: bool
) -> AdditiveCosts:
    """The score and what the budgets limit, compiled. Raises UserError for a score that is not a sum over stages."""
    kind = score or encoding.space.score.kind
    if not columns.is_additive(kind):
        raise UserError(
            f"--solver exact: score {kind!r} is not a sum over stages, so neither the exact solver nor a certificate "
            "applies; use --solver evolution, or --score entropy"
        )
    limited = [columns.budgeted(budget, tables) for budget in budgets]
    return AdditiveCosts(encoding, [columns.score(encoding, kind), *limited], backbone_only=backbone_only)


def least(encoding: Encoding, budget: Budget, tables: Mapping[str, Table], *, backbone_only: bool = False) -> float:
    """The least that any network of the space costs of what an additive budget limits, in its unit: a shortest path. On a
    table that can be below what the narrowest network costs."""
    column = columns.budgeted(budget, tables)
    negated = replace(
        column, terms=lambda graph: [(path, -value) for path, value in column.terms(graph)], fixed=-column.fixed
    )
    lattice = build_lattice(AdditiveCosts(encoding, [negated], backbone_only=backbone_only), [])
    return -relax(lattice, np.zeros(0)).bound


class _Solver:
    def __init__(
        self, costs: AdditiveCosts, budgets: Sequence[Budget], deadline: float, width: tuple[int, int] | None,
        above: float = -np.inf,
    ) -> None:  # fmt: skip
        self.above = above
        self.costs, self.budgets, self.deadline, self.width = costs, tuple(budgets), deadline, width
        limits = [budget.limit for budget in budgets]
        floors = [budget.floor for budget in budgets]
        self.lattice: Lattice = build_lattice(costs, limits, floors)
        # relaxations would make use of 26 layers where networks have 25 or 27
        whole = [
            attainable(self.lattice, place, limit) if budget.quantity == "layers" else limit
            for place, (budget, limit) in enumerate(zip(budgets, limits, strict=True))
        ]
        if whole != limits:
            self.lattice = build_lattice(costs, whole, floors)
        if width is not None:
            self.lattice = with_width(self.lattice, *width)
        self.signs = np.where(floors, -1.0, 1.0)
        self.limits = np.array(whole) * self.signs
        self.best = -np.inf
        self.genes: Genes | None = None
        self.bound = np.inf
        self.searched_all = False

    def run(self, start: Genes | None, begin: float) -> Solution:
        smallest = self.costs.encoding.corner(largest=False)
        first = smallest if start is None else np.concatenate([smallest, start], axis=1)
        for index in range(first.shape[1]):
            self._offer(first[:, index : index + 1])
        self._close_in(self._relaxations())
        return self._solution(time.monotonic() - begin)

    def improved(self, begin: float) -> Solution | None:
        """The best network above the threshold, if any."""
        self._offer(self.costs.encoding.corner(largest=False))
        self._close_in(self._relaxations())
        return self._solution(time.monotonic() - begin) if self.best > self.above else None

    def _close_in(self, at: Sequence[Relaxed]) -> None:
        """Sweep for networks that score almost as much as the bound, then for lesser ones, until the best is found.

        A sweep that kept all its labels and found nothing lowers the bound to what it looked for; one that did not keep
        them all is done again with more room.
        """
        scale, room = abs(self.bound), 0
        slack = FIRST_SLACK * scale
        while not self._proven() and time.monotonic() < self.deadline and room < len(WIDTHS):
            above = max(self._threshold(), self.bound - slack if slack < 1e3 * scale else -np.inf)
            found = sweep(self.lattice, at, above, WIDTHS[room], self.deadline)
            for _, genes in found.found:
                if self._offer(genes):
                    break
            if not found.finished:
                return
            self.bound = min(self.bound, max(self.best, above, found.dropped))
            if found.dropped > -np.inf:
                room += 1
            elif above == -np.inf:
                self.searched_all = True
                return
            else:
                slack *= 10

    def _offer(self, genes: Genes) -> bool:
        """Take a network as the incumbent if it is within budget and better; true when it is within budget."""
        if self.width is not None and genes[OUT + self.width[0] - 1, 0] != self.width[1]:
            return False
        total = self.costs.total(genes)[0]
        if not (total[1:] * self.signs <= self.limits).all():
            return False
        if total[0] > self.best:
            self.best, self.genes = float(total[0]), genes
        return True

    def _threshold(self) -> float:
        """What a network must score to be of interest."""
        least = max(self.best, self.above)
        return least + 0.1 * PROVEN * abs(least) if np.isfinite(least) else -np.inf

    def _proven(self) -> bool:
        least = max(self.best, self.above)
        return self.bound <= least + PROVEN * abs(least)

    def _relaxations(self) -> list[Relaxed]:
        """Relaxations to bound labels with: the tightest, then others at prices around it, as the parts of a network
        have prices of their own."""
        tightest: Relaxed | None = None
        for relaxed, totals, genes in descend(self.lattice):
            if tightest is None or relaxed.bound < tightest.bound:
                tightest = relaxed
            if (totals[1:] <= 1.0).all() and totals[0] > self.best:
                self._offer(genes)
            if tightest.bound <= self.above or time.monotonic() > self.deadline:
                break
        assert tightest is not None
        self.bound = min(self.bound, tightest.bound)
        others = []
        for place in np.flatnonzero(tightest.prices > 0).tolist():
            for factor in FACTORS:
                prices = tightest.prices.copy()
                prices[place] *= factor
                others.append(relax(self.lattice, prices))
        return [tightest, *others]

    def _solution(self, seconds: float) -> Solution:
        if self.genes is None:
            listed, name = ", ".join(str(budget) for budget in self.budgets), self.costs.encoding.space.name
            if self.searched_all:
                raise UserError(f"no network of space {name} meets all of: {listed}; raise a limit")
            raise UserError(
                f"no network of space {name} was found within: {listed}; give it more time or raise a limit"
            )
        totals = self.costs.total(self.genes)[0]
        bound = max(self.bound, self.best)
        gap = (bound - self.best) / abs(self.best) if self.best else bound
        costs = {budget.key: float(value) for budget, value in zip(self.budgets, totals[1:], strict=True)}
        return Solution(
            genes=self.genes, score=self.best, costs=costs, upper_bound=float(bound), gap=float(gap), seconds=seconds
        )

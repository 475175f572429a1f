"""Evolutionary search on populations as arrays: mutate, repair, price, score, select, de-duplicate (MAE-NAS; report, 2.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinynas.objective import Evaluation, Objective
from tinynas.population import Genes, fingerprints


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """`evaluations` candidates in all, in generations of `offspring`, bred from the best `population`."""

    evaluations: int = 500_000
    population: int = 512
    offspring: int = 4096
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Pool:
    """The survivors, best first: those within budget by score, then the others by how little they exceed it."""

    genes: Genes
    evaluation: Evaluation
    evaluated: int

    @property
    def feasible(self) -> bool:
        """Whether the best is within all budgets."""
        return bool(self.evaluation.excess[0] <= 0)

    @property
    def best_score(self) -> float:
        """Score of the best candidate; nan while nothing is within budget."""
        return float(self.evaluation.score[0]) if self.feasible else float("nan")


def evolve(objective: Objective, settings: SearchSettings) -> Iterator[Pool]:
    """Yield the pool after every generation. Same settings and table, same pools."""
    rng = np.random.default_rng(settings.seed)
    encoding = objective.encoding
    size = min(settings.offspring, settings.evaluations)
    genes = encoding.sample(size, rng)
    pool = _select(genes, objective.evaluate(genes), settings.population, size)
    yield pool
    while pool.evaluated < settings.evaluations:
        size = min(settings.offspring, settings.evaluations - pool.evaluated)
        parents = pool.genes[:, _pick(pool.genes.shape[1], size, rng)]
        children = encoding.mutate(parents, rng)
        evaluation = objective.evaluate(children)
        genes = np.concatenate([pool.genes, children], axis=1)
        joined = Evaluation.join([pool.evaluation, evaluation])
        pool = _select(genes, joined, settings.population, pool.evaluated + size)
        yield pool


def _pick(pool: int, size: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Parents: half of them uniformly from the pool, half leaning to the better end."""
    lean = np.where(rng.random(size) < 0.5, 1.0, 3.0)
    return np.minimum((rng.random(size) ** lean * pool).astype(np.intp), pool - 1)


def _select(genes: Genes, evaluation: Evaluation, keep: int, evaluated: int) -> Pool:
    """The best `keep` different candidates. Ties are broken by the genes' fingerprint, so order never depends on luck."""
    marks = fingerprints(genes)
    order = np.lexsort((marks, -evaluation.score, evaluation.excess))
    window = order[: keep * 4]
    while True:
        _, first = np.unique(marks[window], return_index=True)
        if first.size >= keep or window.size == order.size:
            break
        window = order[: window.size * 2]
    chosen = window[np.sort(first)[:keep]]
    return Pool(genes[:, chosen], evaluation.take(chosen), evaluated)

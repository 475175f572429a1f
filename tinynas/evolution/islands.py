"""Islands: populations that evolve apart, each with its own random generator and one pool of survivors per target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tinynas.evolution.front import Front
from tinynas.genes.layout import GENES, Genes
from tinynas.genes.population import fingerprints
from tinynas.pricing.objective import Objective, PricedPopulation

Values = npt.NDArray[np.float64]
Marks = npt.NDArray[np.uint64]
MOST_CHANGES = 3
LOTTERY = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A target's survivors, best first: those within its budgets by score, then the others by how little they exceed
    them. Arrays over (K,); `marks`: fingerprints."""

    genes: Genes
    score: Values
    costs: dict[str, Values]
    excess: Values
    marks: Marks

    @staticmethod
    def empty(keys: Sequence[str]) -> Pool:
        nothing = np.zeros(0)
        return Pool(
            genes=np.zeros((GENES, 0), np.int64),
            score=nothing,
            costs=dict.fromkeys(keys, nothing),
            excess=nothing,
            marks=np.zeros(0, np.uint64),
        )

    @property
    def size(self) -> int:
        return self.score.size

    @property
    def feasible(self) -> bool:
        """Whether the best is within all budgets of the target."""
        return bool(self.size and self.excess[0] <= 0)

    @property
    def best_score(self) -> float:
        """Score of the best candidate; nan while nothing is within budget."""
        return float(self.score[0]) if self.feasible else float("nan")

    def first(self, count: int) -> Pool:
        """The best `count`."""
        costs = {key: values[:count] for key, values in self.costs.items()}
        return Pool(
            genes=self.genes[:, :count],
            score=self.score[:count],
            costs=costs,
            excess=self.excess[:count],
            marks=self.marks[:count],
        )

    def offer(self, genes: Genes, evaluation: PricedPopulation, target: int, keep: int) -> Pool:
        """The best `keep` of this pool and the candidates."""
        excess, score = evaluation.excess[target], evaluation.score
        if self.size >= keep:  # most children of a grown pool fail against its last member: look at the rest only
            worst = self.excess[-1]
            chosen = np.flatnonzero((excess < worst) | ((excess == worst) & (score > self.score[-1])))
        else:
            chosen = np.arange(score.size)
        if not chosen.size:
            return self
        genes = genes.take(chosen, axis=1)
        costs = {key: values[chosen] for key, values in evaluation.costs.items()}
        return self.join(
            Pool(genes=genes, score=score[chosen], costs=costs, excess=excess[chosen], marks=fingerprints(genes)), keep
        )

    def join(self, other: Pool, keep: int) -> Pool:
        """The best `keep` different ones of two. Marks break ties, so that order never depends on luck."""
        marks = np.concatenate([self.marks, other.marks])
        score, excess = np.concatenate([self.score, other.score]), np.concatenate([self.excess, other.excess])
        order = np.lexsort((marks, -score, excess))
        _, first = np.unique(marks[order], return_index=True)
        order = order[np.sort(first)[:keep]]
        genes = np.concatenate([self.genes, other.genes], axis=1).take(order, axis=1)
        costs = {key: np.concatenate([self.costs[key], other.costs[key]])[order] for key in self.costs}
        return Pool(genes=genes, score=score[order], costs=costs, excess=excess[order], marks=marks[order])


Best = tuple[float, float, dict[str, float]]
"""Excess, score and costs of a pool's first."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch of candidates led to: how many there were, and every target's best afterwards."""

    evaluated: int
    best: list[Best]


@dataclass(frozen=True, slots=True)
class Island:
    """One population: the state of its generator and a pool per target."""

    rng_state: dict[str, Any]
    pools: tuple[Pool, ...]

    @staticmethod
    def start(objective: Objective, seed: np.random.SeedSequence) -> Island:
        state: dict[str, Any] = dict(np.random.PCG64(seed).state)
        return Island(state, tuple(Pool.empty(objective.keys) for _ in objective.targets))

    def generator(self) -> np.random.Generator:
        bits = np.random.PCG64()
        bits.state = self.rng_state  # type: ignore[assignment]
        return np.random.Generator(bits)


@dataclass(frozen=True, slots=True)
class Task:
    """What an island does in one epoch: batches of so many children each, or the neighbourhoods of some candidates
    (GENES, n), of at most `limit` candidates in all."""

    batches: tuple[int, ...] = ()
    polish: Genes | None = None
    limit: int = 0


Advanced = tuple[Island, Front, list[Batch]]


def advance(island: Island, task: Task, front: Front, objective: Objective, *, keep: int, chunk: int) -> Advanced:
    """The island after a task, the front with what it saw, and its steps. `keep`: pool size; `chunk`: candidates
    evaluated at a time."""
    worker = _Worker(island, front, objective, keep)
    for size in task.batches:
        worker.take_in(worker.children(size))
    if task.polish is not None:
        around = [objective.encoding.moves.neighbours(column, worker.rng) for column in task.polish.T]
        genes = np.concatenate(around, axis=1)[:, : task.limit]
        for start in range(0, genes.shape[1], chunk):
            worker.take_in(np.ascontiguousarray(genes[:, start : start + chunk]))
    return Island(dict(worker.rng.bit_generator.state), tuple(worker.pools)), worker.front, worker.steps


class _Worker:
    """An island at work."""

    def __init__(self, island: Island, front: Front, objective: Objective, keep: int) -> None:
        self.objective, self.keep = objective, keep
        self.rng, self.pools, self.front = island.generator(), list(island.pools), front.copy()
        self.steps: list[Batch] = []
        self._memory: Genes = np.empty(0, np.int64)

    def take_in(self, genes: Genes) -> None:
        """Evaluate candidates and offer them to all pools."""
        evaluation = self.objective.evaluate(genes)
        for target, pool in enumerate(self.pools):
            self.pools[target] = pool.offer(genes, evaluation, target, self.keep)
        admitted = self.objective.admitted(evaluation)
        self.front.offer(genes, evaluation.score, evaluation.costs[self.front.key], admitted)
        self.steps.append(Batch(genes.shape[1], [_best(pool) for pool in self.pools]))

    def children(self, size: int) -> Genes:
        """New candidates: bred from all pools in equal shares; drawn afresh while a pool is empty."""
        moves = self.objective.encoding.moves
        if not self.pools[0].size:
            return self.objective.encoding.sample(size, self.rng)
        parents, start = [], 0
        for number, pool in enumerate(self.pools):
            share = size * (number + 1) // len(self.pools) - size * number // len(self.pools)
            parents.append(lottery(pool.size).take(self.rng.integers(0, LOTTERY, share)) + start)
            start += pool.size
        members, genes = parents[0], self.pools[0].genes
        if len(parents) > 1:  # a child's place decides how many changes it gets
            members = self.rng.permutation(np.concatenate(parents))
            genes = np.concatenate([pool.genes for pool in self.pools], axis=1)
        children = self._room(size)
        genes.take(members, axis=1, out=children, mode="clip")
        return moves.mutate(children, self.rng, MOST_CHANGES)

    def _room(self, size: int) -> Genes:
        """Memory for children, the same every time: fresh pages cost more than the copy of the parents."""
        if self._memory.size < GENES * size:
            self._memory = np.empty(GENES * size, np.int64)
        return self._memory[: GENES * size].reshape(GENES, size)


@lru_cache(maxsize=64)
def lottery(pool: int) -> npt.NDArray[np.int64]:
    """Pool members on LOTTERY tickets: half of them evenly, half leaning to the better end."""
    even = (np.arange(LOTTERY // 2) + 0.5) / (LOTTERY // 2)
    return (np.concatenate([even, even**3]) * pool).astype(np.int64)


def _best(pool: Pool) -> Best:
    return float(pool.excess[0]), float(pool.score[0]), {key: float(values[0]) for key, values in pool.costs.items()}

"""Evolutionary search on populations as arrays (MAE-NAS; report, 2.1), on islands, with a systematic last part.

An epoch lets every island breed some generations by itself; then each hands its best to the next. The last fifth of the
evaluations goes through the neighbourhoods (all single and paired changes) of the best candidates, which finds the last
fine trades between genes that random changes would take long to hit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tinynas.evolution.front import Front
from tinynas.evolution.islands import Advanced, Island, Task, advance
from tinynas.evolution.state import SearchState, record
from tinynas.genes.layout import Genes
from tinynas.pricing.objective import Objective

MIGRANTS = 1 / 16
"""Share of a pool that goes to the next island after an epoch."""
FEWEST_GENERATIONS = 16
JOBS_PER_ISLAND = 4

Runner = Callable[[SearchState, Sequence[Task]], list[Advanced]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """`evaluations` candidates in all, over all islands and targets: each is offered to every target's pool.

    An island breeds `offspring` children a generation (fewer in a short search) from the best `population` of each
    target, and hands on its best after every `generations_per_epoch`. The share `polishing` of the evaluations is kept
    for neighbourhoods.
    """

    evaluations: int = 500_000
    population: int = 512
    offspring: int = 4096
    seed: int = 0
    islands: int = 4
    generations_per_epoch: int = 8
    polishing: float = 0.2


def evolve(
    objective: Objective, settings: SearchSettings, *, state: SearchState | None = None, workers: int = 1,
    backend: str = "loky",
) -> Iterator[SearchState]:  # fmt: skip
    """Yield the state after every epoch, until all evaluations are spent.

    Same settings, tables and version: same states, whatever the number of workers (joblib's `backend`: loky, dask, ray)
    and whether the search went through or was continued from a saved `state`. Nothing is yielded for a finished state.
    """
    state = state or start(objective, settings)
    with _runner(objective, settings, workers, backend) as run:
        while state.evaluated < settings.evaluations:
            state = _epoch(state, settings, run)
            yield state


def start(objective: Objective, settings: SearchSettings) -> SearchState:
    """The state before the first epoch."""
    seeds = np.random.SeedSequence(settings.seed).spawn(settings.islands)
    islands = tuple(Island.start(objective, seed) for seed in seeds)
    front = Front.empty(objective.front_key, *objective.cost_range(objective.front_key))
    history = tuple(() for _ in objective.targets)
    return SearchState(
        evaluated=0,
        epoch=0,
        islands=islands,
        front=front,
        history=history,
        polished=frozenset(),
        population=settings.population,
    )


def _epoch(state: SearchState, settings: SearchSettings, run: Runner) -> SearchState:
    breeding_ends = settings.evaluations - int(settings.evaluations * settings.polishing)
    chosen = _unpolished(state, settings) if state.evaluated >= breeding_ends else []
    if chosen:
        tasks = _polishing(chosen, state, settings)
    else:
        until = breeding_ends if state.evaluated < breeding_ends else settings.evaluations
        tasks = _breeding(until - state.evaluated, settings)
    outcomes = run(state, tasks)
    front = state.front.copy()
    for _, seen, _ in outcomes:
        front.merge(seen)
    islands = tuple(island for island, _, _ in outcomes)
    steps = [taken for _, _, taken in outcomes]
    return SearchState(
        evaluated=state.evaluated + sum(step.evaluated for taken in steps for step in taken), epoch=state.epoch + 1,
        islands=islands if chosen else _migrated(islands, settings.population), front=front,
        history=record(state.history, state.evaluated, steps), polished=state.polished | {mark for mark, _ in chosen},
        population=settings.population,
    )  # fmt: skip


def _breeding(left: int, settings: SearchSettings) -> list[Task]:
    """One epoch of breeding, at most `left` candidates, shared out evenly."""
    brood = _brood(settings)
    total = min(left, settings.islands * settings.generations_per_epoch * brood)
    tasks = []
    for number in range(settings.islands):
        share = total * (number + 1) // settings.islands - total * number // settings.islands
        full, rest = divmod(share, brood)
        tasks.append(Task(batches=(brood,) * full + ((rest,) if rest else ())))
    return tasks


def _brood(settings: SearchSettings) -> int:
    """Children of one generation: `offspring`, but few enough that even a short search has generations."""
    return max(1, min(settings.offspring, settings.evaluations // (settings.islands * FEWEST_GENERATIONS)))


def _unpolished(state: SearchState, settings: SearchSettings) -> list[tuple[int, Genes]]:
    """Mark and genes of the best candidates whose neighbourhoods were not searched, target by target in turn."""
    jobs = settings.islands * JOBS_PER_ISLAND
    found: dict[int, Genes] = {}
    waiting = []
    for target in range(len(state.history)):
        pool = state.pool(target, len(state.polished) + jobs)
        fresh = [(int(mark), n) for n, mark in enumerate(pool.marks.tolist()) if mark not in state.polished]
        waiting.append([(mark, pool.genes[:, n]) for mark, n in fresh[:jobs]])
    for place in range(jobs):
        for queue in waiting:
            if place < len(queue) and len(found) < jobs:
                found.setdefault(*queue[place])
    return list(found.items())


def _polishing(chosen: list[tuple[int, Genes]], state: SearchState, settings: SearchSettings) -> list[Task]:
    """The chosen candidates' neighbourhoods, dealt to the islands in turn."""
    left, busy = settings.evaluations - state.evaluated, min(settings.islands, len(chosen))
    tasks = [Task()] * settings.islands
    for number in range(busy):
        limit = left * (number + 1) // busy - left * number // busy
        mine = [genes for _, genes in chosen[number :: settings.islands]]
        tasks[number] = Task(polish=np.stack(mine, axis=1), limit=limit)
    return tasks


def _migrated(islands: Sequence[Island], keep: int) -> tuple[Island, ...]:
    """Every island with the best of the one before it, in a ring."""
    count = max(1, int(keep * MIGRANTS))
    moved = []
    for number, island in enumerate(islands):
        guests = islands[number - 1].pools
        pools = (own.join(other.first(count), keep) for own, other in zip(island.pools, guests, strict=True))
        moved.append(replace(island, pools=tuple(pools)))
    return tuple(moved)


@contextmanager
def _runner(objective: Objective, settings: SearchSettings, workers: int, backend: str) -> Iterator[Runner]:
    """What carries out an epoch's tasks: this process, or joblib's workers."""
    work = partial(advance, objective=objective, keep=settings.population, chunk=settings.offspring)
    if workers == 1:
        yield lambda state, tasks: [
            work(island, task, state.front) for island, task in zip(state.islands, tasks, strict=True)
        ]
        return
    from joblib import Parallel, delayed, parallel_config

    # a library's own threads would fight with the workers; clusters' backends know no such limit
    limit: dict[str, Any] = {"inner_max_num_threads": 1} if backend == "loky" else {}
    with parallel_config(backend=backend, **limit), Parallel(n_jobs=workers) as parallel:

        def shared(state: SearchState, tasks: Sequence[Task]) -> list[Advanced]:
            pairs = zip(state.islands, tasks, strict=True)
            return list(parallel(delayed(work)(island, task, state.front) for island, task in pairs))

        yield shared

"""Pools, the front and the tasks of islands against plain sorting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.space import load_space
from tinynas.budgets import Budget
from tinynas.evolution import islands
from tinynas.evolution.front import BINS_PER_E, Front
from tinynas.evolution.islands import Island, Pool, Task, advance
from tinynas.genes.layout import GENES, KERNEL
from tinynas.genes.population import Encoding, fingerprints
from tinynas.pricing.objective import Objective, PricedPopulation

ENCODING = Encoding(load_space("res"), (64, 64), 2)
OBJECTIVE = Objective(ENCODING, [(Budget("params", 4e6), Budget("layers", 19)), (Budget("params", 9e6),)], {})


@given(seed=st.integers(0, 10**6), keep=st.integers(1, 30), batches=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_a_pool_holds_the_best_different_candidates_of_all_that_were_offered(seed, keep, batches):
    rng = np.random.default_rng(seed)
    pool, everything = Pool.empty(["params"]), []
    known = ENCODING.sample(25, rng)
    scores, excesses = rng.integers(0, 6, 25).astype(float), np.maximum(rng.integers(-3, 3, 25), 0).astype(float)
    for _ in range(batches):
        index = rng.integers(0, 25, 12)
        evaluation = PricedPopulation(scores[index], {"params": scores[index] * 2}, excesses[index][None])
        pool = pool.offer(known[:, index], evaluation, 0, keep)
        everything += index.tolist()
    marks = fingerprints(known)
    unique = {int(marks[i]): i for i in everything}.values()
    best = sorted(unique, key=lambda i: (excesses[i], -scores[i]))[:keep]
    assert list(zip(pool.excess, -pool.score, strict=True)) == [(excesses[i], -scores[i]) for i in best]
    assert len(set(pool.marks.tolist())) == pool.size
    assert (pool.marks == fingerprints(pool.genes)).all()
    assert (pool.costs["params"] == pool.score * 2).all()


@given(seed=st.integers(0, 10**6), batches=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_the_front_is_the_non_dominated_set_up_to_its_bins(seed, batches):
    rng = np.random.default_rng(seed)
    front, offered = Front.empty("params", 1.0, 10.0), []
    for _ in range(batches):
        cost, score = rng.uniform(1.0, 10.0, 40), rng.integers(0, 30, 40).astype(float)
        genes = np.zeros((GENES, 40), np.int64)
        genes[0], genes[1] = score, np.arange(40)
        admitted = rng.random(40) < 0.8
        front.offer(genes, score, cost, admitted)
        offered += [(c, s) for c, s, ok in zip(cost, score, admitted, strict=True) if ok]
    genes, score, cost = front.members()
    assert (np.diff(score) > 0).all()
    assert (np.diff(cost) > 0).all()
    assert (genes[0] == score).all()
    assert set(zip(cost, score, strict=True)) <= set(offered)
    for offered_cost, offered_score in offered:  # someone at most one bin dearer is at least as good
        reach = cost <= offered_cost * np.exp(1 / BINS_PER_E)
        assert score[reach].max(initial=-np.inf) >= offered_score


def test_merged_fronts_hold_what_one_front_would():
    rng = np.random.default_rng(0)
    one, left, right = (Front.empty("params", 1.0, 10.0) for _ in range(3))
    for number in range(10):
        cost, score = rng.uniform(1, 10, 50), rng.random(50)
        genes = np.tile(rng.integers(0, 9, 50), (GENES, 1))
        for front in (one, (left, right)[number % 2]):
            front.offer(genes, score, cost)
    left.merge(right)
    for merged, expected in zip(left.members(), one.members(), strict=True):
        np.testing.assert_array_equal(merged, expected)


def start():
    front = Front.empty(OBJECTIVE.front_key, *OBJECTIVE.cost_range(OBJECTIVE.front_key))
    return Island.start(OBJECTIVE, np.random.SeedSequence(1)), front


def test_an_island_evaluates_exactly_its_batches_and_only_gets_better():
    island, front = start()
    after, seen, steps = advance(island, Task(batches=(200, 100, 37)), front, OBJECTIVE, keep=20, chunk=64)
    assert [step.evaluated for step in steps] == [200, 100, 37]
    for target in (0, 1):
        best = [(step.best[target][0], -step.best[target][1]) for step in steps]
        assert best == sorted(best, reverse=True)
        evaluation = OBJECTIVE.evaluate(after.pools[target].genes)
        np.testing.assert_array_equal(after.pools[target].score, evaluation.score)
        np.testing.assert_array_equal(after.pools[target].excess, evaluation.excess[target])
    assert island.pools[0].size == 0, "the island before is left as it was"
    assert front.members()[1].size == 0
    genes, score, cost = seen.members()
    evaluation = OBJECTIVE.evaluate(genes)
    np.testing.assert_array_equal(evaluation.score, score)
    np.testing.assert_array_equal(evaluation.costs["params"], cost)


def test_children_differ_from_their_parent_in_one_to_three_genes():
    """Kernels, which no rule between genes moves: two sizes each, so one that is drawn twice is as it was."""
    encoding = Encoding(load_space("mob"), (64, 64), 2)
    objective = Objective(encoding, [(Budget("params", 4e6),)], {})
    island = Island.start(objective, np.random.SeedSequence(0))
    front = Front.empty(objective.front_key, *objective.cost_range(objective.front_key))
    worker = islands._Worker(island, front, objective, 1)
    worker.take_in(encoding.sample(1, np.random.default_rng(1)))
    parent, free = worker.pools[0].genes, encoding.moves.free_rows
    kernels = (worker.children(30_000)[KERNEL:] != parent[KERNEL:]).sum(axis=0).reshape(3, -1).mean(axis=1)
    expected = [sum(row >= KERNEL for row in free) * (1 - (1 - 2 / len(free)) ** count) / 2 for count in (1, 2, 3)]
    np.testing.assert_allclose(kernels, expected, rtol=0.05)


def test_polishing_finds_what_the_neighbourhood_holds():
    island, front = start()
    island, front, _ = advance(island, Task(batches=(300, 300)), front, OBJECTIVE, keep=50, chunk=512)
    column = island.pools[0].genes[:, 0]
    neighbours = ENCODING.moves.neighbours(column, np.random.default_rng(5))
    evaluation = OBJECTIVE.evaluate(neighbours)
    best = evaluation.score[evaluation.excess[0] <= 0].max(initial=-np.inf)
    task = Task(polish=column[:, None], limit=10**6)
    after, _, steps = advance(island, task, front, OBJECTIVE, keep=50, chunk=512)
    assert after.pools[0].best_score == pytest.approx(max(best, island.pools[0].best_score), rel=1e-12)
    assert sum(step.evaluated for step in steps) == neighbours.shape[1]
    limited = advance(island, Task(polish=column[:, None], limit=100), front, OBJECTIVE, keep=50, chunk=64)[2]
    assert [step.evaluated for step in limited] == [64, 36]

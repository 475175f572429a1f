"""The whole loop: same result for one seed, any number of workers and after any interruption."""

import itertools

import numpy as np
import pytest

from latency_tables import find_table
from search_spaces.errors import UserError
from search_spaces.space import load_space
from tinynas.budgets import Budget
from tinynas.evolution.loop import SearchSettings, evolve
from tinynas.evolution.state import SearchState
from tinynas.genes.layout import DEPTH, HIDDEN, OUT
from tinynas.genes.population import Encoding
from tinynas.pricing.objective import Objective

T4 = find_table("t4")
SHORT = SearchSettings(evaluations=9_001, population=48, offspring=256, seed=3, islands=3, generations_per_epoch=2)


def family():
    encoding = Encoding(load_space("res"), (640, 640), 80)
    targets = [(Budget("latency_ms", limit), Budget("layers", 25)) for limit in (3.0, 5.0)]
    return Objective(encoding, targets, {T4.id: T4})


@pytest.fixture(scope="module")
def straight():
    return list(evolve(family(), SHORT))


def same(a: SearchState, b: SearchState) -> bool:
    """Whether two states are equal to the last bit."""
    assert (a.evaluated, a.epoch, a.history, a.polished) == (b.evaluated, b.epoch, b.history, b.polished)
    for left, right in zip(a.islands, b.islands, strict=True):
        assert left.rng_state == right.rng_state
        for one, other in zip(left.pools, right.pools, strict=True):
            np.testing.assert_array_equal(one.genes, other.genes)
            np.testing.assert_array_equal(one.score, other.score)
            np.testing.assert_array_equal(one.excess, other.excess)
            np.testing.assert_array_equal(one.marks, other.marks)
            assert one.costs.keys() == other.costs.keys()
    for one, other in zip(a.front.members(), b.front.members(), strict=True):
        np.testing.assert_array_equal(one, other)
    return True


def test_spends_exactly_the_evaluations_and_never_gets_worse(straight):
    assert straight[-1].evaluated == 9_001
    for target in (0, 1):
        rows = straight[-1].history[target]
        assert rows[-1]["evaluations"] == 9_001
        counts = [row["evaluations"] for row in rows]
        assert counts == sorted(set(counts))
        scores = [row["best_score"] for row in rows if row["best_score"] is not None]
        assert scores == sorted(scores)
        assert scores[-1] == straight[-1].pool(target).best_score
        assert rows[-1]["costs"]["latency_ms"] <= (3.0, 5.0)[target]


def test_one_seed_one_result(straight):
    assert same(list(evolve(family(), SHORT))[-1], straight[-1])
    other = SearchSettings(**{**{name: getattr(SHORT, name) for name in SHORT.__slots__}, "seed": 4})
    assert list(evolve(family(), other))[-1].history != straight[-1].history


@pytest.mark.parametrize("stop", [0, 2, -2])
def test_saved_and_continued_is_as_if_never_stopped(straight, tmp_path, stop):
    path = tmp_path / "state.npz"
    straight[stop].save(path)
    loaded = SearchState.load(path)
    assert same(loaded, straight[stop])
    assert same(list(evolve(family(), SHORT, state=loaded))[-1], straight[-1])


def test_a_finished_search_has_nothing_left_to_do(straight):
    assert list(evolve(family(), SHORT, state=straight[-1])) == []


def test_two_workers_find_what_one_finds(straight):
    for shared, alone in zip(evolve(family(), SHORT, workers=2), straight, strict=True):
        assert same(shared, alone)


def test_a_damaged_state_is_refused(straight, tmp_path):
    path = tmp_path / "state.npz"
    straight[0].save(path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"not a state"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a readable search state"):
            SearchState.load(path)


@pytest.mark.parametrize("evaluations", [1, 5, 63, 500])
def test_even_the_shortest_search_ends(evaluations):
    *_, state = evolve(family(), SearchSettings(evaluations=evaluations))
    assert state.evaluated == evaluations


def test_targets_share_the_work_and_the_front_covers_them():
    *_, state = evolve(family(), SearchSettings(evaluations=60_000, population=128))
    genes, score, cost = state.front.members()
    for target, limit in enumerate((3.0, 5.0)):
        best = state.pool(target).best_score
        assert score[cost <= limit].max() == pytest.approx(best, rel=2e-3)
    costs = family().evaluate(genes).costs
    np.testing.assert_allclose(costs["latency_ms"], cost, rtol=1e-12)
    assert (costs["layers"] <= 25).all()


def test_finds_the_optimum_of_a_tiny_space():
    """Against full enumeration: few widths, two depths per stage, one hidden width."""
    space = load_space("res")
    stages = [stage.model_copy(update={"depth": (1, 2), "hidden": (0.5, 0.5)}) for stage in space.stages]
    space = space.model_copy(update={"stages": tuple(stages), "stem": space.stem.model_copy(update={"out": (16, 16)})})
    encoding = Encoding(space, (64, 64), 2)
    objective = Objective(encoding, [(Budget("conv_macs", 55e6),)], {})
    rows, smallest = [], encoding.corner(largest=False)[:, 0]
    widths = (range(32, 129, 8), range(64, 129, 8), range(64, 257, 8))
    for outs in itertools.product(*widths):
        for depths in itertools.product((1, 2), repeat=5):
            column = smallest.copy()
            column[OUT : OUT + 3], column[DEPTH : DEPTH + 5], column[HIDDEN : HIDDEN + 5] = outs, depths, 8
            rows.append(column)
    evaluation = objective.evaluate(encoding.repair(np.stack(rows, axis=1)))
    optimum = evaluation.score[evaluation.excess[0] <= 0].max()
    *_, state = evolve(objective, SearchSettings(evaluations=40_000, population=128))
    assert state.pool().best_score == pytest.approx(optimum, rel=1e-12)

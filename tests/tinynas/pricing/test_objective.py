"""Evaluations of populations equal what the single networks' graphs say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_tables import find_table, predict
from search_spaces import costs
from search_spaces.emit import emit_backbone, emit_detector
from search_spaces.space import load_space
from tinynas.budgets import Budget
from tinynas.genes.population import Encoding
from tinynas.pricing.objective import Objective
from tinynas.quantities import QUANTITIES
from tinynas.scores import deepmad, entropy

T4, CPU = find_table("t4"), find_table("cpu")
TABLES = {table.id: table for table in (T4, CPU)}
GRAPH_COSTS = {
    "params": costs.params, "conv_macs": costs.conv_macs, "layers": costs.layers,
    "peak_memory_bytes": costs.peak_memory_bytes,
}  # fmt: skip


def objective(name, *, backbone_only=False, score=None, device=True):
    encoding = Encoding(load_space(name), (320, 320), 5)
    budgets = [Budget(quantity, 1.0) for quantity in (*GRAPH_COSTS, "effectiveness")]
    budgets += [Budget("latency_ms", 1.0, id_) for id_ in TABLES] if device else []
    return Objective(encoding, [tuple(budgets)], TABLES, backbone_only=backbone_only, score=score)


OBJECTIVES = {name: objective(name) for name in ("res", "csp", "mob")}


@pytest.mark.parametrize("name", OBJECTIVES)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 3))
@settings(max_examples=5, deadline=None)
def test_candidate_i_costs_what_network_i_costs(name, seed, count):
    subject = OBJECTIVES[name]
    encoding = subject.encoding
    genes = encoding.sample(count, np.random.default_rng(seed))
    found = subject.evaluate(genes)
    for index in range(count):
        structure = encoding.single(genes, index)
        whole, backbone = emit_detector(structure), emit_backbone(structure)
        expected = {key: cost(whole) for key, cost in GRAPH_COSTS.items()}
        expected |= {
            f"latency_ms@{table.id}": predict(whole, table, max_extrapolated=1.0).total_ms for table in TABLES.values()
        }
        expected["effectiveness"] = deepmad.effectiveness(backbone)
        assert set(found.costs) == set(expected)
        for key, value in expected.items():
            assert found.costs[key][index] == pytest.approx(value, rel=1e-9), key
        weights = encoding.space.score.weights
        assert found.score[index] == pytest.approx(entropy.score(backbone, weights), rel=1e-9)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_backbone_only_leaves_out_neck_head_and_overhead(name):
    subject = objective(name, backbone_only=True)
    genes = subject.encoding.sample(3, np.random.default_rng(0))
    found = subject.evaluate(genes)
    for index in range(3):
        graph = emit_backbone(subject.encoding.single(genes, index))
        for key, cost in GRAPH_COSTS.items():
            assert found.costs[key][index] == pytest.approx(cost(graph), rel=1e-9), key
        for table in TABLES.values():
            prediction = predict(graph, table, max_extrapolated=1.0)
            assert found.costs[f"latency_ms@{table.id}"][index] == pytest.approx(prediction.parts["backbone"], rel=1e-9)


def test_excess_is_the_sum_over_a_targets_budgets():
    encoding = Encoding(load_space("res"), (64, 64), 2)
    targets = [(Budget("params", 2e6), Budget("layers", 20)), (Budget("params", 8e6),)]
    genes = encoding.sample(50, np.random.default_rng(0))
    found = Objective(encoding, targets, {}).evaluate(genes)
    params, layers = found.costs["params"], found.costs["layers"]
    expected = np.maximum(params / 2e6 - 1, 0) + np.maximum(layers / 20 - 1, 0)
    np.testing.assert_allclose(found.excess, [expected, np.maximum(params / 8e6 - 1, 0)], atol=1e-12)


def test_a_score_that_is_no_sum_comes_from_the_graph():
    encoding = Encoding(load_space("res"), (64, 64), 2)
    subject = Objective(encoding, [(Budget("params", 2e6),)], {}, score="deepmad")
    genes = encoding.sample(4, np.random.default_rng(0))
    weights = encoding.space.score.weights
    singles = [deepmad.score(emit_backbone(encoding.single(genes, index)), weights) for index in range(4)]
    np.testing.assert_allclose(subject.evaluate(genes).score, singles, rtol=1e-12)


def test_a_dear_score_is_asked_for_candidates_within_budget_alone(monkeypatch):
    encoding = Encoding(load_space("res"), (64, 64), 2)
    asked = []

    class Dear:
        @staticmethod
        def score_structures(structures):
            asked.extend(structures)
            return np.arange(len(structures), dtype=float)

    monkeypatch.setattr("tinynas.pricing.objective.load_plugin", lambda package, name: Dear)
    genes = encoding.sample(40, np.random.default_rng(0))
    params = Objective(encoding, [(Budget("params", 1.0),)], {}, score="dear").evaluate(genes).costs["params"]
    middle = float(np.median(params))
    asked.clear()
    found = Objective(encoding, [(Budget("params", middle),)], {}, score="dear").evaluate(genes)
    within = np.flatnonzero(params <= middle)
    assert asked == [encoding.single(genes, int(index)) for index in within]
    assert (found.score[within] == np.arange(within.size)).all()
    assert np.isnan(np.delete(found.score, within)).all()


def test_the_range_of_a_cost_spans_random_candidates():
    subject = OBJECTIVES["res"]
    genes = subject.encoding.sample(200, np.random.default_rng(0))
    for key in ("params", f"latency_ms@{T4.id}"):
        low, high = subject.cost_range(key)
        values = subject.evaluate(genes).costs[key]
        assert low <= values.min() <= values.max() <= high


def test_a_latency_without_a_device_needs_one_table():
    encoding = Encoding(load_space("res"), (64, 64), 2)
    with pytest.raises(ValueError, match="exactly one table"):
        Objective(encoding, [(Budget("latency_ms", 1.0),)], TABLES)
    with pytest.raises(ValueError, match="at least one target"):
        Objective(encoding, [], TABLES)


@pytest.mark.parametrize("quantity", ["peak_memory_bytes", "effectiveness"])
def test_one_quantity_alone_is_counted_on_the_graph_that_it_is_of(quantity):
    encoding = Encoding(load_space("mob"), (96, 96), 80)
    subject = Objective(encoding, [(Budget(quantity, 1.0),)], {})
    genes = encoding.sample(4, np.random.default_rng(5))
    counted = QUANTITIES[quantity].count
    for index, found in enumerate(subject.evaluate(genes).costs[quantity]):
        graph = emit_backbone if QUANTITIES[quantity].of_backbone else emit_detector
        assert found == pytest.approx(float(counted(graph(encoding.single(genes, index)))))


def test_who_is_just_at_a_limit_is_admitted():
    encoding = Encoding(load_space("res"), (320, 320), 5)
    genes = encoding.sample(50, np.random.default_rng(6))
    layers = Objective(encoding, [(Budget("layers", 1.0),)], {}).evaluate(genes).costs["layers"]
    limit = float(np.median(layers))
    assert (layers == limit).any()
    subject = Objective(encoding, [(Budget("latency_ms", 5.0), Budget("layers", limit))], {T4.id: T4})
    assert (subject.admitted(subject.evaluate(genes)) == (layers <= limit)).all()

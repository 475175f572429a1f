"""A population's row i is network i: every cost and the score, for all spaces, from the same emission code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.space import load_space, shipped_spaces
from tinynas.genes.layout import DEPTH, GENES, HIDDEN, KERNEL, OUT, STEM
from tinynas.genes.membership import neck_rule_of, outside
from tinynas.genes.population import Encoding, fingerprints
from tinynas.scores import entropy_detector
from tinynas.scores.entropy import score

MEASURES = {
    "params": costs.params,
    "params_train": lambda graph: costs.params(graph, deploy=False),
    "macs": costs.conv_macs,
    "layers": costs.layers,
    "memory": costs.peak_memory_bytes,
    "score": lambda graph: score(graph, (1.0, 1.0, 1.0, 1.0, 16.0)),
    "score with the neck": lambda graph: entropy_detector.score(graph, (1.0, 1.0, 1.0, 1.0, 16.0)),
}


def encoding(name: str, size=(64, 96)) -> Encoding:
    return Encoding(load_space(name), size, 3)


@pytest.mark.parametrize("name", shipped_spaces())
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_population_costs_equal_scalar_costs(name, seed, count):
    rng = np.random.default_rng(seed)
    rules = load_space(name)
    necks = rules.necks()
    size = tuple(int(side) * 32 for side in rng.integers(2, 5, 2))
    space = Encoding(rules.with_neck(necks[int(rng.integers(len(necks)))]), size, 3)
    genes = space.sample(count, rng)
    # depths of one and equal widths are where repeats and masks vanish
    genes[DEPTH : DEPTH + 5, : count // 2] = 1
    genes[OUT + 2, : count // 3] = genes[OUT + 3, : count // 3]
    genes = space.repair(genes)
    population = emit_detector(space.population(genes))
    for label, measure in MEASURES.items():
        rows = np.broadcast_to(np.asarray(measure(population)), (count,))
        single = [measure(emit_detector(space.single(genes, i))) for i in range(count)]
        np.testing.assert_allclose(rows, single, rtol=1e-12, err_msg=label)


@pytest.mark.parametrize("name", shipped_spaces())
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_repaired_genes_are_in_the_space(name, seed):
    space = encoding(name)
    rng = np.random.default_rng(seed)
    genes = rng.integers(-50, 900, (GENES, 30))
    genes[KERNEL:] = 3
    genes = space.mutate(space.repair(genes), rng)
    rules = space.space
    assert ((genes[STEM] >= rules.stem.out[0]) & (genes[STEM] <= rules.stem.out[1])).all()
    before = genes[STEM]
    for index, stage in enumerate(rules.stages):
        out, hidden, depth = genes[OUT + index], genes[HIDDEN + index], genes[DEPTH + index]
        assert (out >= before).all()
        assert (out % 8 == 0).all()
        assert (hidden % 8 == 0).all()
        assert ((out >= stage.out[0]) & (out <= stage.out[1])).all()
        assert (hidden <= np.maximum(out * stage.hidden[1], 8)).all()
        assert (hidden >= out * stage.hidden[0]).all()
        assert ((depth >= stage.depth[0]) & (depth <= stage.depth[1])).all()
        assert np.isin(genes[KERNEL + index], stage.kernels).all()
        if stage.tied:
            assert (out == before).all()
            assert (hidden == genes[HIDDEN + index - 1]).all()
        before = out


@pytest.mark.parametrize("name", shipped_spaces())
def test_every_candidate_is_a_sound_structure_file(name):
    from search_spaces.text import format_structure, parse_structure

    rules = load_space(name)
    for rule in rules.necks():
        space = Encoding(rules.with_neck(rule), (64, 96), 3)
        genes = space.sample(3, np.random.default_rng(1))
        for index in range(3):
            structure = space.single(genes, index)
            assert parse_structure(format_structure(structure)) == structure
            assert outside(structure, rules) is None
            assert neck_rule_of(structure, rules).depth == rule.depth


def test_fingerprints_tell_genes_apart():
    space = encoding("res")
    genes = space.sample(5000, np.random.default_rng(0))
    distinct = np.unique(genes, axis=1).shape[1]
    assert np.unique(fingerprints(genes)).size == distinct


def test_a_population_must_agree_on_shared_wrappers():
    space = encoding("csp")
    genes = space.sample(4, np.random.default_rng(0))
    genes[HIDDEN + 3, 0] += 8
    with pytest.raises(ValueError, match="tied"):
        emit_detector(space.population(genes))

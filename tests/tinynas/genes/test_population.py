"""Gene operations against slow, obvious references."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.space import load_space
from tinynas.genes.layout import DEPTH, GENES, HIDDEN, KERNEL, OUT, STEM
from tinynas.genes.moves import SLOTS
from tinynas.genes.population import Encoding, fingerprints

SPACES = {name: Encoding(load_space(name), (64, 64), 3) for name in ("res", "csp", "mob")}
free_taps = load_space("res").model_copy(update={"tap_growth": None, "name": "free"})
SPACES["free"] = Encoding(free_taps, (64, 64), 3)


def nearest(value, step):
    return max(math.floor(value / step + 0.5), 1) * step


def clip(value, low, high):
    return min(max(value, low), high)


def repaired(space, genes):
    """One candidate's genes after repair, rule by rule."""
    genes, step = [int(gene) for gene in genes], space.channel_step
    before = genes[STEM] = clip(nearest(genes[STEM], step), *space.stem.out)
    for index, stage in enumerate(space.stages):
        if stage.tied:
            for row in (OUT, HIDDEN, KERNEL):
                genes[row + index] = genes[row + index - 1]
        else:
            wanted = genes[OUT + index]
            if space.tap_growth is not None:
                if index == 3:
                    wanted = nearest(genes[OUT + 1] * space.tap_growth, 1)
                elif index == 4:
                    wanted = nearest(genes[OUT + 3] * space.tap_growth, 1)
                elif index == 2:
                    wanted = min(wanted, nearest(genes[OUT + 1] * space.tap_growth, 1))
            out = max(clip(nearest(wanted, step), *stage.out), before)
            low = max(math.ceil(math.ceil(out * stage.hidden[0]) / step) * step, step)
            high = max(math.floor(out * stage.hidden[1]) // step * step, low)
            genes[OUT + index] = out
            genes[HIDDEN + index] = clip(nearest(genes[HIDDEN + index], step), low, high)
        genes[DEPTH + index] = clip(genes[DEPTH + index], *stage.depth)
        before = genes[OUT + index]
    return genes


@pytest.mark.parametrize("name", SPACES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_repair_is_the_rules_one_by_one(name, seed):
    encoding, rng = SPACES[name], np.random.default_rng(seed)
    genes = rng.integers(-50, 900, (GENES, 20))
    genes[KERNEL:] = 3
    expected = [repaired(encoding.space, column) for column in genes.T]
    assert encoding.repair(genes).T.tolist() == expected


@pytest.mark.parametrize("name", SPACES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_mutants_stay_in_the_space_and_parents_as_they_were(name, seed):
    encoding, rng = SPACES[name], np.random.default_rng(seed)
    parents = encoding.sample(60, rng)
    kept = parents.copy()
    children = encoding.mutate(parents, rng)
    assert (parents == kept).all()
    assert (encoding.repair(children.copy()) == children).all()
    assert (children != parents).any(axis=0).mean() > 0.7


def test_every_free_gene_is_mutated_to_every_allowed_neighbour():
    encoding = SPACES["mob"]
    rng = np.random.default_rng(1)
    parent = encoding.repair(encoding.sample(1, rng))
    children = encoding.mutate(np.repeat(parent, 20_000, axis=1), rng, most=1)
    changed = {row: set(children[row].tolist()) - {int(parent[row, 0])} for row in encoding.moves.free_rows}
    assert all(changed.values())
    wanted = {
        depth for depth in range(2, 5) if depth != parent[DEPTH + 2, 0] and abs(depth - parent[DEPTH + 2, 0]) <= 2
    }
    assert changed[DEPTH + 2] == wanted


def changed_kernels(encoding, changes):
    """How many kernels differ from the parent's after so many changes of single genes, on average: those that are drawn an
    odd number of times, as each has two sizes."""
    free = encoding.moves.free_rows
    return sum(row >= KERNEL for row in free) * (1 - (1 - 2 / len(free)) ** changes) / 2


@pytest.mark.parametrize("most", [1, 2, 3])
def test_children_get_one_to_most_changes_in_equal_shares(most):
    encoding, rng = SPACES["mob"], np.random.default_rng(2)
    parent = encoding.repair(encoding.sample(1, rng))
    children = encoding.mutate(np.repeat(parent, 30_000, axis=1), rng, most=most)
    kernels = (children[KERNEL:] != parent[KERNEL:]).sum(axis=0).reshape(most, -1).mean(axis=1)
    expected = [changed_kernels(encoding, changes) for changes in range(1, most + 1)]
    np.testing.assert_allclose(kernels, expected, rtol=0.05)


def single_moves(encoding, column):
    """(row, value) of every mutation of one gene."""
    children = [encoding.moves._moves.reshape(GENES, -1, SLOTS)[row, column[row]] for row in encoding.moves.free_rows]
    pairs = zip(encoding.moves.free_rows, children, strict=True)
    return [(row, value) for row, slots in pairs for value in sorted(set(slots.tolist())) if value != column[row]]


def changed(encoding, column, *changes):
    candidate = column.copy()
    for row, value in changes:
        candidate[row] = value
    return tuple(repaired(encoding.space, candidate))


@pytest.mark.parametrize("name", SPACES)
def test_neighbours_are_one_or_two_moves_away_or_have_one_kernel_size(name):
    encoding, rng = SPACES[name], np.random.default_rng(3)
    column = encoding.sample(1, rng)[:, 0]
    singles = single_moves(encoding, column)
    expected = {changed(encoding, column, move) for move in singles}
    expected |= {changed(encoding, column, *two) for two in combinations(singles, 2) if two[0][0] != two[1][0]}
    for size in (3, 5) if name == "mob" else ():
        alike = column.copy()
        alike[KERNEL:] = size
        expected.add(changed(encoding, alike))
        expected |= {changed(encoding, alike, move) for move in single_moves(encoding, alike)}
    found = encoding.moves.neighbours(column, rng)
    assert {tuple(candidate) for candidate in found.T.tolist()} == expected


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_fingerprints_differ_exactly_where_genes_do(seed):
    genes = SPACES["csp"].sample(300, np.random.default_rng(seed))
    genes = np.concatenate([genes, genes[:, :50]], axis=1)
    different = len({tuple(column) for column in genes.T.tolist()})
    assert np.unique(fingerprints(genes)).size == different
    assert (fingerprints(genes)[300:] == fingerprints(genes[:, :50].copy())).all()

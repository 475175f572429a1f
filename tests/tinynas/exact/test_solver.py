"""The exact solver against full enumeration of tiny spaces."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from latency_tables import find_table
from search_spaces.errors import UserError
from search_spaces.space import load_space
from tinynas.budgets import Budget
from tinynas.exact import labels
from tinynas.exact import solver as exact
from tinynas.exact.bounds import descend, relax
from tinynas.exact.dominance import undominated
from tinynas.exact.lattice import attainable, build_lattice
from tinynas.genes.layout import DEPTH, GENES, HIDDEN, KERNEL, OUT, STEM
from tinynas.genes.population import Encoding
from tinynas.pricing import columns
from tinynas.pricing.additive_costs import AdditiveCosts

QUANTITIES = ("latency_ms@t4-tensorrt-fp16-b1", "params", "conv_macs", "layers")


@pytest.fixture(scope="module")
def tables():
    table = find_table("t4")
    return {table.id: table}


def tiny(name, spans, growth, depth_spans, wide=()):
    """A space with one or two widths and depths per stage; a choice of hidden widths in the stages `wide` alone."""
    space = load_space(name)
    lows = [64, 64, 128, 128, 256]
    stages = []
    for index, stage in enumerate(space.stages):
        ratio = 2.0 if name == "mob" else 0.5
        hidden = (ratio, 1.5 * ratio if index + 1 in wide else ratio)
        out, depth = (lows[index], lows[index] + 32 * spans[index]), (1, 1 + depth_spans[index])
        kernels = stage.kernels if index == 1 else (3,)
        stages.append(stage.model_copy(update={"out": out, "depth": depth, "hidden": hidden, "kernels": kernels}))
    stem = space.stem.model_copy(update={"out": (32, 64)})
    return space.model_copy(
        update={"stages": tuple(stages), "stem": stem, "channel_step": 32, "tap_growth": growth, "max_layers": None}
    )


@st.composite
def spaces(draw):
    name, growth = draw(st.sampled_from(["res", "csp", "mob"])), draw(st.sampled_from([None, 2.0]))
    first, second, third = (draw(st.integers(0, 1)) for _ in range(3))
    second = max(first, second)
    fourth = 2 * second if growth else third + draw(st.integers(0, 1))
    spans = [first, second, fourth if name == "csp" else min(third, fourth), fourth]
    spans.append(4 * second if growth else draw(st.integers(0, 1)))
    depth_spans = [draw(st.integers(0, 1)) for _ in range(5)]
    return tiny(name, spans, growth, depth_spans, wide=(draw(st.integers(1, 5)),))


def enumerate_all(encoding):
    """Every candidate: all combinations of raw genes, repaired."""
    space, step = encoding.space, encoding.space.channel_step
    axes = {STEM: range(space.stem.out[0], space.stem.out[1] + 1, step)}
    for index, stage in enumerate(space.stages):
        axes[DEPTH + index] = range(stage.depth[0], stage.depth[1] + 1)
        if not stage.tied:
            dictated = space.tap_growth is not None and index in (3, 4)
            axes[OUT + index] = [stage.out[0]] if dictated else range(stage.out[0], stage.out[1] + 1, step)
            axes[KERNEL + index] = stage.kernels
            low, high = (int(end * ratio) for end, ratio in zip(stage.out, stage.hidden, strict=True))
            axes[HIDDEN + index] = range(low, high + 1, step) if stage.hidden[0] < stage.hidden[1] else [low]
    genes = encoding.corner(largest=False)
    for row, choices in axes.items():
        values = np.array(list(choices))
        genes = np.repeat(genes, len(values), axis=1)
        genes[row] = np.tile(values, genes.shape[1] // len(values))
    assert genes.shape[1] <= 300_000
    return encoding.repair(genes)


def totals_of(encoding, genes, tables):
    table = next(iter(tables.values()))
    every = [columns.score(encoding), columns.latency(table), columns.params(), columns.conv_macs(), columns.layers()]
    return AdditiveCosts(encoding, every).total(genes)


@settings(max_examples=40, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**32 - 1), size=st.integers(1, 4), slack=st.floats(0.95, 1.3))
def test_equals_enumeration(tables, space, seed, size, slack):
    rng = np.random.default_rng(seed)
    encoding = Encoding(space, (64, 64), 4)
    genes = enumerate_all(encoding)
    totals = totals_of(encoding, genes, tables)
    chosen = rng.choice(4, size, replace=False)
    limits = totals[rng.integers(genes.shape[1]), 1 + chosen] * slack
    budgets = [make_budget(QUANTITIES[place], limit) for place, limit in zip(chosen, limits, strict=True)]
    within = (totals[:, 1 + chosen] <= limits).all(axis=1)
    if not within.any():
        with pytest.raises(UserError, match="meets all of"):
            exact.solve(encoding, budgets, tables)
        return
    solution = exact.solve(encoding, budgets, tables)
    assert solution.score == pytest.approx(totals[within, 0].max(), rel=1e-12)
    assert solution.exact
    assert solution.upper_bound >= solution.score
    np.testing.assert_array_equal(encoding.repair(solution.genes.copy()), solution.genes)
    for budget in budgets:
        assert solution.costs[budget.key] <= budget.limit


def make_budget(key, limit):
    quantity, _, device = key.partition("@")
    return Budget(quantity, float(limit), device)


@settings(max_examples=8, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**32 - 1), least=st.floats(0.8, 1.1), slack=st.floats(0.97, 1.2))
def test_a_floor_of_the_neck_is_kept(tables, space, seed, least, slack):
    """The best of those whose neck takes at least so much, by enumeration."""
    rng, table = np.random.default_rng(seed), next(iter(tables.values()))
    encoding = Encoding(space, (64, 64), 4)
    genes = enumerate_all(encoding)
    every = [columns.score(encoding), columns.latency(table), columns.neck_latency(table)]
    totals = AdditiveCosts(encoding, every).total(genes)
    chosen = totals[rng.integers(len(totals))]
    budgets = [make_budget(QUANTITIES[0], chosen[1] * slack), Budget("neck_ms", float(chosen[2] * least), table.id)]
    within = (totals[:, 1] <= budgets[0].limit) & (totals[:, 2] >= budgets[1].limit)
    if not within.any():
        with pytest.raises(UserError, match=r"meets all of: .*neck at least"):
            exact.solve(encoding, budgets, tables)
        return
    solution = exact.solve(encoding, budgets, tables)
    assert solution.score == pytest.approx(totals[within, 0].max(), rel=1e-12)
    assert solution.exact
    assert solution.costs[budgets[1].key] >= budgets[1].limit
    assert solution.costs[budgets[0].key] <= budgets[0].limit


@settings(max_examples=8, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**32 - 1), above=st.floats(0.9, 1.1))
def test_only_what_beats_a_score_is_looked_for(tables, space, seed, above):
    rng = np.random.default_rng(seed)
    encoding = Encoding(space, (64, 64), 4)
    totals = totals_of(encoding, enumerate_all(encoding), tables)
    limit = float(totals[rng.integers(len(totals)), 1])
    best = totals[totals[:, 1] <= limit, 0].max()
    budgets = [make_budget(QUANTITIES[0], limit)]
    costs = exact.priced(encoding, budgets, tables, None, False)
    found, bound = exact.improve(costs, budgets, above * best)
    if best > above * best * (1 + 1e-9):
        assert found is not None
        assert found.score == pytest.approx(best, rel=1e-12)
        assert bound == pytest.approx(best, rel=1e-8)
    elif best < above * best * (1 - 1e-9):
        assert found is None
        assert bound <= above * best * (1 + 1e-9)
    nothing = [make_budget(QUANTITIES[0], float(totals[:, 1].min()) * 0.9)]
    assert exact.improve(exact.priced(encoding, nothing, tables, None, False), nothing, 0.0)[0] is None


def test_limits_that_exclude_each_other_end_in_a_few_sweeps(tables, monkeypatch):
    """Each alone can be met. The bound falls without end then, and what is looked for must not fall with it."""
    encoding, sweeps = Encoding(tiny("res", [1, 1, 1, 2, 4], 2.0, [1, 0, 1, 0, 1], wide=(3,)), (640, 640), 80), []
    (table,) = tables.values()
    every = [columns.latency(table), columns.neck_latency(table)]
    totals = AdditiveCosts(encoding, every).total(enumerate_all(encoding))
    budgets = [
        make_budget(QUANTITIES[0], totals[:, 0].min() * 1.01), Budget("neck_ms", float(totals[:, 1].max() * 0.99), table.id)
    ]  # fmt: skip
    assert not ((totals[:, 0] <= budgets[0].limit) & (totals[:, 1] >= budgets[1].limit)).any()
    monkeypatch.setattr(exact, "sweep", lambda *given: (sweeps.append(given[2]), labels.sweep(*given))[1])
    with pytest.raises(UserError, match=r"meets all of: .*neck at least"):
        exact.solve(encoding, budgets, tables)
    assert len(sweeps) <= 8


def a_tiny_space():
    return Encoding(tiny("res", [1, 1, 1, 2, 4], 2.0, [1, 1, 1, 1, 0], wide=(3,)), (64, 64), 4)


def test_backbone_only_and_free_taps(tables):
    space = tiny("res", [0, 1, 1, 1, 1], None, [0, 1, 0, 1, 0], wide=(4,))
    encoding = Encoding(space, (64, 64), 4)
    genes = enumerate_all(encoding)
    every = [columns.score(encoding), columns.params()]
    totals = AdditiveCosts(encoding, every, backbone_only=True).total(genes)
    limit = float(np.median(totals[:, 1]))
    solution = exact.solve(encoding, [Budget("params", limit)], {}, backbone_only=True)
    assert solution.score == pytest.approx(totals[totals[:, 1] <= limit, 0].max(), rel=1e-12)
    assert solution.exact


def test_a_narrow_beam_still_gives_a_bound(monkeypatch, tables):
    """What did not fit is covered by the bound, and the bound holds."""
    encoding = a_tiny_space()
    genes = enumerate_all(encoding)
    totals = totals_of(encoding, genes, tables)
    limits = np.median(totals[:, [1, 2]], axis=0)
    best = totals[(totals[:, [1, 2]] <= limits).all(axis=1), 0].max()
    budgets = [make_budget(QUANTITIES[0], limits[0]), make_budget("params", limits[1])]
    monkeypatch.setattr(exact, "WIDTHS", (1,))
    solution = exact.solve(encoding, budgets, tables)
    assert solution.score <= best + 1e-9
    assert solution.upper_bound >= best - 1e-9


def test_a_sweep_that_ran_out_of_time_says_so(tables):
    encoding = a_tiny_space()
    lattice = build_lattice(AdditiveCosts(encoding, [columns.score(encoding), columns.layers()]), [99.0])
    at = [relax(lattice, np.zeros(1))]
    assert labels.sweep(lattice, at, -np.inf, 1000, deadline=np.inf).finished
    assert not labels.sweep(lattice, at, -np.inf, 1000, deadline=-np.inf).finished


def test_out_of_time_the_bound_still_holds(tables):
    encoding = Encoding(load_space("res"), (640, 640), 80)
    budgets = [make_budget(QUANTITIES[0], 3.8)]
    rushed = exact.solve(encoding, budgets, tables, seconds=0.0)
    solution = exact.solve(encoding, budgets, tables)
    assert solution.exact
    assert rushed.score <= solution.score <= rushed.upper_bound
    assert not rushed.exact


@settings(max_examples=15, deadline=None)
@given(space=spaces(), above=st.floats(0.0, 9.0), backbone_only=st.booleans())
def test_a_limit_of_layers_is_that_of_networks(space, above, backbone_only):
    encoding = Encoding(space, (64, 64), 4)
    costs = AdditiveCosts(encoding, [columns.score(encoding), columns.layers()], backbone_only=backbone_only)
    layers = costs.total(enumerate_all(encoding))[:, 1]
    limit = layers.min() + above
    found = attainable(build_lattice(costs, [limit]), 0, limit)
    assert layers[layers <= limit].max() <= found <= limit
    if limit <= layers.max():
        assert found == layers[layers <= limit].max()


def test_layers_are_counted_whole_whatever_the_limit():
    """Res networks have odd numbers of layers; 2 x (1 / 98) x 98 is a little less than 2."""
    encoding = Encoding(load_space("res"), (64, 64), 4)
    costs = AdditiveCosts(encoding, [columns.score(encoding), columns.layers()])
    for limit in range(20, 101):
        assert attainable(build_lattice(costs, [limit]), 0, limit) == limit - (limit % 2 == 0)


def test_layers_that_no_network_has_do_not_slow_the_proof(monkeypatch, tables):
    """26 layers are 25: blocks of two convs and a stem. Without that the first sweep finds nothing."""
    encoding = Encoding(load_space("res"), (640, 640), 80)
    limits = [make_budget(QUANTITIES[0], 3.8), Budget("layers", 25)]
    odd = exact.solve(encoding, limits, tables)
    widths = []
    monkeypatch.setattr(exact, "sweep", lambda *args: widths.append(args[3]) or labels.sweep(*args))
    even = exact.solve(encoding, [limits[0], Budget("layers", 26)], tables)
    assert even.score == odd.score
    assert even.exact
    assert max(widths, default=0) <= exact.WIDTHS[1]


def test_no_random_network_beats_the_optimum(tables):
    encoding = Encoding(load_space("csp"), (640, 640), 80)
    budgets = [make_budget(QUANTITIES[0], 6.0), Budget("layers", 31)]
    solution = exact.solve(encoding, budgets, tables)
    assert solution.exact
    near = np.repeat(solution.genes, 20_000, axis=1)
    totals = totals_of(encoding, encoding.mutate(near, np.random.default_rng(0)), tables)
    within = (totals[:, 1] <= 6.0) & (totals[:, 4] <= 31)
    assert within.any()
    assert totals[within, 0].max() <= solution.score + 1e-9


def test_certificates(tables):
    encoding = a_tiny_space()
    totals = totals_of(encoding, enumerate_all(encoding), tables)
    limit = float(np.median(totals[:, 1]))
    best = totals[totals[:, 1] <= limit, 0].max()
    latency = make_budget(QUANTITIES[0], limit)
    certificate = exact.certify(encoding, [latency], tables, best * 0.99)
    assert certificate.exact
    assert certificate.bound == pytest.approx(best)
    assert certificate.gap_percent == pytest.approx(100 / 0.99 - 100)
    told = certificate.data()
    assert (told["bound"], told["exact"], told["dropped"]) == (certificate.bound, True, [])
    assert told["seconds"] == pytest.approx(certificate.seconds, abs=0.001)
    loose = exact.certify(encoding, [latency, Budget("peak_memory_bytes", 1e6)], tables, best)
    assert not loose.exact
    assert loose.dropped == ["peak_memory_bytes"]
    assert loose.bound >= best - 1e-9
    unlimited = exact.certify(encoding, [Budget("peak_memory_bytes", 1e6)], tables, best)
    assert unlimited.bound == pytest.approx(totals[:, 0].max())


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 4), slack=st.floats(1.0, 1.2))
def test_the_first_bound_is_as_low_as_prices_can_make_it(tables, seed, size, slack):
    """The lowest bound is the best mean score of any mixture of networks whose mean costs keep the limits: a linear program
    over all networks, by SciPy."""
    encoding = a_tiny_space()
    totals = totals_of(encoding, enumerate_all(encoding), tables)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(4, size, replace=False)
    limits = totals[rng.integers(len(totals)), 1 + chosen] * slack
    solved = linprog(
        -totals[:, 0], totals[:, 1 + chosen].T / limits[:, None], np.ones(size), np.ones((1, len(totals))), [1.0]
    )
    budgets = [make_budget(QUANTITIES[place], limit) for place, limit in zip(chosen, limits, strict=True)]
    lattice = build_lattice(exact.priced(encoding, budgets, tables, None, False), list(limits))
    lowest = min(relaxed.bound for relaxed, _, _ in descend(lattice))
    assert lowest == pytest.approx(-solved.fun, rel=1e-5)


@settings(max_examples=10, deadline=None)
@given(space=spaces(), key=st.sampled_from(QUANTITIES), backbone_only=st.booleans())
def test_the_least_cost_is_that_of_enumeration(tables, space, key, backbone_only):
    encoding, budget = Encoding(space, (64, 64), 4), make_budget(key, 1.0)
    column = columns.budgeted(budget, tables)
    totals = AdditiveCosts(encoding, [column], backbone_only=backbone_only).total(enumerate_all(encoding))
    least = exact.least(encoding, budget, tables, backbone_only=backbone_only)
    assert least == pytest.approx(totals.min(), rel=1e-12)


@pytest.mark.parametrize(
    ("budgets", "score", "words"),
    [
        ([Budget("peak_memory_bytes", 1e6)], None, "peak_memory_bytes is not a sum over stages"),
        ([Budget("effectiveness", 0.3)], None, "effectiveness is not a sum over stages"),
        ([Budget("params", 1e7)], "deepmad", "score 'deepmad' is not a sum over stages"),
        ([Budget("params", 1e7)], "zen", "score 'zen' is not a sum over stages"),
        ([Budget("params", 1e3)], None, "no network of space res meets all of: params 0.001 M"),
    ],
)
def test_where_it_does_not_apply(budgets, score, words):
    with pytest.raises(UserError, match=words):
        exact.solve(a_tiny_space(), budgets, {}, score=score)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 400), costs=st.integers(1, 3), levels=st.integers(1, 9))
def test_dominance_never_drops_the_best(seed, size, costs, levels):
    rng = np.random.default_rng(seed)
    score, *drawn = rng.integers(0, 12, size), *rng.integers(0, levels, (costs, size))
    if rng.integers(2):  # a cost that differs from row to row and pays: most rows stay
        drawn[0] = rng.permutation(size)
        score = score + drawn[0]
    values = np.column_stack([score, *drawn]).astype(float)
    keep = undominated(values)
    covers = (values[:, None, 0] >= values[None, :, 0]) & (values[:, None, 1:] <= values[None, :, 1:]).all(axis=2)
    assert covers[keep].any(axis=0).all()
    if costs <= 2:
        kept = values[keep]
        for first, second in itertools.permutations(range(len(kept)), 2):
            assert not (kept[first, 0] >= kept[second, 0] and (kept[first, 1:] <= kept[second, 1:]).all())


def test_genes_are_whole(tables):
    solution = exact.solve(a_tiny_space(), [Budget("layers", 15)], {})
    assert solution.genes.shape == (GENES, 1)
    assert solution.costs == {"layers": 15.0}

"""Compiled stage tables against the graphs they were compiled from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_tables import Pricer, find_table
from search_spaces import costs
from search_spaces.emit import emit_backbone, emit_detector
from search_spaces.errors import UserError
from search_spaces.plugins import load_plugin
from search_spaces.space import load_space
from tinynas.genes import choices
from tinynas.genes.layout import DEPTH, HIDDEN, KERNEL, OUT, STEM
from tinynas.genes.population import Encoding
from tinynas.pricing import columns
from tinynas.pricing.additive_costs import AdditiveCosts

CASES = {"res": ("t4", (640, 640)), "csp": ("t4", (640, 640)), "mob": ("cpu", (320, 320))}


def space_of(name, *, free_taps=False, **stage_changes):
    space = load_space(name)
    stages = tuple(stage.model_copy(update=stage_changes) for stage in space.stages)
    return space.model_copy(update={"stages": stages, **({"tap_growth": None} if free_taps else {})})


def compiled(encoding, table, **options):
    every = [
        columns.latency(table), columns.params(), columns.conv_macs(), columns.layers(), columns.score(encoding),
    ]  # fmt: skip
    return AdditiveCosts(encoding, every, **options)


@pytest.fixture(scope="module", params=[*CASES, "res-free", "mob-free"])
def case(request):
    name, _, free = request.param.partition("-")
    device, image_size = CASES[name]
    encoding = Encoding(space_of(name, free_taps=bool(free)), image_size, 80)
    table = find_table(device)
    return encoding, table, compiled(encoding, table), compiled(encoding, table, backbone_only=True)


def by_graph(structure, table, weights):
    whole, backbone = emit_detector(structure), emit_backbone(structure)
    score = load_plugin("tinynas.scores", "entropy").score
    return [
        Pricer(table, max_extrapolated=1.0).total(whole), costs.params(whole), costs.conv_macs(whole),
        costs.layers(whole), score(backbone, weights),
    ]  # fmt: skip


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_totals_are_the_graphs(case, seed):
    encoding, table, compiled, _ = case
    genes = encoding.sample(8, np.random.default_rng(seed))
    totals = compiled.total(genes)
    for index in range(genes.shape[1]):
        expected = by_graph(encoding.single(genes, index), table, encoding.space.score.weights)
        np.testing.assert_allclose(totals[index], expected, rtol=1e-9)


def test_the_backbone_alone(case):
    encoding, table, _, backbone_only = case
    genes = encoding.sample(5, np.random.default_rng(3))
    totals = backbone_only.total(genes)
    pricer = Pricer(table, max_extrapolated=1.0)
    for index in range(genes.shape[1]):
        graph = emit_backbone(encoding.single(genes, index))
        expected = [sum(pricer.price(graph).values()), costs.params(graph), costs.conv_macs(graph)]
        np.testing.assert_allclose(totals[index, :3], expected, rtol=1e-9)
    assert not backbone_only.fixed.any()
    assert not backbone_only.neck_head(encoding.taps(genes)).any()


def test_the_parts_add_up_to_the_total(case):
    encoding, _, compiled, _ = case
    genes = encoding.sample(50, np.random.default_rng(4))
    parts = compiled.fixed + compiled.stem(genes[STEM]) + compiled.neck_head(encoding.taps(genes))
    before = genes[STEM]
    for index in range(5):
        rows = [genes[row + index] for row in (OUT, HIDDEN, KERNEL, DEPTH)]
        parts = parts + compiled.stage(index + 1, before, *rows)
        before = genes[OUT + index]
    np.testing.assert_allclose(parts, compiled.total(genes), rtol=1e-12)


def test_choices_hold_all_that_repair_makes(case):
    encoding = case[0]
    space = encoding.space
    genes = encoding.sample(3000, np.random.default_rng(5))
    before, tap = genes[STEM], genes[OUT + 1]
    for number, stage in enumerate(space.stages, start=1):
        out, hidden = genes[OUT + number - 1], genes[HIDDEN + number - 1]
        tap = genes[OUT + 3] if number == 5 else tap
        for item in np.unique(np.stack([before, out, tap]), axis=1).T.tolist():
            assert item[1] in choices.outs_after(space, number, item[0], item[2])
        if not stage.tied:
            low, high = choices.hidden_limits(space, number, out)
            assert (low <= hidden).all()
            assert (hidden <= high).all()
            pairs = set(zip(*(side.tolist() for side in choices.width_pairs(space, number)), strict=True))
            assert set(zip(before.tolist(), out.tolist(), strict=True)) <= pairs
        before = out


def test_repair_keeps_what_choices_offer(case):
    """Walks drawn from the choices come out of repair unchanged."""
    encoding = case[0]
    space, rng = encoding.space, np.random.default_rng(6)
    for _ in range(60):
        genes = encoding.corner(largest=False)
        before = tap = genes[STEM, 0] = rng.choice(choices.widths(space, space.stem.out))
        for number, stage in enumerate(space.stages, start=1):
            out = rng.choice(choices.outs_after(space, number, int(before), int(tap)))
            low, high = (int(limit[0]) for limit in choices.hidden_limits(space, number, np.array([out])))
            index = number - 1
            genes[OUT + index] = out
            genes[HIDDEN + index] = rng.choice(np.arange(low, high + 1, space.channel_step))
            genes[KERNEL + index] = rng.choice(stage.kernels)
            if stage.tied:
                genes[HIDDEN + index], genes[KERNEL + index] = genes[HIDDEN + index - 1], genes[KERNEL + index - 1]
            genes[DEPTH + index] = rng.integers(stage.depth[0], stage.depth[1] + 1)
            before = out
            tap = out if number in (2, 4) else tap
        np.testing.assert_array_equal(encoding.repair(genes.copy()), genes)


def test_a_cost_that_is_not_a_sum_over_stages_is_refused():
    encoding = Encoding(load_space("res"), (320, 320), 80)

    def terms(graph):
        widest = 0
        for op in graph:
            widest = np.maximum(widest, op.shape.elements)
        return [("backbone.stem", widest)]

    widest = columns.Column("widest", terms)
    with pytest.raises(UserError, match="widest is not a sum over the stages of space res"):
        AdditiveCosts(encoding, [widest])


def test_fusion_across_stages_is_noticed():
    """A kernel of stage 2 whose cost hangs on stage 5's depth."""
    encoding = Encoding(load_space("res"), (320, 320), 80)

    def terms(graph):
        layers = sum(conv.count for conv in graph.main_path)
        return [("backbone.stage2.block1.conv1", layers * layers)]

    with pytest.raises(UserError, match="not a sum"):
        AdditiveCosts(encoding, [columns.Column("tangled", terms)])


def test_scores_that_are_not_sums_are_refused():
    encoding = Encoding(load_space("res"), (320, 320), 80)
    with pytest.raises(UserError, match="'deepmad' is not a sum"):
        columns.score(encoding, "deepmad")


def test_csp_needs_its_tied_stage():
    encoding = Encoding(space_of("csp", tied=False), (320, 320), 80)
    with pytest.raises(UserError, match="tied"):
        AdditiveCosts(encoding, [columns.params()])


def test_spaces_too_large_to_tabulate_are_refused():
    space = load_space("res")
    stages = tuple(s.model_copy(update={"out": (8, 4096), "hidden": (0.1, 6.0)}) for s in space.stages)
    space = space.model_copy(update={"stages": stages, "tap_growth": None})
    with pytest.raises(UserError, match=r"combinations of widths.*channel_step"):
        AdditiveCosts(Encoding(space, (320, 320), 80), [columns.params()])


def test_a_tied_stage_of_plain_blocks():
    space = load_space("res")
    stages = list(space.stages)
    stages[3] = replace_model(stages[3], tied=True)
    stages[2] = replace_model(stages[2], out=(128, 256))
    encoding = Encoding(space.model_copy(update={"stages": tuple(stages)}), (320, 320), 80)
    table = find_table("t4")
    genes = encoding.sample(6, np.random.default_rng(0))
    totals = compiled(encoding, table).total(genes)
    for index in range(6):
        expected = by_graph(encoding.single(genes, index), table, space.score.weights)
        np.testing.assert_allclose(totals[index], expected, rtol=1e-9)


def replace_model(stage, **changes):
    return stage.model_copy(update=changes)

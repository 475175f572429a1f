"""Closed-form scores against slow, obvious computations from the structure alone."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import costs
from search_spaces.emit import emit_backbone
from search_spaces.space import load_space, shipped_spaces
from search_spaces.text import resolve_structure, shipped_names
from tinynas.genes.population import Encoding
from tinynas.scores import deepmad, entropy, entropy_published, macs, random


def fan_ins(structure):
    """Per stage of the structure, stem first: (stride, out channels, fan-ins of its main-path convs)."""
    return built_csp(structure) if structure.backbone.space == "csp" else as_published(structure)


def stem_row(structure):
    stem = structure.backbone.stem
    return 2, stem.out_channels, [(12 if stem.kind == "focus" else 3) * stem.kernel**2]


def built_csp(structure):
    """Of a csp network the convs that a picture passes on its way: strided conv, the way in, inner blocks, the closing conv.
    Stages 3 and 4 are one wrapper where they are alike."""
    rows, stages = [stem_row(structure)], structure.backbone.stages
    for index, stage in enumerate(stages):
        area, half = stage.kernel**2, stage.out_channels // 2
        inner = [half * area, stage.hidden_channels * area]
        before = stages[index - 1]
        alike = (before.out_channels, before.hidden_channels) == (stage.out_channels, stage.hidden_channels)
        if stage.stride == 1 and alike:
            _, channels, found = rows.pop()
            rows.append((2, channels, found[:-1] + inner * stage.depth + found[-1:]))
        elif stage.stride == 1:
            rows.append((1, stage.out_channels, [stage.in_channels, *inner * stage.depth, 2 * half]))
        else:
            way_in = [stage.in_channels * 9, stage.out_channels]
            rows.append((2, stage.out_channels, [*way_in, *inner * (stage.depth - 1), 2 * half]))
    return rows


def as_published(structure):
    """As the public search counts: `depth` blocks in every stage, at the stage's width."""
    backbone = structure.backbone
    rows = [stem_row(structure)]
    for stage in backbone.stages:
        found, area = [], stage.kernel**2
        for block in range(stage.depth):
            into = stage.in_channels if block == 0 else stage.out_channels
            found += {
                "res": [into, stage.hidden_channels * area],
                "mob": [into, area, stage.hidden_channels],
                "csp": [into * area, stage.hidden_channels * area],
            }[backbone.space]
        rows.append((stage.stride, stage.out_channels, found))
    return rows


def group_rows(structure):
    """(channels, side stride, all fan-ins up to there) of every group."""
    groups, before, stride = [], [], 1
    for step, channels, found in fan_ins(structure):
        before, stride = before + found, stride * step
        if step == 1:
            groups.pop()
        groups.append((channels, stride, before))
    return groups


def slow_entropy(structure, weights):
    return sum(
        weight * (sum(math.log(math.sqrt(fan_in)) for fan_in in before) + math.log(channels))
        for weight, (channels, _, before) in zip(weights, group_rows(structure), strict=True)
    )


def slow_deepmad(structure, weights):
    height, width = structure.image_size
    total = 0.0
    for weight, (channels, stride, before) in zip(weights, group_rows(structure), strict=True):
        resolution = math.log(height / stride) + math.log(width / stride)
        total += weight * (math.log(channels) + resolution) * sum(math.log(math.sqrt(fan_in)) for fan_in in before)
    return total - 10 * math.exp(statistics.pstdev(stage.depth for stage in structure.backbone.stages))


def slow_effectiveness(structure):
    return max(len(before) / statistics.geometric_mean(before) for _, _, before in group_rows(structure))


SLOW = {
    "entropy": (lambda graph: entropy.score(graph, (1, 2, 3, 4, 5)), lambda one: slow_entropy(one, (1, 2, 3, 4, 5))),
    "deepmad": (lambda graph: deepmad.score(graph, (5, 4, 3, 2, 8)), lambda one: slow_deepmad(one, (5, 4, 3, 2, 8))),
    "effectiveness": (deepmad.effectiveness, slow_effectiveness),
}


@pytest.mark.parametrize("quantity", SLOW)
@pytest.mark.parametrize("space", shipped_spaces())
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_equals_the_slow_computation(quantity, space, seed):
    fast, slow = SLOW[quantity]
    encoding = Encoding(load_space(space), (128, 192), 3)
    genes = encoding.sample(6, np.random.default_rng(seed))
    wanted = [slow(encoding.single(genes, index)) for index in range(6)]
    np.testing.assert_allclose(fast(emit_backbone(encoding.population(genes))), wanted, rtol=1e-12)
    assert fast(emit_backbone(encoding.single(genes, 5))) == pytest.approx(wanted[5], rel=1e-12)


@pytest.mark.parametrize("name", shipped_names())
def test_the_published_entropy(name):
    structure = resolve_structure(name)
    groups, before, stride = [], [], 1
    for step, channels, found in as_published(structure):
        before, stride = before + found, stride * step
        if step == 1:
            groups.pop()
        groups.append((channels, before))
    wanted = sum(
        weight * (sum(math.log(math.sqrt(fan_in)) for fan_in in before) + math.log(channels))
        for weight, (channels, before) in zip(entropy.WEIGHTS, groups, strict=True)
    )
    graph = emit_backbone(structure)
    assert entropy_published.score(graph, entropy.WEIGHTS) == pytest.approx(wanted, rel=1e-12)
    assert costs.layers(graph) == len(before)


def test_a_csp_width_that_nothing_is_built_of_scores_nothing():
    """A strided stage of depth 1 has no inner block, so its hidden width is nowhere."""
    structure = resolve_structure("M")
    first = structure.backbone.stages[0]
    scores = set()
    for hidden in (32, 384):
        stages = (replace(first, depth=1, hidden_channels=hidden), *structure.backbone.stages[1:])
        scores.add(entropy.score(emit_backbone(replace(structure, backbone=replace(structure.backbone, stages=stages))),
                                 entropy.WEIGHTS))  # fmt: skip
    assert len(scores) == 1


@pytest.mark.parametrize("name", shipped_names())
def test_deepmad_of_the_published_detectors(name):
    structure = resolve_structure(name)
    graph = emit_backbone(structure)
    assert deepmad.score(graph, deepmad.WEIGHTS) == pytest.approx(slow_deepmad(structure, deepmad.WEIGHTS), rel=1e-12)
    assert deepmad.effectiveness(graph) == pytest.approx(slow_effectiveness(structure), rel=1e-12)


def test_deepmad_prefers_even_depths():
    """The published S without its penalty: moving a block from stage 2 to stage 5 evens the depths 1 5 3 2 1."""
    structure = resolve_structure("S")
    depths = [stage.depth for stage in structure.backbone.stages]
    graph = emit_backbone(structure)
    without = deepmad.score(graph, deepmad.WEIGHTS) + 10 * math.exp(np.std(depths))
    even = replace(graph, stage_depths=(3, 3, 3, 3, 3))
    assert deepmad.score(even, deepmad.WEIGHTS) == pytest.approx(without - 10)


def test_macs_is_the_backbones():
    graph = emit_backbone(resolve_structure("S"))
    assert macs.score(graph) == pytest.approx(costs.conv_macs(graph) / 1e9)


@pytest.mark.parametrize("space", shipped_spaces())
def test_random_is_spread_evenly_and_tells_backbones_apart(space):
    encoding = Encoding(load_space(space), (64, 64), 3)
    genes = encoding.sample(4000, np.random.default_rng(0))
    drawn = random.score(emit_backbone(encoding.population(genes)))
    assert (drawn >= 0).all()
    assert (drawn < 1).all()
    counts = np.histogram(drawn, bins=16, range=(0, 1))[0]
    # chi-squared with 15 degrees of freedom: 37.7 is exceeded once in a thousand
    assert ((counts - 250) ** 2 / 250).sum() < 37.7
    # one step in one width is enough
    near = encoding.single(genes)
    stages = list(near.backbone.stages)
    stages[1] = replace(stages[1], hidden_channels=stages[1].hidden_channels + 8)
    other = replace(near, backbone=replace(near.backbone, stages=tuple(stages)))
    assert abs(random.score(emit_backbone(near)) - random.score(emit_backbone(other))) > 1e-6


def test_random_does_not_depend_on_the_image_size():
    structure = resolve_structure("S")
    small, large = (random.score(emit_backbone(structure.with_image_size(side, side))) for side in (64, 640))
    assert small == large

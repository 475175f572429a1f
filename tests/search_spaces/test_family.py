"""The seven published detectors: counts and scores equal the published figures exactly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces import costs
from search_spaces.emit import emit_backbone, emit_detector
from search_spaces.structure import Backbone, Stage, Stem
from search_spaces.text import format_structure, parse_structure, resolve_structure, shipped_names
from tinynas.scores import entropy_published
from tinynas.scores.entropy import gains, score

FIGURES = json.loads((Path(__file__).parents[1] / "golden" / "family.json").read_text())
WEIGHTS = (0, 0, 1, 1, 16)


def test_the_seven_ship():
    assert shipped_names() == ["T", "S", "M", "L", "Ns", "Nm", "Nl"]


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("part", ["backbone", "neck", "head", "total"])
def test_counts_equal_the_published_ones(name, part):
    graph, figures = emit_detector(resolve_structure(name)), FIGURES[name]
    key = None if part == "total" else part
    assert costs.params(graph, deploy=False, part=key) == figures["params_train"][part]
    assert costs.params(graph, deploy=True, part=key) == figures["params_deploy"][part]
    assert costs.conv_macs(graph, part=key) == figures["conv_macs"][part]


@pytest.mark.parametrize("name", FIGURES)
def test_scores_equal_the_reference(name):
    graph = emit_detector(resolve_structure(name))
    assert entropy_published.score(graph, WEIGHTS) == pytest.approx(FIGURES[name]["score"], abs=1e-9)
    assert sum(gain for _, gain in entropy_published.gains(graph, WEIGHTS)) == pytest.approx(
        FIGURES[name]["score"], abs=1e-9
    )


@pytest.mark.parametrize("name", FIGURES)
def test_entropy_gains_stand_with_emitted_ops(name):
    graph = emit_detector(resolve_structure(name))
    assert {path for path, _ in gains(graph, WEIGHTS)} <= {op.path for op in graph}


def test_score_of_a_small_network_computed_by_hand():
    rows = [(48, 32, 1, 2), (96, 48, 1, 2), (96, 96, 1, 2), (192, 96, 1, 1), (384, 192, 1, 2)]
    stages, channels = [], 32
    for out, hidden, depth, stride in rows:
        stages.append(Stage(in_channels=channels, out_channels=out, hidden_channels=hidden, depth=depth, stride=stride))
        channels = out
    base = resolve_structure("T")
    structure = replace(base, backbone=Backbone(space="res", stem=Stem("focus", 32), stages=tuple(stages)))
    assert score(emit_backbone(structure), WEIGHTS) == pytest.approx(613.0245911835628, abs=1e-9)


@pytest.mark.parametrize("name", FIGURES)
def test_layers_are_the_main_paths_convs(name):
    structure = resolve_structure(name)
    per_block = 3 if structure.backbone.space == "mob" else 2
    expected = 1 + per_block * sum(stage.depth for stage in structure.backbone.stages)
    assert costs.layers(emit_detector(structure)) == expected


@pytest.mark.parametrize("name", FIGURES)
def test_text_round_trip(name):
    structure = resolve_structure(name)
    assert parse_structure(format_structure(structure)) == structure


@pytest.mark.parametrize("name", FIGURES)
def test_image_size_scales_conv_macs(name):
    structure = resolve_structure(name)
    height, width = structure.image_size
    whole = costs.conv_macs(emit_detector(structure.with_image_size(2 * height, width)))
    assert whole == 2 * costs.conv_macs(emit_detector(structure))

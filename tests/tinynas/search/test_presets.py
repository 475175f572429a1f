"""Published search settings: what they say, and that the command line goes before them."""

import dataclasses
import json

import numpy as np
import pytest

from search_spaces.errors import UserError
from search_spaces.text import resolve_structure
from tinynas.cli import main
from tinynas.evolution.loop import SearchSettings, evolve
from tinynas.exact.solver import solve
from tinynas.genes.population import Encoding
from tinynas.presets import load_preset, preset_names
from tinynas.search.options import options_from
from tinynas.search.request import build_plan


def test_three_presets_ship():
    assert preset_names() == ["damo-m", "damo-s", "damo-t"]


@pytest.mark.parametrize(
    ("name", "given", "limit", "layers", "taps"),
    [
        ("damo-t", {}, 2.56, 20, [(64, 96), (128, 192), (256, 384)]),
        ("damo-s", {}, 3.84, 25, [(64, 128), (128, 256), (256, 512)]),
        ("damo-m", {"budget": "7ms"}, 7.0, 35, [(64, 128), (128, 256), (256, 512)]),
    ],
)
def test_the_published_figures(name, given, limit, layers, taps):
    plan = build_plan(options_from(given, name))
    assert {b.quantity: b.limit for b in plan.targets[0].budgets} == {"latency_ms": limit, "layers": layers}
    assert [plan.space.stages[number].out for number in (1, 3, 4)] == taps
    assert plan.space.tap_growth is None
    assert plan.space.stages[0].depth[1] == 2
    assert all(stage.hidden[0] == 0.1 for stage in plan.space.stages)
    assert plan.space.score.weights == (0, 0, 1, 1, 16)
    assert plan.space.mutation.channel_factors == (2.0, 1.5, 1.25, 0.8, 0.6, 0.5)
    assert (plan.settings.population, plan.settings.evaluations) == (512, 500_000)
    assert plan.backbone_only
    (table,) = plan.tables.values()
    assert table.metadata.batch == 32
    assert table.metadata.overhead_ms == 0.0


def test_a_score_that_runs_networks_sees_few_candidates_in_short_epochs():
    given = {"budget": "3.8ms", "device": "t4", "score": "zen"}
    settings = build_plan(options_from(given, None)).settings
    assert (settings.evaluations, settings.population) == (2000, 32)
    first = next(evolve(build_plan(options_from(given | {"score": "random"}, None)).objective(), settings))
    assert first.evaluated < 200
    asked = build_plan(options_from(given | {"evaluations": 90, "population": 7, "islands": 1}, None)).settings
    assert (asked.evaluations, asked.population, asked.islands) == (90, 7, 1)


def test_that_short_search_comes_near_the_optimum():
    """The settings of a search whose score runs networks, with a score whose optimum is known."""
    given = {"budget": "6ms", "device": "epyc-zen5-openvino-fp32-b1-t1", "image_size": "320"}
    settings = build_plan(options_from(given | {"score": "zen"}, None)).settings
    plan = build_plan(options_from(given | {"score": "entropy"}, None))
    encoding = Encoding(plan.space, plan.image_size, plan.num_classes)
    optimum = solve(encoding, plan.targets[0].budgets, plan.tables).score
    found, slow = [], []
    for seed in range(5):
        *_, state = evolve(plan.objective(), dataclasses.replace(settings, seed=seed))
        found.append(state.pool().best_score / optimum)
        *_, state = evolve(plan.objective(), SearchSettings(evaluations=2000, seed=seed))
        slow.append(state.pool().best_score / optimum)
    assert np.median(found) > 0.97
    assert np.median(slow) < 0.9  # as with the settings of 500,000 candidates


def test_only_convs_are_priced():
    from latency_tables import predict

    plan = build_plan(options_from({}, "damo-s"))
    (table,) = plan.tables.values()
    graph = plan.graph(resolve_structure("S").with_image_size(320, 320))
    prediction = predict(graph, table)
    convs = sum(p.latency_ms for p in prediction.sites if p.site.kernel.kind in ("conv", "stem"))
    assert prediction.total_ms == pytest.approx(convs, rel=1e-9)
    assert any(p.site.kernel.kind == "max_pool" for p in prediction.sites)


def test_options_go_before_the_preset(tmp_path):
    options = ["--preset", "damo-s", "--max-layers", "19", "--budget", "3ms", "--evaluations", "4000"]
    assert main(["search", *options, "--population", "64", "--out", str(tmp_path)]) == 0
    target = json.loads((tmp_path / "search.json").read_text())["targets"][0]
    assert {b["quantity"]: b["limit"] for b in target["budgets"]} == {"latency_ms": 3.0, "layers": 19}
    assert target["costs"]["layers"] <= 19
    assert target["costs"][target["budgets"][0]["key"]] <= 3.0
    assert resolve_structure(tmp_path / "structure.txt").search["priced"] == "convs of the backbone"


def test_unknown_presets_and_missing_budgets():
    with pytest.raises(UserError, match="did you mean damo-"):
        load_preset("damo-x")
    with pytest.raises(UserError, match="none is published; say --budget"):
        options_from({}, "damo-m")

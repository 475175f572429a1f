"""benchmarks/searched_vs_published.py: networks of one measured latency, the trainings that it makes, its statistics."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau, ttest_rel

from detector.data.formats import load_split
from detector.data.sample import write_sample_data
from latency_tables import find_table
from latency_tables.predictor import predict
from search_spaces.emit import emit_backbone
from search_spaces.text import parse_structure
from tinynas.scores import entropy

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import _equal_latency
import searched_vs_published as versus

FACTORS = {"mob": 1.0, "res": 1.25, "csp": 0.8}
"""By how much a space's networks take longer here than the table says, beside the published one's."""


def runtime_of(table: Any, seen: list[int]) -> Any:
    """Times that are the table's, times the space's factor."""

    def network_ms(graphs: Sequence[Any], *, threads: int, precision: str) -> list[float]:
        seen.append(len(graphs))
        found = []
        for graph in graphs:
            block = next(name for name in ("csp", "res", "mob") if name == graph_block[id(graph)])
            found.append(predict(graph, table).total_ms * FACTORS[block])
        return found

    graph_block: dict[int, str] = {}
    real = _equal_latency.emit_detector

    def emitted(structure: Any) -> Any:
        graph = real(structure)
        graph_block[id(graph)] = structure.backbone.space
        kept.append(graph)
        return graph

    kept: list[Any] = []
    return SimpleNamespace(network_ms=network_ms), emitted


def bench_at(size: int, monkeypatch: pytest.MonkeyPatch) -> tuple[_equal_latency.Bench, list[int]]:
    """A bench of 12 classes whose networks take FACTORS times what the table says, and how many were timed by each call."""
    table, seen = find_table("epyc-zen5-openvino-fp32-b1-t1"), []  # type: ignore[var-annotated]
    runtime, emitted = runtime_of(table, seen)
    monkeypatch.setattr(_equal_latency, "emit_detector", emitted)
    return _equal_latency.Bench(table=table, runtime=runtime, size=size, classes=12, seed=0), seen


def test_networks_take_the_published_ones_measured_time_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, seen = bench_at(416, monkeypatch)
    path = tmp_path / "networks.json"
    found = _equal_latency.networks_of("Ns", ["mob", "res"], "mob", 2, bench, path)
    assert list(found) == ["Ns", "Ns-searched-mob", "Ns-searched-res", "Ns-random-1", "Ns-random-2"]
    _equal_latency.time_together(found, bench, path)
    for name, row in found.items():
        assert abs(row["ratio"] - 1) <= 0.03, name
        assert row["equal"]
        assert parse_structure(row["structure"]).head.num_classes == 12
    # the limit by the table was corrected: res takes 1.25 times as long here
    assert found["Ns-searched-res"]["predicted_ms"] == pytest.approx(found["Ns"]["predicted_ms"] / 1.25, rel=0.04)
    assert found["Ns-searched-mob"]["score"] > max(found[f"Ns-random-{n}"]["score"] for n in (1, 2))
    calls = len(seen)
    again = _equal_latency.networks_of("Ns", ["mob", "res"], "mob", 2, bench, path)
    _equal_latency.time_together(again, bench, path)
    assert (again, len(seen)) == (found, calls)
    del again["Ns-random-1"]
    path.write_text(json.dumps(again))
    more = _equal_latency.networks_of("Ns", ["mob", "res"], "mob", 2, bench, path)
    assert more["Ns-random-1"]["structure"] not in (found["Ns-random-2"]["structure"], found["Ns"]["structure"])


def test_a_space_that_is_too_slow_is_left_out_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, _ = bench_at(416, monkeypatch)
    monkeypatch.setitem(FACTORS, "csp", 30.0)
    found = _equal_latency.networks_of("Ns", ["csp"], "mob", 0, bench, tmp_path / "networks.json")
    assert "structure" not in found["Ns-searched-csp"]
    assert found["Ns-searched-csp"]["left_out"]
    assert list(versus.trained(found)) == ["Ns"]


def test_other_score_weights_give_a_network_of_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, seen = bench_at(416, monkeypatch)
    path = tmp_path / "networks.json"
    found = _equal_latency.networks_of("Ns", ["mob"], "mob", 0, bench, path)
    _equal_latency.weighed_networks(found, "Ns", "mob", ["0,0,4,4,8"], bench, path)
    assert json.loads(path.read_text()) == found
    row, best = found["Ns-weights-0-0-4-4-8"], found["Ns-searched-mob"]
    assert (row["kind"], row["space"], abs(row["ratio"] - 1) <= 0.03) == ("weighed", "mob", True)
    assert row["score"] < best["score"], "the default weights' own score"
    own, other = (emit_backbone(parse_structure(one["structure"])) for one in (row, best))
    assert entropy.score(own, (0, 0, 4, 4, 8)) > entropy.score(other, (0, 0, 4, 4, 8))
    calls = len(seen)
    _equal_latency.weighed_networks(found, "Ns", "mob", ["0,0,4,4,8"], bench, path)
    assert len(seen) == calls


def test_the_best_over_image_sizes_joins_them_and_trains_at_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, seen = bench_at(256, monkeypatch)
    path = tmp_path / "networks.json"
    found = _equal_latency.networks_of("Ns", [], "mob", 0, bench, path)
    _equal_latency.sized_networks(found, "Ns", ["mob"], (640, 192, 384), bench, path)
    assert json.loads(path.read_text()) == found
    row, base = found["Ns-sized-mob"], parse_structure(found["Ns"]["structure"])
    assert (row["kind"], abs(row["ratio"] - 1) <= 0.03) == ("sized", True)
    space = _equal_latency.load_space("mob")
    at = {
        size: _equal_latency.equally_fast(space, base, replace(bench, size=size), "entropy_sized")
        for size in (192, 384, 640)
    }
    assert "structure" not in at[640], "too slow at this latency"
    scores = {size: _equal_latency.sized_score(one, space) for size, one in at.items() if "structure" in one}
    best = max(scores, key=lambda size: scores[size])
    assert (versus.side_of(row), row["sized_score"]) == (best, scores[best])
    calls = len(seen)
    _equal_latency.sized_networks(found, "Ns", ["mob"], (640, 192, 384), bench, path)
    assert len(seen) == calls
    _equal_latency.sized_networks(found, "Ns", ["csp"], (640,), bench, path)
    assert found["Ns-sized-csp"]["left_out"]

    write_sample_data(tmp_path / "shapes", images_train=20, images_val=4, size=(64, 64))
    train, _ = load_split(tmp_path / "shapes", "train")
    options = argparse.Namespace(steps=30, seeds=1, size=256, set=[])
    jobs = versus.jobs({"Ns": found}, train, options)
    assert [(job.name, job.image_size) for job in jobs] == [("Ns-seed0", 256), ("Ns-sized-mob-seed0", best)]


def test_trainings_are_alike_and_the_first_seed_comes_first(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "shapes", images_train=20, images_val=4, size=(64, 64))
    train, _ = load_split(tmp_path / "shapes", "train")
    text = Path(_equal_latency.__file__).parents[1].joinpath("search_spaces/structures/Ns.txt").read_text()
    groups = {"Ns": {"Ns": {"structure": text}, "other": {"structure": text}, "none": {"left_out": "why"}}}
    options = argparse.Namespace(steps=30, seeds=2, size=96, set=["workers=0"])
    found = versus.jobs(groups, train, options)
    assert [job.name for job in found] == ["Ns-seed0", "other-seed0", "Ns-seed1", "other-seed1"]
    configs = [job.config().model_dump() for job in found]
    assert configs[0] == configs[1]
    assert {**configs[0], "seed": 1} == configs[2]
    assert (configs[0]["epochs"], configs[0]["optimizer"]["short_run_factor"], configs[0]["workers"]) == (10, 8.0, 0)


GROUP = {
    "P": {"kind": "published", "space": "mob", "structure": "", "score": 10.0},
    "S": {"kind": "searched", "space": "mob", "structure": "", "score": 15.0},
    "R1": {"kind": "random", "space": "mob", "structure": "", "score": 8.0},
    "R2": {"kind": "random", "space": "mob", "structure": "", "score": 9.0},
    "none": {"kind": "searched", "space": "csp", "left_out": "why"},
}
APS = {"P": (0.30, 0.32), "S": (0.33, 0.36), "R1": (0.20, None), "R2": (0.34, 0.36)}


def runs(test: bool) -> dict[str, dict[str, Any]]:
    return {
        f"{name}-seed{seed}": {
            "arm": name, "seed": seed, "val_ap": ap, "val_ap50": ap, "test_ap": ap - 0.1 if test else None, "test_ap50": None,
        }
        for name, aps in APS.items()
        for seed, ap in enumerate(aps)
        if ap is not None
    }  # fmt: skip


def test_statistics_against_hand_computations() -> None:
    found = versus.compared(GROUP, "P", runs(test=False), 2)
    assert found["aps"] == {name: list(aps) for name, aps in APS.items()}
    assert found["paired"]["S"] == {
        "pairs": 2, "difference_points": 3.5, "p": pytest.approx(ttest_rel([0.33, 0.36], [0.30, 0.32]).pvalue),
    }  # fmt: skip
    assert found["paired"]["R1"] == {"pairs": 1, "difference_points": -10.0, "p": None}
    assert found["random_to_searched"] == {
        "random": 2,
        "difference_points": round(100 * (0.345 - 0.275), 2),
        "beaten": 1,
    }
    tau = kendalltau([10, 15, 8, 9], [0.31, 0.345, 0.20, 0.35]).statistic
    assert found["tau"]["tau"] == pytest.approx(tau, abs=1e-3)
    other_size = {**GROUP, "S": {**GROUP["S"], "kind": "sized"}}
    assert versus.compared(other_size, "P", runs(test=False), 2)["tau"]["networks"] == 3, "scores of one image size"
    low, high = found["tau"]["interval"]
    assert -1 <= low <= tau <= high <= 1
    assert versus.compared(GROUP, "P", runs(test=True), 2)["aps"]["P"] == pytest.approx([0.20, 0.22])
    both = versus.over_sets({"a": {"P": found}, "b": {"P": found}}, GROUP, "P")
    assert both["S"]["pairs"] == 4
    assert both["S"]["difference_points"] == 3.5


def test_the_interval_narrows_when_score_decides() -> None:
    rng = np.random.default_rng(0)
    scores = list(range(20))
    sure = versus.tau_with_interval(scores, [(s / 100, s / 100 + 0.001) for s in scores])
    chance = versus.tau_with_interval(scores, [tuple(rng.random(2)) for _ in scores])
    assert sure["tau"] == 1.0
    assert sure["interval"][0] > 0.95
    assert chance["interval"][0] < 0 < chance["interval"][1] or chance["interval"][1] - chance["interval"][0] > 0.4
    assert versus.tau_with_interval([1.0, 2.0], [(0.1,), (0.2,)])["tau"] is None

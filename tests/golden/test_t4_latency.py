"""The shipped T4 table against the published latencies (report, tables 3, 4, 5 and 9)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latency_tables import find_table, predict
from scripts.derivation.derive import SHIPPED_FORM, calibrate
from scripts.derivation.t4_published import published_structures
from scripts.derivation.v100 import read_v100
from search_spaces.emit import emit_detector
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure

PUBLISHED_MS = {"T": 2.78, "S": 3.83, "M": 5.62, "L": 7.95}
NECKS_OF_S: list[tuple[dict[str, Any], float]] = [
    ({"depth": 2 / 3, "out_channels": (192, 192, 192)}, 3.53),
    ({"depth": 2 / 3, "hidden_ratio": 1.0}, 3.72),
    ({"hidden_ratio": 1.0, "out_channels": (160, 160, 160)}, 3.91),
    ({"depth": 4 / 3, "hidden_ratio": 0.5}, 3.85),
    ({"links": "none"}, 3.62),
    ({"links": "up"}, 4.19),
    ({"links": "both"}, 4.58),
    ({"fusion": "conv"}, 3.64),
    ({"fusion": "csp_reparam"}, 3.72),
]


def structures() -> list[tuple[Structure, float]]:
    small = resolve_structure("S")
    released = [(resolve_structure(name), ms) for name, ms in PUBLISHED_MS.items()]
    return released + [(replace(small, neck=replace(small.neck, **change)), ms) for change, ms in NECKS_OF_S]


@pytest.mark.parametrize(("structure", "published_ms"), structures())
def test_published_latency_within_the_stated_error(structure: Structure, published_ms: float) -> None:
    table = find_table("t4-tensorrt-fp16-b1")
    stated = table.metadata.error["worst_leave_one_structure_out"] / 100
    found = predict(emit_detector(structure), table).total_ms
    assert found == pytest.approx(published_ms, rel=stated)


def test_the_model_beats_a_line_in_gflops() -> None:
    error = find_table("t4-tensorrt-fp16-b1").metadata.error
    assert error["structures"] == len(structures())
    figures = {**error, **error["compared"]}
    for name in ("leave_one_structure_out", "leave_one_structure_out_nested"):
        assert figures[f"mean_{name}"] <= 3.5
        assert figures[f"worst_{name}"] <= 8
        assert figures[f"mean_{name}"] < 0.6 * figures["mean_leave_one_structure_out_gflops_line"]
        each = [abs(value) for value in error[name].values()]
        assert figures[f"mean_{name}"] == pytest.approx(sum(each) / len(each), abs=0.01)
        assert figures[f"worst_{name}"] == max(each)


def test_sizes_are_carried_over() -> None:
    """Fitted on S and variants of its neck, the model knows T, M and L; the line does not."""
    error = find_table("t4-tensorrt-fp16-b1").metadata.error
    assert set(error["other_backbones"]) == {"T", "M", "L"}
    assert error["compared"]["mean_other_backbones"] < 2 < 10 < error["compared"]["mean_other_backbones_gflops_line"]


def test_stated_errors_come_from_the_published_figures(real_data: Path, reference: Path) -> None:
    v100 = read_v100(real_data / "v100_tensorrt_conv" / "conv.csv.gz")
    found = calibrate(published_structures(reference / "t4_published.csv"), v100, (SHIPPED_FORM,))
    error = find_table("t4-tensorrt-fp16-b1").metadata.error
    for name, errors in (
        ("fitted", found.fitted),
        ("leave_one_structure_out", found.left_out),
        ("leave_one_structure_out_gflops_line", found.left_out_line),
        ("other_backbones", found.other_backbones),
    ):
        assert {key: 100 * value for key, value in errors.items()} == pytest.approx(error[name], abs=0.02)

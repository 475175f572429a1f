"""The shipped T4 table against the published latencies (report, tables 3, 4, 5 and 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_tables import find_table, predict
from scripts.derivation.t4 import SHIPPED_FORM, calibrate
from scripts.derivation.t4_published import published_structures
from scripts.derivation.v100 import read_v100
from search_spaces import costs
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


def line_errors(known: Sequence[int], told: Sequence[int]) -> list[float]:
    """Relative errors for the structures `told` of the line in GFLOPs that fits the latencies of the `known` ones best (least
    squares of relative errors)."""
    gflops = np.array([2e-9 * costs.conv_macs(emit_detector(structure)) for structure, _ in structures()])
    wanted = np.array([ms for _, ms in structures()])
    design = np.stack([np.ones(len(known)), gflops[list(known)]], axis=1) / wanted[list(known), None]
    constant, slope = np.linalg.lstsq(design, np.ones(len(known)), rcond=None)[0]
    return [float((constant + slope * gflops[index]) / wanted[index] - 1) for index in told]


def predicted_errors() -> list[float]:
    table = find_table("t4-tensorrt-fp16-b1")
    return [predict(emit_detector(structure), table).total_ms / ms - 1 for structure, ms in structures()]


def test_the_table_beats_a_line_in_gflops() -> None:
    """Of every structure, from all others: the line is off twice as far as the table, though it has two free numbers."""
    every = range(len(structures()))
    line = [abs(line_errors([other for other in every if other != index], [index])[0]) for index in every]
    table = [abs(error) for error in predicted_errors()]
    assert np.mean(table) < 0.5 * np.mean(line)
    stated = find_table("t4-tensorrt-fp16-b1").metadata.error
    assert stated["structures"] == len(line)
    assert stated["compared"]["mean_leave_one_structure_out_gflops_line"] == pytest.approx(100 * np.mean(line), abs=0.5)
    for name in ("leave_one_structure_out", "leave_one_structure_out_nested"):
        each = [abs(value) for value in stated[name].values()]
        figures = {**stated, **stated["compared"]}
        assert figures[f"mean_{name}"] == pytest.approx(np.mean(each), abs=0.01)
        assert figures[f"worst_{name}"] == max(each)
        assert np.mean(table) <= np.mean(each) / 100, "what is fitted to all is nearer than what is left out"


def test_sizes_are_carried_over() -> None:
    """A line through S and variants of its neck is far off for T, M and L; the table, whose kernels scale, is not."""
    others = [index for index, (structure, _) in enumerate(structures()) if structure in map(resolve_structure, "TML")]
    necks = [index for index in range(len(structures())) if index not in others]
    line = np.mean(np.abs(line_errors(necks, others)))
    stated = find_table("t4-tensorrt-fp16-b1").metadata.error
    assert set(stated["other_backbones"]) == {"T", "M", "L"}
    assert stated["compared"]["mean_other_backbones_gflops_line"] == pytest.approx(100 * line, abs=0.5)
    assert np.mean([abs(predicted_errors()[index]) for index in others]) < line / 5


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

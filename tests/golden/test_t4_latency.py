"""The shipped T4 table against the published latencies (report, table 9)."""

from __future__ import annotations

import pytest

from latency_tables import find_table, predict
from search_spaces.emit import emit_detector
from search_spaces.text import resolve_structure

PUBLISHED_MS = {"T": 2.78, "S": 3.83, "M": 5.62, "L": 7.95}


@pytest.mark.parametrize("name", PUBLISHED_MS)
def test_published_latency_within_the_stated_error(name: str) -> None:
    table = find_table("t4-tensorrt-fp16-b1")
    stated = table.metadata.error["worst_leave_one_structure_out"] / 100
    found = predict(emit_detector(resolve_structure(name)), table).total_ms
    assert found == pytest.approx(PUBLISHED_MS[name], rel=stated)


def test_the_model_beats_a_line_in_gflops() -> None:
    error = find_table("t4-tensorrt-fp16-b1").metadata.error
    assert error["mean_leave_one_structure_out"] <= 3.5
    assert error["worst_leave_one_structure_out"] <= 8
    assert error["mean_leave_one_structure_out"] < 0.7 * error["mean_leave_one_structure_out_gflops_line"]

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import profiler, verify
from latency_tables.profiler import ProfileSettings, profile
from latency_tables.tables import Table, read_table
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.text import resolve_structure
from tests.latency_tables import fake_runtime


@pytest.fixture
def graphs() -> list[tuple[str, Graph]]:
    sizes = [("Ns", 64), ("Nm", 64), ("Ns", 96), ("Nm", 96)]
    return [(f"{n} at {side}", emit_detector(resolve_structure(n).with_image_size(side, side))) for n, side in sizes]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, graphs: list[tuple[str, Graph]]) -> Table:
    monkeypatch.setattr(profiler, "load_plugin", lambda package, name: fake_runtime)
    monkeypatch.setattr(verify, "load_plugin", lambda package, name: fake_runtime)
    everything = ProfileSettings(target_error=0.0)
    return read_table(profile("chip", "openvino", tmp_path, [graph for _, graph in graphs], everything))


def test_overhead_and_figures(table: Table, graphs: list[tuple[str, Graph]], tmp_path: Path) -> None:
    done: list[int] = []
    result = verify.check(table, graphs, done.append)
    assert sum(done) == 4
    factor, overhead = result.best_fit()
    assert overhead == pytest.approx(fake_runtime.OVERHEAD_MS, abs=0.05)
    assert factor == pytest.approx(1, abs=0.03)
    summary = result.summary(overhead)
    assert summary["median"] < 2
    assert summary["within_5_percent"] == summary["within_10_percent"] == 100
    assert summary["kendall_tau"] == 1
    assert summary["largest_extrapolated_share"] == 0
    each = result.each(overhead)
    assert [row["name"] for row in each] == [name for name, _ in graphs]
    assert all(abs(row["predicted_ms"] / row["measured_ms"] - 1) < 0.05 for row in each)
    stored = verify.store(table.with_fit(scale=1.05, overhead_ms=overhead), summary)
    assert stored.metadata.overhead_ms == pytest.approx(overhead, abs=1e-4)
    assert stored.metadata.scale == 1.05
    assert verify.check(stored, graphs).kernels_ms == pytest.approx(1.05 * result.kernels_ms)
    assert stored.metadata.error["detectors"] == 4
    assert stored.hash != table.hash
    verify.scatter(result, overhead, "chip", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_no_detectors_is_an_error(table: Table) -> None:
    with pytest.raises(UserError, match="at least one"):
        verify.check(table, [])


def test_a_table_for_another_batch_is_refused(table: Table, graphs: list[tuple[str, Graph]]) -> None:
    many = replace(table, metadata=table.metadata.model_copy(update={"batch": 32}))
    with pytest.raises(UserError, match="is for batch 32; networks are measured at batch 1 only"):
        verify.check(many, graphs)


def test_a_device_that_disappears(
    table: Table, graphs: list[tuple[str, Graph]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("device lost\nand more")

    monkeypatch.setattr(fake_runtime, "network_ms", lost)
    with pytest.raises(UserError, match=r"openvino failed while whole detectors were measured \(device lost\)$"):
        verify.check(table, graphs)


def test_figures_of_another_machine_do_not_go_into_a_table(table: Table) -> None:
    verify.refuse_to_store(table)
    other = replace(table, metadata=table.metadata.model_copy(update={"processor": "Another"}))
    with pytest.raises(UserError, match=r"was measured on Another, .* leave out --store, or profile this host"):
        verify.refuse_to_store(other)
    gone = replace(table, source=str(Path(table.source) / "below" / "a.csv"))
    with pytest.raises(UserError, match="is a file, expected a folder"):
        verify.refuse_to_store(gone)


def test_kendall_tau() -> None:
    assert verify.kendall_tau(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == -1
    assert verify.kendall_tau(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(1 / 3)


def test_scale_and_overhead_are_the_best_and_the_overhead_never_negative() -> None:
    kernels = np.array([1.0, 2.0, 4.0, 10.0])
    measured = 0.9 * kernels + 0.5
    result = verify.Check(("a", "b", "c", "d"), kernels, measured, np.zeros(4))
    factor, overhead = result.best_fit()
    assert (factor, overhead) == (pytest.approx(0.9, abs=0.01), pytest.approx(0.5, abs=0.02))
    too_high = verify.Check(("a", "b", "c", "d"), kernels, 0.9 * kernels - 0.3, np.zeros(4))
    factor, overhead = too_high.best_fit()
    assert overhead == 0
    tried = np.linspace(0.5, 1, 5001)
    errors = [float(np.abs(value * kernels / too_high.measured_ms - 1).mean()) for value in tried]
    assert factor == pytest.approx(tried[int(np.argmin(errors))], abs=1e-3)


def test_an_overhead_that_explains_nothing_is_left_out() -> None:
    kernels = np.array([1.0, 2.0, 4.0, 10.0])
    noisy = kernels * np.array([1.001, 0.999, 1.001, 0.999])
    assert verify.Check(("a", "b", "c", "d"), kernels, noisy, np.zeros(4)).best_fit()[1] == 0

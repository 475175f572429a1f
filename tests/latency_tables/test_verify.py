from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import profiler, verify
from latency_tables.kernels import KINDS
from latency_tables.profiler import ProfileSettings, profile
from latency_tables.tables import Table, read_table
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.text import resolve_structure
from tests.latency_tables import fake_runtime

pytestmark = pytest.mark.usefixtures("with_avx512")


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
    factors, overhead = result.best_fit()
    assert overhead == pytest.approx(fake_runtime.OVERHEAD_MS, abs=0.05)
    assert factors["conv"] == pytest.approx(1, abs=0.05)
    summary = result.summary(overhead)
    assert summary["median"] < 2
    assert summary["within_5_percent"] == summary["within_10_percent"] == 100
    assert summary["kendall_tau"] == 1
    assert summary["largest_extrapolated_share"] == 0
    each = result.each(overhead)
    assert [row["name"] for row in each] == [name for name, _ in graphs]
    assert all(abs(row["predicted_ms"] / row["measured_ms"] - 1) < 0.05 for row in each)
    stored = verify.store(table.with_fit(factors=dict.fromkeys(KINDS, 1.05), overhead_ms=overhead), summary)
    assert stored.metadata.overhead_ms == pytest.approx(overhead, abs=1e-4)
    assert set(stored.metadata.scale.values()) == {1.05}
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


CONV_AND_DEPTHWISE = np.array(
    [
        [0, 1.0, 0.5, 0.1],
        [0, 2.0, 0.2, 0.1],
        [0, 1.0, 3.0, 0.2],
        [0, 9.0, 1.0, 0.5],
        [0, 3.0, 3.0, 0.3],
        [0, 5.0, 0.4, 0.3],
    ]
)


def checked(factors: list[float], overhead: float, noise: float = 0.0) -> verify.Check:
    classes = CONV_AND_DEPTHWISE
    measured = (classes @ np.array(factors) + overhead) * (1 + noise * np.array([1, -1, 1, -1, 1, -1]))
    return verify.Check(tuple("abcdef"), classes, measured, np.zeros(6))


def test_scale_by_kind_and_overhead_are_found() -> None:
    factors, overhead = checked([1, 0.9, 0.7, 0.9], 0.0).best_fit()
    assert overhead == 0
    assert factors["conv"] == pytest.approx(0.9, abs=0.02)
    assert factors["depthwise"] == pytest.approx(0.7, abs=0.02)
    # what carries no latency here keeps what all have in common
    assert factors["stem"] == pytest.approx(0.85, abs=0.06)
    factors, overhead = checked([0.9, 0.9, 0.9, 0.9], 0.5).best_fit()
    assert overhead == pytest.approx(0.5, abs=0.06)
    assert factors["conv"] == pytest.approx(0.9, abs=0.03)


def test_an_overhead_is_never_negative_and_never_explains_noise() -> None:
    assert checked([1, 1, 1, 1], -0.3).best_fit()[1] == 0
    assert checked([1, 1, 1, 1], 0.0, noise=0.002).best_fit()[1] == 0


def test_what_few_networks_disagree_on_moves_no_class() -> None:
    classes = np.tile(CONV_AND_DEPTHWISE, (2, 1))
    disagreement = 1 + 0.06 * np.random.default_rng(0).standard_normal(12)
    result = verify.Check(tuple("abcdefghijkl"), classes, classes.sum(axis=1) * 1.3 * disagreement, np.zeros(12))
    factors, _ = result.best_fit()
    assert max(factors.values()) / min(factors.values()) < 1.05
    assert factors["conv"] == pytest.approx(1.3, rel=0.05)


def test_a_busy_machine_makes_no_overhead() -> None:
    """Networks slowed down by turns look like a fixed part with faster kernels; most of a network's time it cannot be."""
    measured = CONV_AND_DEPTHWISE.sum(axis=1) * 0.3 + 20
    result = verify.Check(tuple("abcdef"), CONV_AND_DEPTHWISE, measured, np.zeros(6))
    assert result.best_fit()[1] <= 0.3 * measured.min()

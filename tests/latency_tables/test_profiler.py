from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from latency_tables import profiler, verify
from latency_tables.completion import complete, fill
from latency_tables.kernels import Kernel, fuse, fusion_rules
from latency_tables.predictor import predict
from latency_tables.profiler import QUICK, Plan, plan_kernels, profile, read_partial, worth_measuring
from latency_tables.tables import Row, read_table, row_key
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure


class FakeRuntime(SimpleNamespace):
    """A device on which a kernel takes as long as it has elements and weights."""

    DEVICE_KIND, METHOD, STATISTIC, WARM_UP, REPEATS = "cpu", "fake", "fake", 0, 1

    def __init__(self, dies_after: int | None = None) -> None:
        super().__init__()
        self.measured: list[Kernel] = []
        self.dies_after = dies_after

    def version(self) -> str:
        return "0"

    def batches(self, kernels: Sequence[Kernel]) -> list[list[Kernel]]:
        return [list(kernels[start : start + 5]) for start in range(0, len(kernels), 5)]

    def Gauge(self, threads: int, precision: str) -> None:
        return None

    def measure(
        self, groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str, gauge: None
    ) -> list[list[tuple[float, float]]]:
        if self.dies_after is not None and len(self.measured) >= self.dies_after:
            raise KeyboardInterrupt
        self.measured += [kernel for group in groups for kernel in group]
        return [[(fake_ms(kernel), 0.01) for kernel in group] for group in groups]

    def network_ms(self, graphs: Sequence[object], *, threads: int, precision: str) -> list[float]:
        rules = fusion_rules("openvino")
        return [0.5 + sum(fake_ms(s.kernel) * s.count for s in fuse(g, rules)) for g in graphs]  # type: ignore[arg-type,misc]


def fake_ms(kernel: Kernel) -> float:
    work = kernel.area * float(kernel.in_channels) / kernel.stride**2
    if kernel.kind in ("conv", "stem", "detect"):
        work *= float(kernel.out_channels)
    return 1e-8 * work * float(kernel.kernel) ** 2


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    fake = FakeRuntime()
    monkeypatch.setattr(profiler, "load_plugin", lambda package, name: fake)
    monkeypatch.setattr(verify, "load_plugin", lambda package, name: fake)
    return fake


def test_profile_writes_a_table_that_prices_networks(runtime: FakeRuntime, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = profile("chip", "openvino", tmp_path, short_names=["mine"], progress=lambda *a: seen.append(a))
    table = read_table(path)
    assert table.id == "chip-openvino-fp32-b1-t1"
    assert not list(tmp_path.glob("*.partial.csv"))
    assert seen[-1][0] == seen[-1][1] == len(runtime.measured)
    for name in ("Ns", "Nl", "S", "M"):
        graph = emit_detector(resolve_structure(name).with_image_size(320, 320))
        prediction = predict(graph, table)
        measured = runtime.network_ms([graph], threads=1, precision="fp32")[0] - 0.5
        assert prediction.total_ms == pytest.approx(measured, rel=0.01)
    with pytest.raises(UserError, match="exists; give another name"):
        profile("chip", "openvino", tmp_path)


def test_killed_and_resumed_measures_nothing_twice(
    runtime: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.dies_after = 40
    with pytest.raises(KeyboardInterrupt):
        profile("chip", "openvino", tmp_path, plan=QUICK)
    first = list(runtime.measured)
    partial = tmp_path / "chip-openvino-fp32-b1-t1.partial.csv"
    partial.write_text(partial.read_text() + "conv,16,64,3,")
    runtime.dies_after = None
    with pytest.raises(UserError, match="go on with it by --resume"):
        profile("chip", "openvino", tmp_path, plan=QUICK)
    path = profile("chip", "openvino", tmp_path, plan=QUICK, resume=True)
    assert len({row_key(k) for k in runtime.measured}) == len(runtime.measured) > len(first) > 0
    whole = profile("chip2", "openvino", tmp_path, plan=QUICK)
    assert path.read_text() == whole.read_text()


def test_time_limit_completes_what_it_has(
    runtime: FakeRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(profiler.time, "monotonic", lambda: float(next(clock)))
    path = profile("chip", "openvino", tmp_path, plan=QUICK, time_limit_s=4)
    assert 0 < len(runtime.measured) < len(list(plan_kernels(QUICK)))
    text = path.read_text()
    assert "fitted" in text
    table = read_table(path)
    for group in table.rows:
        table.grid(group)


def test_holes_are_filled_along_the_axes() -> None:
    knots = [np.log([8.0, 16, 32]), np.log([8.0, 32]), np.log([100.0, 400])]
    full = knots[0][:, None, None] * 0.5 + knots[1][None, :, None] * 0.7 + knots[2][None, None, :] * 1.0
    holes = full.copy()
    holes[2, 1, 1] = holes[2, 1, 0] = holes[2, 0, 1] = np.nan
    np.testing.assert_allclose(fill(holes, knots), full, rtol=1e-12)
    with pytest.raises(UserError, match="too few kernels"):
        fill(np.full((2, 2, 2), np.nan), [knots[1], knots[1], knots[2]])


def test_groups_without_measurements_are_left_out() -> None:
    cells = list(plan_kernels(QUICK))
    rows = complete(cells, [Row(cells[0], 1.0)])
    assert {row.kernel.kind for row in rows} == {"conv"}
    assert sum(row.source == "measured" for row in rows) == 1


def test_plan_leaves_out_what_no_network_has() -> None:
    plan = Plan()
    assert not worth_measuring(plan, Kernel("conv", 2048, 1024, 320, 320, 3, 1, "relu"))
    assert worth_measuring(plan, Kernel("conv", 64, 64, 40, 40, 3, 1, "relu"))
    assert worth_measuring(plan, Kernel("stem", 3, 64, 640, 640, 3, 2, "relu"))


def test_no_partial_file_no_rows(tmp_path: Path) -> None:
    assert read_partial(tmp_path / "none.csv") == []


def test_check_against_whole_networks(runtime: FakeRuntime, tmp_path: Path) -> None:
    table = read_table(profile("chip", "openvino", tmp_path))
    graphs = verify.random_detectors(np.random.default_rng(0), 4, [256, 320])
    result = verify.check(table, graphs)
    overhead = result.best_overhead_ms()
    assert overhead == pytest.approx(0.5, abs=0.1)
    summary = result.summary(overhead)
    assert summary["median"] < 1
    assert summary["within_5_percent"] == 100
    assert summary["kendall_tau"] == 1
    assert list(summary["each"]) == [name for name, _ in graphs]
    stored = verify.store(table, result)
    assert stored.metadata.overhead_ms == pytest.approx(overhead, abs=1e-4)
    assert stored.metadata.error["detectors"] == 4
    assert stored.hash != table.hash
    assert [name for name, _ in verify.released_detectors([("Ns", 64)])] == ["Ns at 64"]
    assert verify.kendall_tau(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == -1

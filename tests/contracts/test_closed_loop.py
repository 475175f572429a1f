"""Every runtime that is installed ends a search with a measurement, and corrects its table in the closed loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from latency_tables import profiler, shards
from latency_tables.on_device import timing
from latency_tables.profiler import ProfileSettings, profile
from search_spaces.plugins import load_plugin, plugin_names
from search_spaces.space import load_space
from search_spaces.text import resolve_structure
from tests.latency_tables import fake_runtime
from tinynas.cli import main
from tinynas.sampling import populations
from tinynas.search import measure

SIDE = 64
Search = Callable[..., dict[str, float]]


@pytest.fixture(params=plugin_names("latency_tables.runtimes"))
def runtime(request: pytest.FixtureRequest) -> ModuleType:
    """Each runtime that is installed."""
    pytest.importorskip(request.param)
    return load_plugin("latency_tables.runtimes", request.param)


@pytest.fixture
def search(runtime: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Search by a table of this runtime on this machine whose kernels cost what a formula says; what was measured."""
    device = SimpleNamespace(
        __name__="formula", **{name: getattr(runtime, name) for name in dir(runtime) if not name.startswith("_")}
    )
    device.measure, device.Gauge, device.batches = fake_runtime.measure, fake_runtime.Gauge, fake_runtime.batches
    graphs = populations([load_space("mob")], [(SIDE, SIDE)], [3], members=64, seed=0)
    name = runtime.__name__.rsplit(".", 1)[-1]
    shards._gauges.clear()
    with monkeypatch.context() as patch:
        patch.setattr(profiler, "load_plugin", lambda package, name: device)
        path = profile("formula", name, tmp_path / "tables", graphs, ProfileSettings(target_error=1.0))
    shards._gauges.clear()
    monkeypatch.setattr(timing, "PATIENCE_S", 0.5)
    monkeypatch.setattr(measure, "ROUNDS", 2)

    def run(*options: str) -> dict[str, float]:
        out = tmp_path / "out"
        size = ["--space", "mob", "--image-size", str(SIDE), "--num-classes", "3", "--evaluations", "2000"]
        assert main(["search", "--budget", "2s", "--device", str(path), *size, "--out", str(out), *options]) == 0
        (row,) = json.loads((out / "search.json").read_text())["targets"][0]["measured"].values()
        kept = resolve_structure(out / "structure.txt").search
        assert kept is not None
        assert kept["measured_ms"] == pytest.approx(row["measured_ms"], abs=1e-4)
        return dict(row)

    return run


def test_the_closed_loop_corrects_the_table(search: Search) -> None:
    row = search("--measure", "2")
    assert (row["rounds"], row["candidates"]) == (2, 2)
    # a formula is wrong by any factor; corrected by what was measured it is not, however busy the machine
    assert 0.4 < row["corrected_ms"] / row["measured_ms"] < 2.5


def test_a_search_ends_with_a_measurement(search: Search, runtime: ModuleType) -> None:
    if runtime.device_kind() != "cpu":
        pytest.skip("whether a GPU is the table's own cannot be told")
    row = search()
    assert row["measured_ms"] > 0
    assert str(row["runtime"]).endswith(runtime.version())

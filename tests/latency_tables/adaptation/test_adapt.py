"""Adapting on a device: what is written, what is measured, what goes on where it stopped, what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_tables import shards
from latency_tables.adaptation import adapt as adapting
from latency_tables.adaptation.adapt import FIRST, Progress, adapt
from latency_tables.measuring import ProfileSettings
from latency_tables.predictor import predict
from latency_tables.profiler import profile
from latency_tables.tables import Table, read_rows, read_table, row_key
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure
from tests.latency_tables import fake_runtime
from tests.latency_tables.adaptation.conftest import detectors, slower

ID = "chip-openvino-fp32-b1-t1"


class Clock:
    """A clock on which each kernel takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    measure = fake_runtime.measure

    def timed(groups: Sequence[Sequence[Any]], **options: Any) -> Any:
        clock.now += sum(len(group) for group in groups)
        return measure(groups, **options)

    monkeypatch.setattr(fake_runtime, "measure", timed)
    monkeypatch.setattr(adapting, "load_plugin", lambda package, name: fake_runtime)
    monkeypatch.setattr(adapting, "time", clock)
    shards._gauges.clear()
    yield clock
    shards._gauges.clear()


def run(folder: Path, sources: list[Table], seconds: float | None = 80, **options: Any) -> Path:
    settings = ProfileSettings(time_limit_s=seconds)
    return adapt("chip", sources, folder, detectors(), settings, runtime="openvino", **options)


def test_a_table_of_this_host_with_where_it_comes_from(source: Table, tmp_path: Path) -> None:
    seen: list[Progress] = []
    path = run(tmp_path / "made", [source], progress=seen.append)
    table = read_table(path)
    made = table.metadata.adapted
    assert table.id == ID
    assert made is not None
    assert made.source == source.id
    assert made.kernels == table.counts()["measured"] == seen[-1].kernels
    assert 80 <= made.kernels < 80 + 20  # time is looked at after each call of the runtime
    assert table.counts()["adapted"] == len(table) - made.kernels
    assert made.expected_error == pytest.approx(seen[-1].expected_error, abs=0.01)
    assert not list(path.parent.glob("*.partial*"))
    measured = [row for row in read_rows(path) if row.source == "measured"]
    assert all(row.latency_ms == pytest.approx(fake_runtime.fake_ms(row.kernel), rel=1e-3) for row in measured)


def test_predictions_say_which_share_is_adapted(source: Table, tmp_path: Path) -> None:
    table = read_table(run(tmp_path / "made", [source]))
    graph = emit_detector(resolve_structure("Ns").with_image_size(64, 64))
    shares = predict(graph, table, max_extrapolated=1.0).shares
    assert shares["adapted"] > 0.2
    assert shares["measured"] + shares["interpolated"] > 0.05
    assert sum(shares.values()) == pytest.approx(1)


def test_the_nearest_of_several_sources_is_adapted(source: Table, own: Table, tmp_path: Path) -> None:
    far = slower(tmp_path / "far", own, "far", spread=0.7, factor=4.0)
    table = read_table(run(tmp_path / "made", [far, source]))
    assert table.metadata.adapted is not None
    assert table.metadata.adapted.source == source.id


def test_a_stopped_run_loses_nothing(
    source: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    folder, log = tmp_path / "made", tmp_path / "log"
    monkeypatch.setenv("FAKE_LOG", str(log))
    timed, calls = fake_runtime.measure, []

    def interrupted(groups: Sequence[Sequence[Any]], **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return timed(groups, **options)

    with monkeypatch.context() as stopping:
        stopping.setattr(fake_runtime, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(folder, [source])
    assert not (folder / f"{ID}.csv").exists()
    kept = len(log.read_text().splitlines())
    assert kept >= FIRST
    with pytest.raises(UserError, match="from a run that was cut short; go on with it by --resume or remove it"):
        run(folder, [source])
    clock.now = 0.0
    table = read_table(run(folder, [source], resume=True))
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) == table.counts()["measured"] > kept


def test_a_profile_goes_on_from_an_adapted_table(
    source: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, log = tmp_path / "made", tmp_path / "log"
    monkeypatch.setenv("FAKE_LOG", str(log))
    adapted = run(folder, [source])
    before = {row_key(row.kernel) for row in read_rows(adapted) if row.source == "measured"}
    everything = ProfileSettings(target_error=0.0)
    with pytest.raises(UserError, match="exists; give another name or remove it"):
        profile("chip", "openvino", folder, detectors(), everything)
    path = profile("chip", "openvino", folder, detectors(), everything, resume=True)
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) > len(before)  # nothing twice
    table = read_table(path)
    assert table.metadata.adapted is None
    assert table.counts()["adapted"] == 0
    assert before <= {row_key(row.kernel) for row in read_rows(path) if row.source == "measured"}
    with pytest.raises(UserError, match="exists"):
        profile("chip", "openvino", folder, detectors(), everything, resume=True)


def test_more_threads_from_a_table_of_one(source: Table, own: Table, tmp_path: Path) -> None:
    path = adapt(
        "chip", [source], tmp_path, detectors(), ProfileSettings(threads=2, time_limit_s=60), runtime="openvino"
    )
    table = read_table(path)
    assert (table.id, table.metadata.threads) == ("chip-openvino-fp32-b1-t2", 2)
    assert np.isfinite([row.latency_ms for row in read_rows(path)]).all()


def test_refusals(source: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no table to adapt from: measure this host with tinynas profile --name NAME"):
        run(tmp_path / "a", [])
    for seconds in (0.0, -1.0, None):
        with pytest.raises(UserError, match="seconds to measure in; a positive number expected, 60 for example"):
            run(tmp_path / "a", [source], seconds)
    run(tmp_path / "b", [source])
    with pytest.raises(UserError, match="exists; give another name, or remove it"):
        run(tmp_path / "b", [source])

    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("device lost\nand more")

    monkeypatch.setattr(fake_runtime, "measure", lost)
    with pytest.raises(
        UserError, match=r"failed while kernels were measured \(device lost\); the 0 kernels measured so far"
    ):
        run(tmp_path / "c", [source])

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from joblib.externals.loky import get_reusable_executor

from latency_tables import profiler, shards
from latency_tables.fusion import fusion_rules
from latency_tables.kernels import Kernel
from latency_tables.partial import Partial, held
from latency_tables.predictor import Pricer, predict
from latency_tables.profiler import ProfileSettings, Progress, profile
from latency_tables.reach import reach
from latency_tables.tables import COLUMNS, parse_row, read_table
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure
from tests.latency_tables import fake_runtime
from tests.latency_tables.profile_fake import graphs

ID = "chip-openvino-fp32-b1-t1"
ALL = ProfileSettings(target_error=0.0)
pytestmark = pytest.mark.usefixtures("with_avx512")


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(profiler, "load_plugin", lambda package, name: fake_runtime)
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    shards._gauges.clear()
    yield
    shards._gauges.clear()


def log(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


def keys(path: Path) -> set[str]:
    return {",".join(line.split(",")[:9]) for line in path.read_text().splitlines()}


def test_everything_measured_prices_networks_exactly_on_the_grid(tmp_path: Path) -> None:
    seen: list[Progress] = []
    path = profile("chip", "openvino", tmp_path, graphs(), ALL, short_names=["mine"], reach_note="a few",
                   progress=seen.append)  # fmt: skip
    table = read_table(path)
    assert (table.id, table.metadata.short_names, table.metadata.tail_block) == (ID, ["mine"], 16)
    assert table.metadata.measured is not None
    assert table.metadata.measured.reach == "a few"
    assert not list(tmp_path.glob("*.partial.csv"))
    assert seen[-1].done == seen[-1].reachable == len(log(tmp_path)) == table.counts()["measured"]
    assert seen[-1].expected_error == 0
    for graph in graphs():
        for site in Pricer(table).sites(graph):
            assert site.kernel.kind in {group.kind for group in table.rows}
        found = Pricer(table).total(graph)
        for index, expected in enumerate(_totals(graph)):
            assert found[index] == pytest.approx(expected, rel=0.02)  # type: ignore[index]
    with pytest.raises(UserError, match="exists; give another name"):
        profile("chip", "openvino", tmp_path, graphs(), ALL)


def _totals(graph: object) -> list[float]:
    from latency_tables.fusion import fuse

    totals = [0.0] * 4
    for site in fuse(graph, fusion_rules("openvino")):  # type: ignore[arg-type]
        for index in range(4):
            kernel = _member(site.kernel, index)
            times = site.count if isinstance(site.count, int) else int(site.count[index])
            totals[index] += times * fake_runtime.fake_ms(kernel)
    return totals


def _member(kernel: Kernel, index: int) -> Kernel:
    def pick(value: object) -> int:
        return value if isinstance(value, int) else int(value[index])  # type: ignore[index]

    return replace(
        kernel, in_channels=pick(kernel.in_channels), out_channels=pick(kernel.out_channels), kernel=pick(kernel.kernel)
    )


def test_stops_at_the_target_error_and_fits_the_rest(tmp_path: Path) -> None:
    coarse = read_table(profile("coarse", "openvino", tmp_path, graphs(), ProfileSettings(target_error=0.03)))
    some = len(log(tmp_path))
    profile("whole", "openvino", tmp_path, graphs(), ALL)
    assert some < 0.75 * (len(log(tmp_path)) - some)
    assert coarse.metadata.measured is not None
    assert coarse.metadata.measured.expected_error is not None
    assert coarse.metadata.measured.expected_error <= 0.03
    assert coarse.counts()["fitted"] > 0
    for graph in graphs():
        found = Pricer(coarse).total(graph)
        for index, expected in enumerate(_totals(graph)):
            assert found[index] == pytest.approx(expected, rel=0.06)  # type: ignore[index]


def test_time_limit_fits_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()
    monkeypatch.setattr(profiler.time, "monotonic", lambda: float(next(clock)))
    settings = ProfileSettings(target_error=0.0, time_limit_s=40)
    table = read_table(profile("chip", "openvino", tmp_path, graphs(), settings))
    counts = table.counts()
    assert 0 < counts["measured"] == len(log(tmp_path)) < 400
    assert counts["fitted"] > 0


def test_too_little_time_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"time was up before any .* kept in .*--resume and more --minutes"):
        profile("chip", "openvino", tmp_path, graphs(), ProfileSettings(time_limit_s=0.0))
    assert not (tmp_path / f"{ID}.csv").exists()


def test_killed_and_resumed_measures_nothing_twice(tmp_path: Path) -> None:
    def run(folder: Path, *more: str, **environment: str) -> int:
        command = [sys.executable, "-m", "tests.latency_tables.profile_fake", str(folder), *more]
        return subprocess.run(
            command, env={**os.environ, **environment}, cwd=Path(__file__).parents[2], check=False
        ).returncode

    kept = tmp_path / f"{ID}.partial.csv"
    assert run(tmp_path, FAKE_DIES="200") == -9
    first = log(tmp_path)
    assert len(first) > 100
    assert kept.read_text().count("\n") == 1 + len(first)
    kept.write_text(kept.read_text() + "conv,16,64,3,")  # a kill can cut a line short
    assert run(tmp_path, "--resume") == 0
    assert len(log(tmp_path)) == len(set(log(tmp_path))) > len(first)
    whole = profile("whole", "openvino", tmp_path, graphs(), ALL)
    assert (tmp_path / f"{ID}.csv").read_text() == whole.read_text()


def test_a_partial_profile_needs_resume(tmp_path: Path) -> None:
    (tmp_path / f"{ID}.partial.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(UserError, match="go on with it by --resume"):
        profile("chip", "openvino", tmp_path, graphs(), ALL)


@pytest.fixture
def cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is kept of a profile whose device failed after the first shards."""
    calls, measure = count(), fake_runtime.measure

    def fail(*args: object, **options: object) -> object:
        if next(calls) == 3:
            raise RuntimeError("device lost")
        return measure(*args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(fake_runtime, "measure", fail)
        with pytest.raises(UserError, match="device lost"):
            profile("chip", "openvino", tmp_path, graphs(), ALL)
    return tmp_path / f"{ID}.partial.csv"


def test_resume_under_another_runtime_version_is_refused(cut_short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = cut_short.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(fake_runtime, "version", lambda: "1")
        with pytest.raises(UserError, match=r"other conditions \(runtime_version: 0 then, 1 now\)"):
            profile("chip", "openvino", cut_short.parent, graphs(), ALL, resume=True)
    assert cut_short.read_text() == kept
    profile("chip", "openvino", cut_short.parent, graphs(), ALL, resume=True)
    assert sorted(path.name for path in cut_short.parent.iterdir()) == [f"{ID}.csv", f"{ID}.yaml", "log"]


def test_resume_with_fewer_networks_would_drop_measurements(cut_short: Path) -> None:
    fewer = [emit_detector(resolve_structure("Ns").with_image_size(64, 64))]
    with pytest.raises(UserError, match=r"of its \d+ kernels are out of reach"):
        profile("chip", "openvino", cut_short.parent, fewer, ALL, resume=True)
    assert cut_short.exists()


def test_two_profiles_of_one_table_at_once(cut_short: Path) -> None:
    with held(cut_short, {}), pytest.raises(UserError, match="still running"):
        profile("chip", "openvino", cut_short.parent, graphs(), ALL, resume=True)


@pytest.mark.parametrize("damaged", ["-0.1,0,measured", "fast,0,measured", "0.1,wide,measured"])
def test_a_damaged_second_look_is_refused_with_its_line(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "a.partial.csv"
    key = "conv,16,16,1,1,8,8,relu,0"
    path.write_text("\n".join([",".join(COLUMNS), f"{key},0.2,0,measured", f"{key},{damaged}"]) + "\n")
    with pytest.raises(UserError, match=f"{path.name}:3: .* remove .* to measure anew"):
        Partial(path)


def test_of_several_looks_the_fastest_counts(tmp_path: Path) -> None:
    kernel = Kernel.square("conv", 16, 16, 8, activation="relu")
    partial = Partial(tmp_path / "new" / "a.partial.csv")
    assert not partial.path.parent.exists()  # nothing is written before something was measured
    for latency in (0.3, 0.2, 0.4):
        partial.add([(kernel, latency, 0.0)])
    for found in (partial, Partial(partial.path)):
        assert [row.latency_ms for row in found.rows.values()] == [0.2]
        assert list(found.looks.values()) == [3]


def test_foreign_bytes_in_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.partial.csv"
    path.write_bytes(b"kind,\xff\x9f")
    with pytest.raises(UserError, match="not UTF-8"):
        Partial(path)


def test_a_short_name_of_another_table_is_refused_before_measuring(tmp_path: Path) -> None:
    profile("first", "openvino", tmp_path, graphs(), ProfileSettings(target_error=0.3), short_names=["mine"])
    measured = len(log(tmp_path))
    with pytest.raises(UserError, match="short name 'mine' is first-openvino-fp32-b1-t1's already"):
        profile("second", "openvino", tmp_path, graphs(), ALL, short_names=["mine"])
    assert len(log(tmp_path)) == measured


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, expected a folder"):
        profile("chip", "openvino", tmp_path / "file", graphs(), ALL)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_shards_make_the_table_of_a_single_run(tmp_path: Path, backend: str) -> None:
    get_reusable_executor().shutdown(wait=True)  # workers that an earlier test started have that test's environment
    alone = profile("alone", "openvino", tmp_path, graphs(), ALL)
    number = len(log(tmp_path))
    settings = ProfileSettings(target_error=0.0, workers=2, backend=backend)
    shared = profile("shared", "openvino", tmp_path, graphs(), settings)
    assert len(log(tmp_path)) == 2 * number
    assert keys(shared) == keys(alone)
    assert shared.read_text() == alone.read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ProfileSettings(workers=2, backend="spark"), "unknown backend 'spark'; known: loky"),
        (ProfileSettings(workers=0), "at least 1 is needed"),
        (ProfileSettings(precision="fp64"), "runtime openvino measures fp32 here; precision 'fp64' was asked for"),
        (ProfileSettings(threads=10_000), "10000 threads asked for; this machine has"),
    ],
)
def test_bad_settings_stop_before_measuring(tmp_path: Path, settings: ProfileSettings, message: str) -> None:
    with pytest.raises(UserError, match=message):
        profile("chip", "openvino", tmp_path / "out", graphs(), settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_backend_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setattr(shards, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"backend {backend} is not installed; pip install"):
        shards.prepare_backend(backend, 2)
    shards.prepare_backend(backend, 1)


def test_dask_without_a_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_client() -> None:
        raise ValueError

    monkeypatch.setattr(shards, "find_spec", lambda name: name)
    monkeypatch.setattr(shards, "import_module", lambda name: SimpleNamespace(get_client=no_client))
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    with pytest.raises(UserError, match="backend dask needs a scheduler; set DASK_SCHEDULER_ADDRESS"):
        shards.prepare_backend("dask", 2)


def test_a_device_that_disappears_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count()

    def measure(groups: Sequence[Sequence[Kernel]], **options: object) -> object:
        if next(calls) == 3:
            raise RuntimeError("device lost\nand more")
        return fake_runtime.measure(groups, threads=1, precision="fp32", gauge=fake_runtime.Gauge(1, "fp32"))

    with monkeypatch.context() as patch:
        patch.setattr(profiler, "measure_all", _with(measure))
        with pytest.raises(UserError) as caught:
            profile("chip", "openvino", tmp_path, graphs(), ALL)
    message = str(caught.value)
    assert "\n" not in message
    assert f"failed while profiling (device lost); the {len(log(tmp_path))} kernels" in message
    assert "--resume" in message
    profile("chip", "openvino", tmp_path, graphs(), ALL, resume=True)
    assert len(log(tmp_path)) == len(set(log(tmp_path)))


def _with(measure: object) -> object:
    def measure_all(plugin: object, work: Sequence[list[list[Kernel]]], **options: object) -> Iterator[object]:
        for shard in work:
            results = measure(shard)  # type: ignore[operator]
            yield [(k, *figures) for batch, found in zip(shard, results) for k, figures in zip(batch, found)]

    return measure_all


def test_a_runtime_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise ImportError("No module named 'openvino'")

    monkeypatch.setattr(fake_runtime, "version", missing)
    with pytest.raises(UserError, match=r"runtime openvino is not installed .*pip install openvino"):
        profile("chip", "openvino", tmp_path, graphs(), ALL)


def test_a_disturbed_kernel_is_looked_at_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, disturbed = fake_runtime.measure, []

    def measure(groups: Sequence[Sequence[Kernel]], **options: object) -> list[list[tuple[float, float]]]:
        results = real(groups, **options)  # type: ignore[arg-type]
        if not disturbed:
            disturbed.append(groups[0][0])
            results[0][0] = (3 * results[0][0][0], 0.9)
        return results

    monkeypatch.setattr(fake_runtime, "measure", measure)
    path = profile("chip", "openvino", tmp_path, graphs(), ALL)
    measured = log(tmp_path)
    assert [line for line in set(measured) if measured.count(line) == 2] == [str(disturbed[0])]
    rows = [parse_row(line) for line in path.read_text().splitlines()[1:]]
    found = next(row for row in rows if row.kernel == disturbed[0])
    assert found.latency_ms == pytest.approx(fake_runtime.fake_ms(disturbed[0]), rel=1e-3)


def test_released_detectors_within_their_space_are_covered(tmp_path: Path) -> None:
    graph = emit_detector(resolve_structure("Ns").with_image_size(96, 96))
    table = read_table(profile("chip", "openvino", tmp_path, [graph], ALL))
    prediction = predict(graph, table)
    assert prediction.shares["measured"] + prediction.shares["interpolated"] == pytest.approx(1)
    measured = fake_runtime.network_ms([graph], threads=1, precision="fp32")[0]
    assert prediction.total_ms + fake_runtime.OVERHEAD_MS == pytest.approx(measured, rel=0.02)
    assert len(reach([graph], fusion_rules("openvino"))) == len({(str(g)) for g in table.rows}) + sum(
        table.grids(group)[1] is not None for group in table.rows
    )

"""From what a device sent back to a table: equal to a profile's, and clear words where it cannot be."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_tables.kit.collected import collected
from latency_tables.kit.table import Completed, completed_alone, fit_where_it_helps
from latency_tables.on_device.results import read_results, write_results
from latency_tables.predictor import predict
from latency_tables.tables import Row, read_rows, read_table, row_key
from latency_tables.verify import Check
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.text import parse_structure
from tests.latency_tables import fake_runtime
from tests.latency_tables.kit import fake_device
from tests.latency_tables.kit.conftest import small_request
from tests.latency_tables.kit.fake_device import measure
from tinynas import kit as job
from tinynas.cli import main
from tinynas.kit import make_kit

ID = "board-openvino-fp32-b1-t1"


@pytest.fixture(scope="module")
def measured(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a whole kit."""
    folder = Path(shutil.copytree(unpacked, tmp_path_factory.mktemp("device") / "kit"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake_device.timing, "PATIENCE_S", 0.0)
        patch.setattr(fake_device.timing, "EVICTING_BYTES", 8)
        patch.setattr(fake_device, "RUNS", count(1))
        assert measure(folder) == 0
    return folder / "results.json"


@pytest.fixture
def results(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(measured, tmp_path / "results.json"))


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = read_results(str(path))
    change(content)
    write_results(str(path), content)


def collect(results: Path, *more: str) -> int:
    return main(["profile", "--collect", str(results), "--name", "board", "--out", str(results.parent), *more])


def test_the_table_says_what_the_device_does(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert collect(results, "--short-name", "shelf") == 0
    told = capsys.readouterr().out
    table = read_table(results.parent / f"{ID}.csv")
    found = read_results(str(results))
    assert table.counts()["measured"] == found["kit"]["kernels"]
    assert table.counts()["fitted"] > 0
    assert f"{table.counts()['measured']} kernels measured, {table.counts()['fitted']} fitted" in told
    for group, rows in table.rows.items():
        for inputs, outputs, area, ms, source in rows[:50]:
            if source == 0 and group.kind == "conv":
                side = int(area**0.5)
                kernel = fake_runtime.Kernel.square(
                    "conv", int(inputs), int(outputs), side, kernel=group.kernel, stride=group.stride
                )
                assert ms == pytest.approx(fake_runtime.fake_ms(kernel), rel=1e-4)
    metadata = table.metadata
    assert metadata.short_names == ["shelf"]
    assert metadata.error["detectors"] == 8
    assert metadata.error["median"] < 4
    assert metadata.overhead_ms == pytest.approx(fake_runtime.OVERHEAD_MS, abs=0.1)
    assert "fitted on the kit's detectors" in metadata.error["scale_and_overhead"]
    assert metadata.processor == found["conditions"]["processor"]
    assert metadata.measured is not None
    assert found["kit"]["id"] in metadata.measured.host
    assert metadata.measured.reach == "spaces mob, 64 px, 1,80 classes"
    assert f"median error {metadata.error['median']} %" in told


def test_what_comes_back_is_rows_and_detectors(results: Path) -> None:
    found = collected(results)
    assert len(found.rows) == found.header["kernels"]
    assert all(isinstance(row, Row) and row.source == "measured" for row in found.rows.values())
    assert len(found.detectors) == 8
    assert found.conditions["threads"] == 1
    assert found.minutes > 0


def test_of_two_looks_the_faster_counts(results: Path) -> None:
    def look_again(content: dict[str, Any]) -> None:
        first, second = content["kernels"][0], content["kernels"][1]
        content["kernels"] += [[*first[:-2], 0.5 * first[-2], 0.0], [*second[:-2], 2 * second[-2], 0.0]]

    before = list(collected(results).rows.values())
    changed(results, look_again)
    after = list(collected(results).rows.values())
    assert after[0].latency_ms == pytest.approx(0.5 * before[0].latency_ms)
    assert after[1:] == before[1:]


def test_other_ways_of_completing_plug_in(results: Path) -> None:
    seen: list[int] = []

    def completion(grids: Any, measured: Any) -> Completed:
        seen.append(len(measured))
        return Completed(completed_alone(grids, measured).rows, 0.123, ("said so",))

    table, told = job.collect(results, "board", results.parent, completion=completion)
    assert seen == [table.counts()["measured"]]
    assert table.metadata.measured is not None
    assert table.metadata.measured.expected_error == 0.123
    assert "said so" in told


@pytest.mark.parametrize("extensions", [["avx2"], ["avx2", "avx512f"]])
def test_narrower_vectors_have_cells_of_their_own(extensions: list[str], tmp_path: Path) -> None:
    """A kit is drawn before it is known where it will run: ONNX Runtime's blocks are of 8 channels without AVX-512."""
    make_kit(tmp_path / "kit.zip", small_request("onnxruntime"))
    with zipfile.ZipFile(tmp_path / "kit.zip") as file:
        file.extractall(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake_device.timing, "PATIENCE_S", 0.0)
        patch.setattr(fake_device.timing, "EVICTING_BYTES", 8)
        patch.setattr(fake_device, "RUNS", count(1))
        assert measure(tmp_path / "tinynas_kit_onnxruntime") == 0
    results = tmp_path / "tinynas_kit_onnxruntime" / "results.json"

    def of_this_processor(content: dict[str, Any]) -> None:
        for session in content["sessions"]:
            session["machine"]["extensions"] = extensions

    changed(results, of_this_processor)
    table, _ = job.collect(results, "board", tmp_path)
    rows = collected(results).rows
    kept = {row_key(row.kernel) for row in read_rows(tmp_path / f"{table.id}.csv") if row.source == "measured"}
    assert kept == rows.keys()
    assert table.metadata.host is not None
    assert table.metadata.host.extensions == tuple(extensions)
    narrow = extensions == ["avx2"]
    assert table.metadata.rules.channel_block == (8 if narrow else 16)
    widths = set()
    for text in collected(results).header["detectors"].values():
        prediction = predict(emit_detector(parse_structure(text)), table, max_extrapolated=1.0)
        widths |= {
            int(site.site.kernel.out_channels) % 16 for site in prediction.sites if site.site.kernel.kind == "conv"
        }
        assert prediction.shares["extrapolated"] < 0.3  # the kit of this test draws two networks
    assert widths == ({0, 8} if narrow else {0})


def test_another_table_fills_what_was_not_measured(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(results, lambda content: content.update(kernels=content["kernels"][: len(content["kernels"]) // 3]))
    source = "epyc-zen5-openvino-fp32-b1-t1"
    assert collect(results, "--adapt", source) == 0
    assert f"adapted from {source}" in capsys.readouterr().out
    table = read_table(results.parent / f"{ID}.csv")
    rows, made = collected(results).rows, table.metadata.adapted
    assert made is not None
    assert (made.source, made.kernels) == (source, len(rows))
    kept = {row_key(row.kernel): row for row in read_rows(results.parent / f"{ID}.csv")}
    assert len(kept.keys() & rows.keys()) > 0.9 * len(rows)
    for key in kept.keys() & rows.keys():
        assert kept[key].latency_ms == pytest.approx(rows[key].latency_ms, rel=1e-3)
    assert {row.source for row in kept.values()} == {"measured", "adapted"}


def test_a_source_of_another_kind_is_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert collect(results, "--adapt", "t4") == 2
    assert "--adapt t4: table t4-tensorrt-fp16-b1 is of a gpu; a CPU's is expected" in capsys.readouterr().err
    assert not (results.parent / f"{ID}.csv").exists()


def test_half_of_the_kernels_is_completed_and_said(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(results, lambda content: content.update(kernels=content["kernels"][: len(content["kernels"]) // 2]))
    kept = len(read_results(str(results))["kernels"])
    assert collect(results) == 0
    told = capsys.readouterr().out
    assert f"note: {kept} of the kit's {read_results(str(results))['kit']['kernels']} kernels were measured" in told
    assert read_table(results.parent / f"{ID}.csv").metadata.error["median"] < 6


def test_grids_without_a_figure_are_derived_and_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def without_pooling(content: dict[str, Any]) -> None:
        content["kernels"] = [row for row in content["kernels"] if row[0] not in ("upsample", "space_to_depth")]

    changed(results, without_pooling)
    assert collect(results) == 0
    told = capsys.readouterr().out
    assert "grids was measured (" in told
    assert "upsample" in told
    table = read_table(results.parent / f"{ID}.csv")
    assert table.counts()["derived"] > 0
    kinds = {group.kind for group, rows in table.rows.items() if np.any(rows[:, 4] == 2)}
    assert kinds == {"upsample"}  # mob has no space-to-depth


def test_without_detectors_nothing_is_claimed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(results, lambda content: content.update(detectors=[]))
    assert collect(results) == 0
    assert "nothing says how good the table is" in capsys.readouterr().out
    assert read_table(results.parent / f"{ID}.csv").metadata.error == {}


def test_jumps_are_told(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def throttle(content: dict[str, Any]) -> None:
        for place, group in enumerate(content["groups"]):
            group["reference_ms"] = [1.0, 1.0 + 0.1 * place, 9.0]

    changed(results, throttle)
    assert collect(results) == 0
    assert "note: figures jump: in a tenth of the groups the reference conv took " in capsys.readouterr().out


def drop_all(content: dict[str, Any]) -> None:
    content["kernels"] = []


def drop_convs(content: dict[str, Any]) -> None:
    content["kernels"] = [row for row in content["kernels"] if row[0] not in ("conv", "depthwise")]


def negative(content: dict[str, Any]) -> None:
    content["kernels"][0][-2] = -1.0


def another_session(content: dict[str, Any]) -> None:
    first = content["sessions"][0]
    content["sessions"].append({**first, "machine": {**first["machine"], "processor": "another one"}})


def strange_detector(content: dict[str, Any]) -> None:
    content["detectors"].append(["res 64x64 1-2-3", 1.0, 0.0])


def out_of_reach(content: dict[str, Any]) -> None:
    content["kernels"][0][1] = 7


def other_space(content: dict[str, Any]) -> None:
    content["kit"]["spaces"][0]["stages"][0]["wonder"] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_all, "no kernel was measured; run the kit on the device first"),
        (drop_convs, "too little was measured: "),
        (negative, "with -1.0 ms is no measurement of a kernel; the file is damaged"),
        (another_session, "results of several devices are mixed (processor "),
        (strange_detector, "is not of this kit; results of two kits are mixed"),
        (out_of_reach, "1 of its "),
        (other_space, "which describes its networks differently"),
        (
            lambda content: content["kit"].pop("precision"),
            "results of another version of tinynas ('precision' is missing)",
        ),
        (
            lambda content: content.pop("sessions"),
            "results of another version of tinynas, or damaged (KeyError: 'sessions')",
        ),
        (lambda content: content["kit"].pop("spaces"), "which describes its networks differently"),
    ],
)
def test_bad_results_are_refused_in_one_line_and_nothing_is_written(
    change: Callable[[dict[str, Any]], object], message: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(results, change)
    assert collect(results) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert list(results.parent.iterdir()) == [results]


def test_damaged_and_foreign_files(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = results.read_text()
    for text, message in (
        (whole[: len(whole) // 2], "not whole JSON"),
        (whole.replace('"threads": 1', '"threads": 2', 1), "its checksum does not fit"),
        (json.dumps({"annotations": []}), "this is not a kit's results"),
        (whole.replace('"format": 1', '"format": 3', 1), "results of format 3, this version reads format 1"),
    ):
        results.write_text(text)
        assert collect(results) == 2
        assert message in capsys.readouterr().err
    assert collect(tmp_path / "nothing.json") == 2
    assert "cannot be read" in capsys.readouterr().err
    assert list(results.parent.iterdir()) == [results]


def test_a_table_that_is_there_is_not_written_over(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert collect(results) == 0
    before = (results.parent / f"{ID}.csv").read_bytes()
    assert collect(results) == 2
    assert "exists; give another name or remove it" in capsys.readouterr().err
    assert (results.parent / f"{ID}.csv").read_bytes() == before
    assert collect(results, "--name", "other", "--short-name", "My Board") == 2
    assert "short_names.1: 'My Board' found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--collect", "results.json"], "say --name CHIP, as the table's id shall start"),
        (
            ["--collect", "results.json", "--kit", "kit.zip"],
            "--kit, --collect and --adapt are jobs of their own",
        ),
        (["--kit", "kit.zip", "--adapt", "auto"], "say one of them"),
        (["--kit", "kit.zip", "--runtime", "torch"], "no kits for runtime 'torch'"),
        (["--kit", "kit.zip", "--name", "board"], "--name goes with --collect"),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["profile", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_kit_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tinynas.commands import profile as command

    monkeypatch.setattr(command, "MEMBERS", 2)
    path = tmp_path / "kit.zip"
    words = ["profile", "--kit", str(path), "--runtime", "tensorrt", "--precision", "fp16", "--spaces", "mob"]
    assert main([*words, "--image-sizes", "64", "--minutes", "9"]) == 0
    told = capsys.readouterr().out
    assert f"wrote {path}: " in told
    assert "at most 9 minutes" in told
    assert "sh tinynas_kit_tensorrt/commands.sh" in told


def test_an_unreadable_folder_is_one_line(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results.parent / "file").write_text("")
    assert collect(results, "--out", str(results.parent / "file")) == 2
    assert "it is a file, expected a folder" in capsys.readouterr().err


def test_user_errors_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"takes a results\.json, or a whole kit folder"):
        collected(tmp_path)


def test_scale_and_overhead_are_taken_only_where_they_help() -> None:
    kernels = np.array([[0.5, 6.0, 1.0, 0.5], [1, 14, 2, 1.1], [2, 30, 4, 1.9], [4, 62, 8, 4]])

    def check(measured: list[float]) -> Check:
        return Check(tuple("abcd"), kernels, np.array(measured), np.zeros(4))

    totals = kernels.sum(axis=1)
    found = fit_where_it_helps(check(list(totals + 2)))
    assert found.overhead_ms == pytest.approx(2.0, abs=0.3)
    assert "fitted on the kit's detectors" in found.origin
    assert np.abs(found.each.errors(found.overheads_ms)).max() < 0.05
    found = fit_where_it_helps(check(list(0.9 * totals)))
    assert found.factors["conv"] == pytest.approx(0.9, abs=0.01)
    # nothing that one detector says of another: any fit would only spoil them
    found = fit_where_it_helps(check(list(totals * np.array([1.1, 0.9, 1.1, 0.9]))))
    assert (found.factors, found.overhead_ms) == ({}, 0)
    assert found.origin.startswith("none: ")
    assert fit_where_it_helps(Check(("a", "b"), kernels[:2], totals[:2] + 1, np.zeros(2))).overhead_ms == 0

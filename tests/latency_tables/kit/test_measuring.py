"""What a kit's script does on a device: keeps what it measured through anything, and refuses to mix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from latency_tables.on_device import kit, results
from latency_tables.on_device.results import KitError, read_results
from tests.latency_tables.kit import fake_device
from tests.latency_tables.kit.fake_device import measure

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_device.timing, "PATIENCE_S", 0.0)
    monkeypatch.setattr(fake_device.timing, "EVICTING_BYTES", 8)
    monkeypatch.setattr(fake_device, "RUNS", count(1))


def content(folder: Path) -> dict[str, Any]:
    return read_results(str(folder / "results.json"))


def whole_groups(folder: Path, models: int) -> tuple[int, int]:
    """How many groups the first so many models make, and how many models are in those."""
    sizes = [len(group) for group in json.loads((folder / "kit.json").read_text())["groups"]]
    number = next(number for number in range(len(sizes)) if sum(sizes[: number + 1]) > models)
    return number, sum(sizes[:number])


def in_a_process(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.latency_tables.kit.fake_device", str(folder)], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_all_is_measured_once_and_told(kit_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure(kit_folder) == 0
    told = capsys.readouterr()
    found, described = content(kit_folder), json.loads((kit_folder / "kit.json").read_text())
    assert f"{described['kernels']} of {described['kernels']} kernels, 8 whole detectors" in told.out
    kernels = [tuple(row[:9]) for row in found["kernels"]]
    assert len(kernels) == len(set(kernels)) == described["kernels"]
    assert {row[0] for row in found["detectors"]} == {item["name"] for item in described["detectors"]}
    last = told.err.strip().splitlines()[-1]
    assert last.startswith(f"{described['kernels']} of {described['kernels']} kernels, 8 of 8 whole detectors, ")
    assert last.endswith("about 0:00 left")
    conditions = found["conditions"]
    assert (conditions["threads"], conditions["runtime_version"]) == (1, "0")
    assert conditions["host"]
    assert conditions["processor"]
    before = (kit_folder / "results.json").read_bytes()
    assert measure(kit_folder) == 0
    assert content(kit_folder)["kernels"] == found["kernels"]
    assert before != (kit_folder / "results.json").read_bytes()  # the session is noted


def test_detectors_come_early(kit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_STOPS", "12")
    assert measure(kit_folder) == 130
    found = content(kit_folder)
    assert len(found["detectors"]) == 8
    assert len(found["groups"]) == whole_groups(kit_folder, 11)[0] < 4


def test_ctrl_c_keeps_what_was_measured(
    kit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("FAKE_LOG", str(log))
    monkeypatch.setenv("FAKE_STOPS", "20")
    assert measure(kit_folder) == 130
    assert "run the same command to go on" in capsys.readouterr().err
    kept = content(kit_folder)
    groups, models = whole_groups(kit_folder, 19)
    assert len(kept["groups"]) == groups > 2
    monkeypatch.delenv("FAKE_STOPS")
    assert measure(kit_folder) == 0
    assert content(kit_folder)["kernels"][: len(kept["kernels"])] == kept["kernels"]
    measured = log.read_text().split()
    assert len(measured) == len(set(measured)) + 19 - models  # only the group under way was begun again
    assert len(content(kit_folder)["sessions"]) == 2


def test_a_kill_loses_only_the_group_under_way(kit_folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    killed = in_a_process(kit_folder, FAKE_DIES="21", FAKE_LOG=str(log))
    assert killed.returncode == -9
    kept = content(kit_folder)
    groups, models = whole_groups(kit_folder, 20)
    assert len(kept["groups"]) == groups > 2
    assert in_a_process(kit_folder, FAKE_LOG=str(log)).returncode == 0
    assert content(kit_folder)["kernels"][: len(kept["kernels"])] == kept["kernels"]
    measured = log.read_text().split()
    assert len(measured) == len(set(measured)) + 20 - models


def test_a_kill_while_writing_leaves_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "results.json")
    results.write_results(path, {"first": 1})

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(results.os, "fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        results.write_results(path, {"second": 2})
    assert read_results(path) == {"first": 1}


def test_when_time_is_up_the_rest_waits_for_the_next_run(
    kit_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = count(0.0, 1.5)
    monkeypatch.setattr(kit.time, "monotonic", lambda: next(clock))
    assert measure(kit_folder, "--minutes", "1") == 0
    monkeypatch.undo()
    assert "time was up; the kernels that matter most came first" in capsys.readouterr().out
    kept = content(kit_folder)
    assert 0 < len(kept["groups"]) < len(json.loads((kit_folder / "kit.json").read_text())["groups"])
    assert measure(kit_folder) == 0
    assert len(content(kit_folder)["kernels"]) == json.loads((kit_folder / "kit.json").read_text())["kernels"]


def test_a_model_that_fails_is_passed_over_and_named(
    kit_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_FAILS", "k0003.onnx")
    assert measure(kit_folder) == 0
    assert "not measured: k0003.onnx: k0003.onnx is too much for me\n" in capsys.readouterr().out
    described = json.loads((kit_folder / "kit.json").read_text())
    assert len(content(kit_folder)["kernels"]) == described["kernels"] - len(described["models"][3]["kernels"])


def test_a_runtime_that_fails_on_everything_is_one_line(
    kit_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_FAILS", ",".join(f"k{number:04d}.onnx" for number in range(1000)))
    assert measure(kit_folder) == 2
    assert "error: the runtime fails on every model (" in capsys.readouterr().err


def test_wide_spreads_get_a_second_look(kit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, looks = kit.kernels_ms, count()

    def jumpy(probes: Any, gauge: Any, *, cold: bool) -> Any:
        spread = 0.5 if next(looks) == 2 else 0.01
        return [[(ms, spread) for ms, _ in figures] for figures in real(probes, gauge, cold=cold)]

    monkeypatch.setattr(kit, "kernels_ms", jumpy)
    assert measure(kit_folder) == 0
    seen = [group["group"] for group in content(kit_folder)["groups"]]
    assert seen[-1] == seen[2]
    assert len(seen) == len(set(seen)) + 1


def edited(folder: Path, **changes: Any) -> None:
    found = content(folder)
    for key, value in changes.items():
        found[key] = {**found[key], **value}
    results.write_results(str(folder / "results.json"), found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": {"host": "other"}}, "measured under other conditions (host other then, "),
        ({"conditions": {"runtime_version": "7"}}, "(runtime_version 7 then, 0 now); unpack the kit into a folder"),
        ({"conditions": {"threads": 4}}, "(threads 4 then, 1 now)"),
        ({"kit": {"id": "1234"}}, "results of another kit; move them away"),
    ],
)
def test_what_does_not_belong_together_is_not_mixed(
    kit_folder: Path, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("FAKE_STOPS", "5")
    measure(kit_folder)
    edited(kit_folder, **changes)
    before = (kit_folder / "results.json").read_bytes()
    capsys.readouterr()
    assert measure(kit_folder) == 2
    assert message in capsys.readouterr().err
    assert (kit_folder / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "models" / "k0001.onnx").unlink(),
            "1 of the kit's files are missing (models/k00",
        ),
        (lambda folder: (folder / "kit.json").write_text("{"), "cannot be read"),
        (
            lambda folder: (folder / "kit.json").write_text('{"format": 99}'),
            "a kit of format 99, this script is for ",
        ),
        (lambda folder: (folder / "results.json").write_text("{"), "not whole JSON"),
    ],
)
def test_a_damaged_kit_is_one_line(
    kit_folder: Path, spoil: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(kit_folder)
    assert measure(kit_folder) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_two_runs_at_once_are_refused(kit_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with kit._alone(str(kit_folder)):
        assert measure(kit_folder) == 2
    assert "is running already; wait for it" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--threads", "0"), ("--minutes", "0")])
def test_senseless_arguments(kit_folder: Path, arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert measure(kit_folder, *arguments) == 2
    assert "--threads from 1 and --minutes above 0 expected" in capsys.readouterr().err


def test_a_missing_runtime_is_one_line(
    kit_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version() -> str:
        raise ImportError("No module named 'openvino'")

    monkeypatch.setattr(fake_device.DEVICE, "version", version)
    assert measure(kit_folder) == 2
    assert "openvino is not installed for this Python" in capsys.readouterr().err


def test_jumps_are_told_with_how_much() -> None:
    steady = {"groups": [{"reference_ms": [1.0, 1.02, 3.0]}] * 20, "kernels": [["conv", 0.01]] * 9}
    assert results.told_jumps(steady) == ""
    throttled = {**steady, "groups": [{"reference_ms": [1.0, 1.0 + 0.05 * n, 9.0]} for n in range(11)]}
    assert "took 45% or more above its best" in results.told_jumps(throttled)
    restless = {**steady, "kernels": [["conv", 0.3]] * 9}
    assert "half of the kernels spread by 30% or more" in results.told_jumps(restless)


def test_results_tell_a_damaged_copy(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.write_results(str(path), {"a": 1.25})
    whole = path.read_text()
    for text, message in (
        (whole[:-20], "not whole JSON"),
        (whole.replace("1.25", "1.35"), "its checksum does not fit"),
        (whole.replace('"format": 1', '"format": 2'), "results of format 2, this version reads format 1"),
        ("[1, 2]", "this is not a kit's results"),
        ('{"images": []}', "this is not a kit's results"),
    ):
        path.write_text(text)
        with pytest.raises(KitError, match=message):
            read_results(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KitError, match="cannot be read"):
        read_results(str(path))

"""Devices that have only a benchmark program: the commands for them, and what the programs write."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from latency_tables.kernels import Kernel
from latency_tables.kit.collected import collected
from latency_tables.runtimes._models import activation_of
from latency_tables.tables import read_table
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.text import parse_structure
from tests.latency_tables import fake_runtime
from tests.latency_tables.fake_runtime import fake_ms
from tests.latency_tables.kit.conftest import small_request
from tinynas.cli import main
from tinynas.kit import make_kit

LOG = """[Step 2/11] Loading OpenVINO Runtime
[ INFO ] OpenVINO:
[ INFO ] Build ................................. 2026.4.1-12345-abc
[Step 11/11] Dumping statistics report
[ INFO ] Latency:
[ INFO ]    Median:        {ms:.2f} ms
[ INFO ]    Average:       99.00 ms
"""
TRTEXEC_LOG = """&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --onnx=models/x.onnx
[I] Selected Device: Orin
[I] Latency: min = 1.0 ms, max = 2.0 ms, mean = 1.5 ms, median = 77.0 ms, percentile(99%) = 2.0 ms
[I] GPU Compute Time: min = 1.0 ms, max = 2.0 ms, mean = 1.5 ms, median = {ms:.4f} ms, percentile(99%) = 2.0 ms
"""


def network_ms(kit: dict[str, Any], name: str) -> float:
    graph = emit_detector(parse_structure(kit["header"]["detectors"][name]))
    return fake_runtime.network_ms([graph], threads=1, precision="fp32")[0]


def counters(model: dict[str, Any]) -> str:
    """What benchmark_app writes of a kernel model: nodes and their ms, among the surroundings."""
    lines = ["layerName;execStatus;layerType;execType;realTime (ms);cpuTime (ms)"]
    for index, values in enumerate(model["kernels"]):
        kernel = Kernel.of_values(values)
        kind = "Convolution" if kernel.kind in ("conv", "depthwise", "stem") else kernel.kind
        lines.append(f"pre.in.target{index};Status.EXECUTED;Convolution;brgconv;5.000;5.000")
        lines.append(f"target{index};Status.EXECUTED;{kind};brgconv_avx512_f32;{fake_ms(kernel):.6f};1.000")
        if activation_of(kernel):
            lines.append(f"target{index}.relu;Status.OPTIMIZED_OUT;Relu;undef;0.000;0.000")
    return "\n".join([*lines, "Total;;;;123.0;123.0", ""])


def layers(model: dict[str, Any]) -> str:
    """What trtexec exports of a kernel model."""
    found: list[dict[str, Any]] = [{"count": 15}]
    for index, values in enumerate(model["kernels"]):
        ms = fake_ms(Kernel.of_values(values))
        found.append({"name": f"pre.in.target{index}", "timeMs": 9.0, "averageMs": 9.0, "percentage": 1.0})
        found.append(
            {"name": f"target{index} + target{index}.relu", "timeMs": 15 * ms, "averageMs": ms, "percentage": 1.0}
        )
    return json.dumps(found)


def fill(folder: Path, suffix: str = "csv") -> dict[str, Any]:
    """The outputs of a whole kit, as its commands.sh leaves them."""
    kit: dict[str, Any] = json.loads((folder / "kit.json").read_text())
    out = folder / "out"
    out.mkdir()
    (out / "device.txt").write_text("host=shelf\nprocessor=Cortex-A78AE\nboard=Orin Nano\nthreads=1\n")
    log = LOG if suffix == "csv" else TRTEXEC_LOG
    for model in kit["models"]:
        stem = Path(model["file"]).stem
        (out / f"{stem}.{suffix}").write_text(counters(model) if suffix == "csv" else layers(model))
        (out / f"{stem}.txt").write_text(log.format(ms=1.0))
    for item in kit["detectors"]:
        (out / f"{Path(item['file']).stem}.txt").write_text(log.format(ms=network_ms(kit, item["name"])))
    return kit


def test_benchmark_app_gives_a_table(kit_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = fill(kit_folder)
    found = collected(kit_folder)
    assert len(found.rows) == kit["kernels"]
    assert found.conditions["runtime_version"] == "2026.4.1"
    assert found.conditions["device"] == "Orin Nano"
    words = ["profile", "--collect", str(kit_folder), "--name", "board", "--out", str(tmp_path / "tables")]
    assert main(words) == 0
    assert "8 whole detectors of the kit: median error " in capsys.readouterr().out
    metadata = read_table(tmp_path / "tables" / "board-openvino-fp32-b1-t1.csv").metadata
    assert metadata.measured is not None
    assert metadata.measured.method == "average figures of benchmark_app on a kit's models"


def test_trtexec_gives_a_table(tmp_path: Path) -> None:
    make_kit(tmp_path / "kit.zip", small_request("tensorrt", precision="fp16"))
    with zipfile.ZipFile(tmp_path / "kit.zip") as file:
        file.extractall(tmp_path)
    folder = tmp_path / "tinynas_kit_tensorrt"
    kit = fill(folder, "json")
    found = collected(folder)
    assert len(found.rows) == kit["kernels"]
    assert all(row.latency_ms == pytest.approx(fake_ms(row.kernel)) for row in found.rows.values())
    assert (found.conditions["device"], found.conditions["runtime_version"]) == ("Orin", "100300")
    assert main(["profile", "--collect", str(folder), "--name", "orin", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "orin-tensorrt-fp16-b1.csv").exists()


def test_some_outputs_are_enough(kit_folder: Path) -> None:
    kit = fill(kit_folder)
    for model in kit["models"][len(kit["models"]) // 2 :]:
        (kit_folder / "out" / f"{Path(model['file']).stem}.csv").unlink()
    found = collected(kit_folder)
    assert 0 < len(found.rows) < kit["kernels"]
    assert "kernels were measured, those that matter most" in found.warnings[0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda out: (out / "k0001.csv").write_text("a;b\n1;2\n"), "k0001.csv: damaged"),
        (lambda out: (out / "d0.txt").write_text("[ INFO ] Build .... 2026.4.1\n"), "d0.txt: no median latency in it"),
        (lambda out: (out / "device.txt").write_text("host=a\n"), "device.txt: damaged"),
        (lambda out: (out / "device.txt").unlink(), "device.txt: cannot be read"),
        (
            lambda out: (out / "d0.txt").write_text(LOG.replace("2026", "2025").format(ms=1.0)),
            "outputs of several versions",
        ),
    ],
)
def test_damaged_or_mixed_outputs_are_one_line(spoil: Any, message: str, kit_folder: Path) -> None:
    fill(kit_folder)
    spoil(kit_folder / "out")
    with pytest.raises(UserError, match=message) as caught:
        collected(kit_folder)
    assert "\n" not in str(caught.value)


def program(folder: Path, body: str) -> str:
    """A stand-in of benchmark_app: a shell script that gets its arguments."""
    path = folder / "benchmark_app"
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


WORKS = """
echo "$@" >> "$CALLS"
while [ $# -gt 0 ]; do [ "$1" = -report_folder ] && folder=$2; shift; done
echo "[ INFO ] Build ..... 2026.4.1-1"; echo "[ INFO ]    Median:   1.50 ms"
[ -n "$folder" ] && echo "layerName;" > "$folder/benchmark_average_counters_report.csv"
exit 0
"""


def run_commands(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(folder / "commands.sh")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands_run_every_model_once_and_go_on(kit_folder: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    kit = json.loads((kit_folder / "kit.json").read_text())
    environment = {"PROGRAM": program(tmp_path, WORKS), "CALLS": str(calls)}
    assert run_commands(kit_folder, LIMIT="0", **environment).returncode == 0
    assert not calls.exists()
    (kit_folder / "out" / "k0000.txt").write_text("measured before")
    done = run_commands(kit_folder, **environment)
    assert done.returncode == 0, done.stderr
    lines = calls.read_text().splitlines()
    assert len(lines) == len(kit["models"]) + len(kit["detectors"]) - 1
    assert all("-infer_precision f32 -niter " in line and "-nthreads 1" in line for line in lines)
    assert "-m models/d0.onnx" in "".join(lines[:20])
    assert all((kit_folder / "out" / f"{Path(model['file']).stem}.csv").exists() for model in kit["models"][1:])
    assert not (kit_folder / "out" / "now").exists()
    assert run_commands(kit_folder, **environment).returncode == 0
    assert len(calls.read_text().splitlines()) == len(lines)
    other = run_commands(kit_folder, THREADS="2", **environment)
    assert other.returncode == 2
    assert "measured on another device or with other threads" in other.stderr


def test_a_program_that_fails_stops_them(kit_folder: Path, tmp_path: Path) -> None:
    done = run_commands(kit_folder, PROGRAM=program(tmp_path, "echo no such device; exit 1"))
    assert done.returncode == 1
    assert "k0000 failed: no such device" in done.stderr
    assert "failed on 5 models" in done.stderr

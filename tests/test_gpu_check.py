"""The check for GPUs: rehearsed whole on the CPU, and how its driver treats steps that fail, hang or are none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "gpu"))
sys.path.insert(0, str(ROOT / "scripts"))

import check  # noqa: E402
import gpu_packages  # noqa: E402
import steps  # noqa: E402

SCRIPT = ROOT / "scripts" / "gpu_check.sh"


def called(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = ["bash", str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    environment.pop("TINYNAS_TEST_DATA", None)
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_rehearsal_on_the_cpu_runs_every_step(tmp_path: Path) -> None:
    done = called(tmp_path / "out", "--device", "cpu", "--quick", "--minutes", 30)
    report = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert {name: found["status"] for name, found in report["steps"].items()} == dict.fromkeys(steps.NAMES, "ok"), (
        report
    )
    assert done.returncode == 0
    assert json.loads(done.stdout[done.stdout.index("\n{") :]) == report
    results = {name: found["result"] for name, found in report["steps"].items()}
    assert results["machine"]["rates"]["copy_gb_per_s"] > 0
    assert results["tests"]["passed"] > 20
    assert results["tests"]["failed"] == {}
    assert results["pipeline"]["per_core"]["strong_cached"] > 0
    assert set(results["speed"]["cases"]) == {"Ns 2 off", "Ns 2 bf16"}
    assert results["speed"]["cases"]["Ns 2 off"]["step_to_plain"] > 0.5
    assert results["latency"]["whole_detectors"]["detectors"] == 2
    assert results["latency"]["published"]["T"]["measured_ms"] > 0
    assert results["learning"]["agreement"]["exit_codes"] == {"cpu off": 0, "cpu bf16": 0}
    assert len(results["learning"]["agreement"]["cpu off"]["total"]) == 3
    assert results["learning"]["run"]["epochs"] == 2
    assert set(results["families"]["trainings"]) == {"T signs", "searched signs"}
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written >= {"gpu.json", "table", "verification.png", "speed.png", "learning-report.html", "log"}
    assert {path.stem for path in (tmp_path / "out" / "log").iterdir()} == set(steps.NAMES)


def step(tmp_path: Path, name: str, program: str, limit_s: float = 30.0) -> steps.Step:
    result = tmp_path / "work" / name / "result.json"
    return steps.Step(name, "a test's", [sys.executable, "-c", program, str(result)], limit_s, result)


def test_a_step_that_fails_or_hangs_does_not_stop_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "GRACE_SECONDS", 0.5)
    writes = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('{\"found\": 1}'); "
    child = tmp_path / "child"
    hangs = (
        f"import os, time; pid = os.fork(); pid or open({str(child)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    task = steps.Task(tmp_path, "cpu", True, None, 9.0)
    planned = [
        step(tmp_path, "machine", writes + "raise SystemExit('no card')"),
        step(tmp_path, "tests", writes + hangs, 4.0),
        step(tmp_path, "speed", writes),
    ]
    assert check.check(planned, task) == 1
    report = json.loads((tmp_path / "gpu.json").read_text())["steps"]
    assert [found["status"] for found in report.values()] == ["failed (exit code 1)", "ran out of time", "ok"]
    assert all(found["result"] == {"found": 1} for found in report.values())
    assert report["machine"]["last_lines"] == ["no card"]
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child.read_text()}").exists() and _running(int(child.read_text())):
        assert time.monotonic() < deadline, "a process that the step started lives on"


def _running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("minutes", [9.0, 30.0, 45.0])
def test_the_steps_fit_into_the_minutes(minutes: float, tmp_path: Path) -> None:
    planned = steps.plan(steps.Task(tmp_path, "cuda", False, None, minutes))
    assert sum(step.limit_s for step in planned) == pytest.approx(60 * minutes)
    assert ("families" in [step.name for step in planned]) == (minutes >= 30)
    for step in planned:
        assert Path(step.command[1]).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "sped"], "--steps: no step 'sped'; did you mean speed?"),
        (["--minutes", "0"], "--minutes 0: expected more than none"),
        ([], "torch finds no CUDA device; on a CPU rehearse with --device cpu --quick"),
    ],
)
def test_wrong_calls_are_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = called(tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_earlier_results_are_kept(tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_text("{}")
    done = called(tmp_path, "--device", "cpu", "--quick")
    assert done.returncode == 2
    assert "holds the results of an earlier check" in done.stderr
    assert (tmp_path / "gpu.json").read_text() == "{}"


# ---- packages --------------------------------------------------------------------------------------------------------


def test_the_bounds_are_those_of_the_package() -> None:
    bounds = gpu_packages.lower_bounds((ROOT / "setup.cfg").read_text())
    assert bounds["pydantic"] == (2, 7)
    assert bounds["pytest"] == (8,)


def test_every_package_is_pinned() -> None:
    pins = {gpu_packages._plain(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().split()}
    assert [name for name in (*gpu_packages.NEEDED, *gpu_packages.ALSO) if gpu_packages._plain(name) not in pins] == []


def test_what_is_missing_or_too_old_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*gpu_packages.NEEDED, *gpu_packages.ALSO]
    assert gpu_packages.missing(names, {}) == []
    assert gpu_packages.missing(["no-such-package", "tqdm"], {}) == ["no-such-package"]
    assert gpu_packages.missing(["tqdm"], {"tqdm": (9999, 0)}) == ["tqdm"]


def test_a_machine_that_lacks_packages_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(gpu_packages, "missing", lambda *_: ["pycocotools", "onnxruntime"])
    assert gpu_packages.install(tmp_path, tmp_path / "site") == 2
    assert "lacks pycocotools; pip install them, or where there is no network run bash scripts/gpu_wheels.sh" in (
        capsys.readouterr().err
    )
    monkeypatch.setattr(gpu_packages, "missing", lambda *_: ["onnxruntime"])
    assert gpu_packages.install(tmp_path, tmp_path / "site") == 0
    assert "without onnxruntime" in capsys.readouterr().out


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("x")
    assert gpu_packages.download(tmp_path, "3.12", ()) == 2
    assert "mine.txt is no wheel" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").is_file()

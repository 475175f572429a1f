"""benchmarks/_trainings.py: jobs in processes of their own, gone on with, stopped, and read."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from search_spaces.errors import UserError
from search_spaces.files import lock
from search_spaces.text import resolve_structure

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import _training  # noqa: E402
import _trainings  # noqa: E402
import ablate  # noqa: E402

NS = resolve_structure("Ns")
TRAINER = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
with (folder / "started").open("a") as file: file.write("x")
job = json.loads((folder / "job.json").read_text())
if job["arm"] == "broken":
    sys.exit("no such thing")
if job["arm"] == "endless":
    sys.stdin.buffer.read()
    sys.exit((folder / "stopped").write_text("yes"))
row = {"epoch": job["epochs"], "ap": 0.25, "ap50": 0.5, "train_seconds": 1.0}
(folder / "metrics.jsonl").write_text(json.dumps(row))
(folder / "test.json").write_text(json.dumps({"best": {"ap": 0.2, "ap50": 0.4}, "last": {"ap": 0.1}}))
"""


@pytest.fixture
def trainer(monkeypatch, tmp_path):
    """Trainings that write what a run leaves, at once; gives the data and the output folder."""
    monkeypatch.setattr(_trainings, "_command", lambda folder, *_: [sys.executable, "-c", TRAINER, str(folder)])
    monkeypatch.setattr(_trainings, "POLL_SECONDS", 0.01)
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    for split in ("train", "val", "test"):
        (tmp_path / "data" / "annotations" / f"{split}.json").write_text('{"images": [], "annotations": []}')
    return tmp_path / "data", tmp_path / "out"


def job(name: str, arm: str = "arm", **changed: object) -> _training.Job:
    return _training.Job(name, arm, NS, **{"epochs": 2, "seed": 0, "image_size": 64, **changed})


def test_finished_jobs_are_read_and_others_done(trainer):
    data, out = trainer
    first, failed = _trainings.run_jobs([job("a"), job("b")], data, out, 2)
    again, _ = _trainings.run_jobs([job("a"), job("b"), job("c")], data, out)
    assert not failed
    assert {name: again[name] for name in first} == first
    assert first["a"]["val_ap"] == 0.25
    assert (first["a"]["test_ap"], first["a"]["test_ap_last"], first["a"]["seconds"]) == (0.2, 0.1, 1.0)
    assert [(out / name / "started").read_text() for name in "abc"] == ["x", "x", "x"]
    (out / "a" / "test.json").unlink()
    _trainings.run_jobs([job("a"), job("b")], data, out)
    assert [(out / name / "started").read_text() for name in "ab"] == ["xx", "x"]


@pytest.mark.parametrize(("arms", "code"), [(["small"], 0), (["small", "broken"], 1)])
def test_a_comparison_writes_and_prints_what_it_found(trainer, monkeypatch, capsys, arms, code):
    data, out = trainer
    monkeypatch.setitem(ablate.ARMS, "broken", ablate.ARMS["atss"])
    words = [str(data), "--out", str(out), "--arms", *arms, "--seeds", "1", "--epochs", "2"]
    monkeypatch.setattr(sys, "argv", ["ablate.py", *words])
    with pytest.raises(SystemExit) as end:
        ablate.main()
    assert end.value.code == code
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "ablate.json").read_text())
    assert found["arms"]["small"]["val_ap"]["mean"] == 0.25
    assert list(found["failed"]) == ["broken-seed0"][:code]
    assert (out / "ablate.png").is_file()


def test_a_failing_job_is_named_after_the_others(trainer, capsys):
    data, out = trainer
    found, failed = _trainings.run_jobs([job("bad", "broken"), job("good")], data, out)
    assert list(found) == ["good"]
    assert failed == {"bad": "exit code 1: no such thing"}
    assert "bad failed: exit code 1: no such thing" in capsys.readouterr().err


def test_ctrl_c_stops_the_processes(trainer, monkeypatch):
    data, out = trainer

    def interrupt(_: float) -> None:
        if (out / "long" / "started").is_file():
            raise KeyboardInterrupt

    monkeypatch.setattr(_trainings, "time", SimpleNamespace(sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        _trainings.run_jobs([job("long", "endless")], data, out)
    assert (out / "long" / "stopped").is_file()


def test_a_folder_of_another_job_is_refused(trainer):
    data, out = trainer
    _trainings.run_jobs([job("a")], data, out)
    with pytest.raises(UserError, match=r"a: holds another training"):
        _trainings.run_jobs([job("a", overrides=("ema.decay=0",))], data, out)
    assert _trainings.run_jobs([job("a")], data, out)[0]


def test_one_program_at_a_time(trainer):
    data, out = trainer
    out.mkdir()
    with (out / ".lock").open("w") as held:
        lock(held.fileno(), "")
        with pytest.raises(UserError, match="another program works there"):
            _trainings.run_jobs([job("a")], data, out)


def test_settings_are_checked_before_any_training(trainer):
    data, out = trainer
    with pytest.raises(UserError, match="mosaik"):
        _trainings.run_jobs([job("a"), job("b", overrides=("augment.mosaik=0",))], data, out)
    assert not out.exists()


def test_a_job_survives_its_file():
    given = job("a", overrides=("ema.decay=0",), weights=Path("w.pt"), layer_decay=0.5, every_epochs=3)
    read = _training.from_json(_training.as_json(given))
    assert read == given
    assert read.config(0).optimizer.layer_decay == 0.5


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_job_ends_with_its_parent_even_where_ctrl_c_is_ignored(tmp_path):
    (tmp_path / "job.json").write_text(_training.as_json(job("a")))
    code = (
        "import sys, time, _training\n"
        "_training._child = lambda *_: [print('up', flush=True), [time.sleep(0.01) for _ in range(6000)]]\n"
        f"sys.exit(_training._child_main({str(tmp_path)!r}, 'data', '1', '0'))"
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=BENCHMARKS, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)},
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.stdin.close()
    assert process.wait(20) == 130
    process.stdout.close()


def test_threads_and_loader_processes_share_the_cores():
    def workers(threads: int, parallel: int) -> str:
        return _trainings._command(Path("f"), Path("d"), threads, parallel)[-1]

    assert [workers(1, 1), workers(1, 2), workers(2, 1), workers(2, 2), workers(8, 2)] == ["0", "0", "auto", "0", "2"]

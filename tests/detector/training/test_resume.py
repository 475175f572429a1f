"""Work is never lost: a run that was stopped anywhere goes on exactly as if it had not been."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.checkpoint import load_checkpoint
from detector.training import loop
from detector.training.loop import fit
from detector.training.record import state
from detector.training.start import resumed_run
from detector.training.step import Stepper
from detector.training.timing.estimate import Pace, num_evaluations
from search_spaces.errors import UserError
from search_spaces.saying import silent
from search_spaces.structure import Structure
from tests.detector.training.test_training import _run
from tinynas.cli import main

ROOT = str(Path(__file__).parents[3])
TIMES = ("seconds", "train_seconds", "images_per_second")


def _stop_before_step(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Ctrl-C in place of the step after the first `steps`."""
    run, done = Stepper.run, 0

    def counted(stepper: Stepper, batch: Any) -> dict[str, float]:
        nonlocal done
        if done == steps:
            raise KeyboardInterrupt
        done += 1
        return run(stepper, batch)

    monkeypatch.setattr(Stepper, "run", counted)


def _same(a: Any, b: Any) -> bool:
    """Equality to the last bit of nested checkpoints, times aside."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a if key not in TIMES)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _rows(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def _assert_same_run(a: Path, b: Path) -> None:
    assert _rows(a) == _rows(b)
    first, second = (load_checkpoint(folder / "last.pt") for folder in (a, b))
    assert _same(first.weights, second.weights)
    assert _same(first.ema, second.ema)
    assert _same(first.training, second.training)
    assert _same(load_checkpoint(a / "best.pt").weights, load_checkpoint(b / "best.pt").weights)


@pytest.mark.parametrize("steps", [1, 7])  # in the first epoch, and in the third
@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint_minutes": 0},
        {"checkpoint_minutes": 0, "optimizer": {"name": "muon", "learning_rate_per_image": 1e-4}},
        {"checkpoint_minutes": 0, "accumulate": 2, "multi_scale": [32, 96], "eval": {"every_epochs": 2}},
        {"checkpoint_minutes": None, "optimizer": {"name": "sgd", "learning_rate_per_image": 1e-4}, "workers": 1},
    ],
    ids=["within-epochs", "muon", "accumulated", "at-epochs"],
)
def test_resumed_equals_uninterrupted(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], steps: int
) -> None:
    changes = {"epochs": 3, **changes}
    fit(_run(tiny, sample, tmp_path / "whole", **changes))
    stopped = _run(tiny, sample, tmp_path / "stopped", **changes)
    with monkeypatch.context() as patch:
        _stop_before_step(patch, steps)
        with pytest.raises(KeyboardInterrupt):
            fit(stopped)
    torch.rand(3)  # what the rest of the process draws is no matter
    again = resumed_run(tmp_path / "stopped", None, None, silent)
    within = changes["checkpoint_minutes"] == 0 and steps > 3
    assert (again.progress.epoch, again.progress.part.batches) == (steps // 3, steps % 3 if within else 0)
    fit(again)
    _assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_short_epochs_share_a_save(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"epochs": 6, "checkpoint_minutes": 10}
    monkeypatch.setattr(Pace, "step_seconds", property(lambda _: 3.0))  # three an epoch: two epochs take 18 seconds
    fit(_run(tiny, sample, tmp_path / "whole", **changes))
    assert load_checkpoint(tmp_path / "whole" / "last.pt").training["epoch"] == 6
    stopped = _run(tiny, sample, tmp_path / "stopped", **changes)
    with monkeypatch.context() as patch:
        _stop_before_step(patch, 17)
        with pytest.raises(KeyboardInterrupt):
            fit(stopped)
    assert len(_rows(tmp_path / "stopped")) == 5
    again = resumed_run(tmp_path / "stopped", None, None, silent)
    assert again.progress.epoch == 4
    fit(again)
    _assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_other_data_on_resuming_are_pointed_out(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    shutil.copytree(sample, data)
    run = _run(tiny, data, tmp_path / "r", epochs=2, batch_size=2, checkpoint_minutes=0)
    _stop_before_step(monkeypatch, 7)
    with pytest.raises(KeyboardInterrupt):
        fit(run)
    said: list[str] = []
    assert resumed_run(run.folder, data, "cpu", said.append).stepper.step == 7
    assert "warning" not in "".join(said)
    moved = json.loads((data / "annotations" / "instances_val.json").read_text())
    moved["annotations"][0]["bbox"][2] -= 1
    (data / "annotations" / "instances_val.json").write_text(json.dumps(moved))
    resumed_run(run.folder, data, "cpu", said.append)
    assert f"warning: {data}: not the pictures and boxes that the run began with" in said[-1]
    path = data / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    document["images"] = document["images"][:4]
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [box for box in document["annotations"] if box["image_id"] in kept]
    path.write_text(json.dumps(document))
    resumed_run(run.folder, data, "cpu", said.append)
    assert "warning: 7 steps are done, and 4 would be by now with 2 an epoch" in said[-1]


def test_data_that_moved(tiny: Structure, sample: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(sample, data)
    run = _run(tiny, data, tmp_path / "r", epochs=1)
    fit(run)
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(
        UserError, match=r"data: the run's data are not there any more; say where they are now with --data"
    ):
        resumed_run(run.folder, None, None, silent)
    assert resumed_run(run.folder, tmp_path / "elsewhere", None, silent).progress.epoch == 1


def test_a_full_disk_keeps_the_last_good_files(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(_run(tiny, sample, tmp_path / "whole", epochs=2, checkpoint_minutes=None))
    save_checkpoint, saves = state.save_checkpoint, 0

    def limited(*arguments: Any) -> None:
        """From the third save on, the system refuses files above 20 kB."""
        nonlocal saves
        saves += 1
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if saves >= 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        try:
            save_checkpoint(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with monkeypatch.context() as patch:
        patch.setattr(state, "save_checkpoint", limited)
        with pytest.raises(UserError, match=r"last\.pt: cannot write the checkpoint .*free some space"):
            fit(_run(tiny, sample, tmp_path / "full", epochs=2, checkpoint_minutes=None))
    assert not [path.name for path in (tmp_path / "full").iterdir() if path.name.startswith(".")]
    again = resumed_run(tmp_path / "full", None, None, silent)
    assert again.progress.epoch == 1
    fit(again)
    _assert_same_run(tmp_path / "whole", tmp_path / "full")


def test_a_disk_that_fills_up_under_any_file_of_the_run(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = _run(tiny, sample, tmp_path / "r", epochs=2)
    monkeypatch.setattr(run.log, "add", full)
    with pytest.raises(UserError, match=r"/r: cannot be written \(No space left on device\); .* --resume"):
        fit(run)


def test_what_a_killed_write_left_is_removed(tiny: Structure, sample: Path, tmp_path: Path) -> None:
    run = _run(tiny, sample, tmp_path / "r", epochs=1)
    for name in (".last.pt.0123abcd", ".hidden", "notes.txt"):
        (run.folder / name).write_text("x")
    fit(run)
    assert not (run.folder / ".last.pt.0123abcd").exists()
    assert (run.folder / ".hidden").exists()
    assert (run.folder / "notes.txt").exists()


def test_a_state_of_another_version(tiny: Structure, sample: Path, tmp_path: Path) -> None:
    run = _run(tiny, sample, tmp_path / "r", epochs=1)
    fit(run)
    content = torch.load(run.folder / "last.pt", weights_only=True)
    del content["training"]["ranks"]
    torch.save(content, run.folder / "last.pt")
    with pytest.raises(UserError, match=r"another version; start anew with --weights"):
        resumed_run(run.folder, None, None, silent)


def test_the_estimate_is_said_once_and_before_the_first_epoch_ends(
    tiny: Structure, sample: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    run = _run(tiny, sample, tmp_path / "r", say=said.append, epochs=3)
    said.clear()
    fit(run)
    assert said[0].startswith("estimate: about 0:")
    assert "3 epochs of 3 steps" in said[0]
    assert "1 evaluations" in said[0]
    assert sum("estimate" in line for line in said) == 1


@pytest.mark.parametrize(("minutes", "late"), [(0.001, True), (600.0, False), (None, False)])
def test_a_run_that_takes_longer_than_planned_says_so(
    minutes: float | None, late: bool, tiny: Structure, sample: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    run = _run(tiny, sample, tmp_path / "r", say=said.append, epochs=3)
    run = dataclasses.replace(run, config=run.config.model_copy(update={"minutes": minutes}))
    fit(run)
    assert any("steps are slower than when this run was planned for 0:01" in line for line in said) == late


def test_number_of_evaluations() -> None:
    for epochs in range(1, 9):
        for every in range(1, 5):
            due = [n for n in range(1, epochs + 1) if n == epochs or n % every == 0]
            for epoch in range(epochs + 1):
                assert num_evaluations(epoch, epochs, every) == len([n for n in due if n > epoch])


@pytest.mark.parametrize("how", ["end", "error"])
def test_loader_processes_end_with_the_run(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    run = _run(tiny, sample, tmp_path / "r", epochs=1, workers=1)
    started = []
    iterate = torch.utils.data.DataLoader._get_iterator

    def noted(loader: Any) -> Any:
        iterator = iterate(loader)
        started.extend(iterator._workers)
        return iterator

    monkeypatch.setattr(torch.utils.data.DataLoader, "_get_iterator", noted)
    if how == "error":
        monkeypatch.setattr(loop, "at_drawn_size", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit(run)
    else:
        fit(run)
    assert len(started) == (1 if how == "error" else 2)
    assert not any(worker.is_alive() for worker in started)


def test_a_dead_loader_process_is_one_line(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tiny, sample, tmp_path / "r", workers=1)

    def killed(*_: object) -> None:
        iterator: Any = run.train_loader._iterator
        os.kill(iterator._workers[0].pid, signal.SIGKILL)

    monkeypatch.setattr(loop, "tell_estimate", killed)
    monkeypatch.setattr(loop.Pace, "tick", lambda _: True)
    with pytest.raises(UserError, match=r"a loader process was killed"):
        fit(run)


@pytest.mark.usefixtures("interruptible")
def test_kill_9_at_random_moments(tiny_file: Path, sample: Path, tmp_path: Path) -> None:
    """Twice killed while it trains or writes, each restart goes on; the end is that of a run left alone."""
    quick = ["--device", "cpu", "--epochs", "6", "--batch-size", "2", "--preset", "small"]
    settings = [word for text in ("workers=0", "amp=off", "checkpoint_minutes=0") for word in ("--set", text)]

    def arguments(out: Path) -> list[str]:
        if (out / "last.pt").is_file():
            return ["train", "--resume", str(out)]
        return ["train", str(tiny_file), "--data", str(sample), "--out", str(out), "--overwrite", *quick, *settings]

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}
    out, rng = tmp_path / "killed", random.Random(0)
    for _ in range(2):
        command = [sys.executable, "-m", "tinynas", *arguments(out)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        _wait_for_new_state(out / "last.pt", process)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.wait()
    assert main(arguments(out)) == 0
    assert main(arguments(tmp_path / "whole")) == 0
    _assert_same_run(tmp_path / "whole", out)
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def _wait_for_new_state(path: Path, process: subprocess.Popen[bytes]) -> None:
    before = path.stat().st_mtime_ns if path.is_file() else 0
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if path.is_file() and path.stat().st_mtime_ns != before:
            return
        time.sleep(0.01)

"""A list of trainings for a comparison: each in its own process, some at a time, taken up again where it stopped.

Every job has a folder under the output folder: a training run's files, `job.json` (what the job is), `test.json` (COCO
metrics on the test split, where the data has one) and `log.txt`. A job whose folder is complete is only read.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from _training import Job, as_json, epochs_done
from tqdm import tqdm

from detector.data.formats import detect, get
from detector.training.machine.process_settings import let_threads_sleep
from detector.training.record.logged import logged_epochs
from search_spaces.cores import available_cores
from search_spaces.errors import UserError
from search_spaces.files import lock, write_text

EVALUATIONS = 3
"""Of a run, the last epoch's included: enough to choose a checkpoint by."""
BATCH = 8
"""Of the preset `small`."""
METRICS = ("val_ap", "val_ap50", "test_ap", "test_ap50")
POLL_SECONDS, STOP_SECONDS = 0.5, 30.0


def add_options(
    parser: argparse.ArgumentParser, out: str, *, epochs: int | None, seeds: int = 3, size: int | None = 320
) -> None:
    """The options that every comparison has, with defaults; epochs, size: None leaves that option out."""
    parser.add_argument("data", type=Path, help="data folder or YAML")
    parser.add_argument("--out", type=Path, default=Path(out))
    if size is not None:
        parser.add_argument("--size", type=int, default=size, help="side of the images, px")
    parser.add_argument("--seeds", type=int, default=seeds)
    if epochs is not None:
        parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time; each has cores / jobs threads")
    parser.add_argument("--set", action="append", default=[], help="training setting of all runs, key=value")


def epochs_of(steps: int, images: int, batch: int = BATCH) -> int:
    """Whole epochs, at least one, that come nearest to so many steps; an epoch's last batch may be smaller."""
    return max(1, round(steps / -(-images // batch)))


def every_epochs(epochs: int, evaluations: int = EVALUATIONS) -> int:
    """Epochs between a run's evaluations, for about so many of them."""
    return -(-epochs // evaluations)


def finish(found: Mapping[str, Any], path: Path) -> NoReturn:
    """Write a comparison's result, print it and end the program: exit code 1 when a training `failed`."""
    text = json.dumps(found, indent=1)
    write_text(path, text)
    print(text)
    sys.exit(1 if found["failed"] else 0)


def run_program(main: Callable[[], None]) -> None:
    """Run a comparison's `main`: a wrong input ends it with one line and exit code 2, Ctrl-C with code 130."""
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same call goes on", file=sys.stderr)
        sys.exit(130)


def run_jobs(
    jobs: Sequence[Job], data: Path, out: Path, parallel: int = 1
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """What the jobs found, by name, and the error of each that failed; finished jobs are read, stopped ones go on.

    Ctrl-C stops all processes, whose runs go on at the next call. Raises UserError, before any work, for settings that
    are none, for a folder that holds another job, and when another program works in `out`.
    """
    if parallel < 1:
        raise UserError(f"--jobs {parallel}: at least one training at a time")
    for job in jobs:
        job.config()
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as held:
        lock(held.fileno(), f"{out}: another program works there; wait for it or choose another --out")
        for job in jobs:
            _claim(job, out / job.name)
        has_test = "test" in get(detect(data)).splits(data)
        waiting = [job for job in jobs if not is_finished(job, out / job.name, has_test)]
        failed = _work(waiting, jobs, data, out, parallel, held.fileno())
    for name, error in failed.items():
        print(f"{name} failed: {error} ({out / name / 'log.txt'})", file=sys.stderr)
    return {job.name: result(job, out / job.name) for job in jobs if job.name not in failed}, failed


def is_finished(job: Job, folder: Path, has_test: bool) -> bool:
    """Whether nothing is left to do: all epochs trained, and tested where there is a test split."""
    return epochs_done(folder) >= job.epochs and (not has_test or (folder / "test.json").is_file())


def result(job: Job, folder: Path) -> dict[str, Any]:
    """AP on `val` after the last epoch and by epoch, on `test` of best.pt (the best on val) and of the last epoch."""
    rows = logged_epochs(folder)
    curve = [(int(row["epoch"]), _short(row["ap"]), _short(row["ap50"])) for row in rows if "ap" in row]
    path = folder / "test.json"
    test = json.loads(path.read_text()) if path.is_file() else {"best": {}, "last": {}}
    return {
        "arm": job.arm, "seed": job.seed, "epochs": job.epochs, "val_ap": curve[-1][1], "val_ap50": curve[-1][2],
        "test_ap": _short(test["best"].get("ap")), "test_ap50": _short(test["best"].get("ap50")),
        "test_ap_last": _short(test["last"].get("ap")),
        "seconds": round(sum(row["train_seconds"] for row in rows), 1), "epoch_ap_ap50": curve,
    }  # fmt: skip


def summary(results: Mapping[str, Mapping[str, Any]], baseline: str) -> dict[str, dict[str, Any]]:
    """By arm and metric: runs, mean, sample standard deviation, and the difference of the means to the baseline's.

    The difference and its standard error, sqrt(s1^2 / n1 + s2^2 / n2), are in points (hundredths); None where an arm
    has a single run or no value.
    """
    arms = list(dict.fromkeys(str(run["arm"]) for run in results.values()))
    table: dict[str, dict[str, Any]] = {arm: {} for arm in arms}
    for metric in METRICS:
        found = {arm: [run[metric] for run in results.values() if run["arm"] == arm] for arm in arms}
        values = {arm: np.array([value for value in runs if value is not None]) for arm, runs in found.items()}
        base = values.get(baseline, np.array([]))
        for arm in arms:
            table[arm][metric] = _statistics(values[arm], base, is_baseline=arm == baseline)
    return table


def _statistics(values: np.ndarray, base: np.ndarray, *, is_baseline: bool) -> dict[str, Any]:
    if not len(values):
        return {"runs": 0, "mean": None, "standard_deviation": None}
    enough = len(values) > 1
    row: dict[str, Any] = {
        "runs": len(values), "mean": _short(float(values.mean())),
        "standard_deviation": _short(float(values.std(ddof=1))) if enough else None,
    }  # fmt: skip
    if len(base) and not is_baseline:
        row["difference_points"] = round(100 * float(values.mean() - base.mean()), 2)
        if enough and len(base) > 1:
            error = math.sqrt(values.var(ddof=1) / len(values) + base.var(ddof=1) / len(base))
            row["standard_error_points"] = round(100 * error, 2)
    return row


def _work(waiting: list[Job], jobs: Sequence[Job], data: Path, out: Path, parallel: int, held: int) -> dict[str, str]:
    """Do what is waiting; the error by name of each job that failed. held: the descriptor of the lock on `out`."""
    let_threads_sleep()
    threads = max(1, available_cores() // parallel)
    running: dict[str, subprocess.Popen[bytes]] = {}
    failed: dict[str, str] = {}

    def done() -> int:
        return sum(min(epochs_done(out / job.name), job.epochs) for job in jobs)

    total, title = sum(job.epochs for job in jobs), f"{len(jobs)} trainings"
    try:
        with tqdm(total=total, initial=done(), desc=title, unit="epoch", smoothing=0.05, disable=not waiting) as bar:
            while waiting or running:
                while waiting and len(running) < parallel:
                    name = waiting.pop(0).name
                    running[name] = _start(_command(out / name, data, threads, parallel), out / name, threads, held)
                    bar.set_postfix_str(f"{len(waiting)} waiting, now {', '.join(running)}")
                time.sleep(POLL_SECONDS)
                for name, process in list(running.items()):
                    if process.poll() is not None:
                        del running[name]
                        if process.returncode:
                            failed[name] = f"exit code {process.returncode}: {_last_words(out / name)}"
                bar.update(done() - bar.n)
    finally:
        _stop(list(running.values()))
    return failed


def _start(command: list[str], folder: Path, threads: int, held: int) -> subprocess.Popen[bytes]:
    """A job's process. It ends when its standard input does, so also when this one is killed, and keeps the lock."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(paths)}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            pass_fds=[held] if os.name == "posix" else (),
        )  # fmt: skip


def _command(folder: Path, data: Path, threads: int, parallel: int) -> list[str]:
    """Loader processes: those of `train` when it has all cores, else of its share, so none on a single thread."""
    workers = "auto" if parallel == 1 and threads > 1 else str(threads // 4)
    program = str(Path(__file__).with_name("_training.py"))
    return [sys.executable, program, str(folder), str(data), str(threads), workers]


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
    for process in processes:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _claim(job: Job, folder: Path) -> None:
    """Write down what the folder's job is; refuse a folder of another one."""
    path, text = folder / "job.json", as_json(job)
    if path.is_file() and path.read_text() != text:
        raise UserError(f"{folder}: holds another training (see {path.name}); choose another --out or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _last_words(folder: Path) -> str:
    lines = [line for line in (folder / "log.txt").read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _short(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 5)

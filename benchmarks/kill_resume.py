"""Does training survive kill -9 at any moment? Prints JSON.

    python benchmarks/kill_resume.py [--kills 20] [--seed 0] [--epochs 30]

A small detector is trained on generated sample data, with last.pt written after every step. The process is killed at
random moments: while it starts, trains, evaluates or writes. Every restart must go on (or start anew, when nothing had
been saved yet), and a run that reaches its end must be that of a run left alone, to the last bit; then another one is
begun, until all kills are spent.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from detector.checkpoint import load_checkpoint
from detector.data.sample import write_sample_data
from search_spaces.errors import UserError

STRUCTURE, SIZE, LONGEST_SECONDS = "Ns", 64, 600
SETTINGS = ("workers=0", "amp=off", "checkpoint_minutes=0", "eval.every_epochs=2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), options.kills, options.seed, options.epochs), indent=1))


def measure(folder: Path, kills: int, seed: int, epochs: int) -> dict[str, Any]:
    """The account of `kills` kills."""
    data, reference, out = folder / "data", folder / "reference", folder / "killed"
    write_sample_data(data, images_train=24, images_val=4, size=(SIZE, SIZE))
    started = time.monotonic()
    subprocess.run(command(reference, data, epochs), check=True, **quiet(), timeout=LONGEST_SECONDS)
    whole_seconds = time.monotonic() - started
    rng = random.Random(seed)
    moments: list[dict[str, Any]] = []
    failed, equal = [], []
    with tqdm(total=kills, desc="kills") as bar:
        while len(moments) < kills:
            process = subprocess.Popen(command(out, data, epochs), **quiet())
            code = wait(process, rng.uniform(0, whole_seconds))
            if code is None:
                process.kill()
                process.wait()
                moments.append(saved(out))
                bar.update()
            elif code:
                failed.append({**saved(out), "exit_code": code})
                shutil.rmtree(out)
            else:
                equal.append(same_run(reference, out))
                shutil.rmtree(out)
        code = subprocess.run(command(out, data, epochs), check=False, **quiet(), timeout=LONGEST_SECONDS).returncode
        failed += [{"exit_code": code}] if code else []
        equal.append(same_run(reference, out))
    return {
        "kills": len(moments),
        "before_the_first_save": sum(moment["epoch"] is None for moment in moments),
        "within_an_epoch": sum(bool(moment["batches"]) for moment in moments),
        "half_written_files_left": sum(moment["half_written"] for moment in moments),
        "failed_restarts": failed,
        "runs_completed": len(equal),
        "equal_to_the_uninterrupted_run": sum(equal),
        "seconds_of_a_whole_run": round(whole_seconds, 1),
        "moments": moments,
    }


def command(out: Path, data: Path, epochs: int) -> list[str]:
    """Go on where there is something to go on with; otherwise start."""
    arguments = ["--resume", str(out)]
    if not (out / "last.pt").is_file():
        arguments = [STRUCTURE, "--data", str(data), "--out", str(out), "--overwrite", "--preset", "small"]
        arguments += ["--image-size", str(SIZE), "--batch-size", "4", "--epochs", str(epochs), "--device", "cpu"]
        arguments += [word for setting in SETTINGS for word in ("--set", setting)]
    return [sys.executable, "-m", "tinynas", "train", *arguments]


def quiet() -> dict[str, Any]:
    """Options of a subprocess: one thread, nothing shown."""
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}


def wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit code, None when the process is still at work after so many seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def saved(out: Path) -> dict[str, Any]:
    """What a killed process left: the epochs and batches in last.pt, and the number of half-written files."""
    half_written = sum(path.name.startswith(".") for path in out.iterdir()) if out.is_dir() else 0
    if not (out / "last.pt").is_file():
        return {"epoch": None, "batches": 0, "half_written": half_written}
    training = load_checkpoint(out / "last.pt").training
    return {
        "epoch": training["epoch"],
        "batches": training["ranks"][0]["part"]["batches"],
        "half_written": half_written,
    }


def same_run(a: Path, b: Path) -> bool:
    """Whether two finished runs have the same last and best weights and averages, to the last bit."""
    try:
        pairs = [(load_checkpoint(a / name), load_checkpoint(b / name)) for name in ("last.pt", "best.pt")]
    except UserError:
        return False
    return all(
        torch.equal(value, y.weights[key]) and torch.equal(x.best_weights[key], y.best_weights[key])
        for x, y in pairs
        for key, value in x.weights.items()
    )


if __name__ == "__main__":
    main()

"""What a teacher gains a student: the same training alone and with each distiller (report, table 8 and figure 4).

    python benchmarks/distillation.py DATA --student s/structure.txt --teacher best.pt --out runs/distillation \\
        [--arms alone cwd mimic mgd] [--seeds 3] [--epochs 40] [--size 320]

DATA has splits train and val; the teacher is a checkpoint that knows its classes. An arm is `alone`, or a distiller's name,
with @ and another weight where wanted (`cwd@2`). AP on `val` is that of the last epoch; AP on `test`, where the data has
one, of the evaluation that was best on `val`. With --steps N nothing is trained: N steps of the student alone, of the
teacher's forward pass and of the distilled student are timed in turn. Every run can be stopped; called again, the program
goes on where it was. Prints JSON, also written to distillation.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from _trainings import Job, add_options, every_epochs, finish, run_jobs, run_program, summary

from detector.checkpoint import load_checkpoint
from detector.distillers import names
from detector.teachers import teacher_size
from detector.training.machine.processes import autocast_type
from detector.training.settings.config import build_config
from detector.training.start import load_splits, new_run
from search_spaces.errors import UserError, nearest
from search_spaces.saying import silent
from search_spaces.text import format_structure, resolve_structure

BASELINE = "alone"
BATCH = 8
WARM_STEPS = 2


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    teacher = load_checkpoint(options.teacher)
    told: dict[str, Any] = {
        "data": str(options.data), "image_size": options.size, "settings": options.set,
        "student": format_structure(resolve_structure(options.student)),
        "teacher": {"structure": format_structure(teacher.structure), "ap": teacher.metrics.get("ap")},
    }  # fmt: skip
    if options.steps:
        print(json.dumps({**told, "seconds": step_times(options)}, indent=1))
        return
    runs, failed = run_jobs(jobs(options), options.data, options.out, options.jobs)
    finish({**told, "runs": runs, "arms": summary(runs, BASELINE), "failed": failed}, options.out / "distillation.json")


def jobs(options: argparse.Namespace) -> list[Job]:
    """All trainings of the student, those of the first seed first."""
    student, every = resolve_structure(options.student), every_epochs(options.epochs)
    return [
        Job(
            f"{arm}-seed{seed}", arm, student, options.epochs, seed, options.size,
            overrides=(*options.set, *overrides(arm, options.teacher)), every_epochs=every,
        )
        for seed in range(options.seeds)
        for arm in options.arms
    ]  # fmt: skip


def overrides(arm: str, teacher: Path) -> tuple[str, ...]:
    """The settings that an arm adds. Raises UserError for an arm that is none."""
    if arm == BASELINE:
        return ()
    name, at, weight = arm.partition("@")
    if name not in names() or (at and not weight.replace(".", "", 1).isdigit()):
        raise UserError(
            f"--arms {arm}: expected {BASELINE}, or a distiller with @WEIGHT or without; {nearest(name, names())}"
        )
    plain = (f"distill.teacher={json.dumps(str(teacher.resolve()))}", f"distill.distiller={name}")
    return (*plain, f"distill.weight={weight}") if at else plain


def step_times(options: argparse.Namespace) -> dict[str, float]:
    """Medians over `options.steps` steps of a batch, seconds: the student's alone, the teacher's forward pass, both in
    one, and the last over the sum of the first two."""
    splits = load_splits(options.data, silent)
    runs = {}
    for arm in (BASELINE, options.arms[-1]):
        job = Job(arm, arm, resolve_structure(options.student), 100, 0, options.size, overrides=tuple(options.set))
        config = build_config(
            job.config(0).model_dump(), None, [*overrides(arm, options.teacher), f"batch_size={BATCH}"]
        )
        runs[arm] = new_run(job.structure, splits, config, options.out / "steps", silent)
        runs[arm].stepper.module.train()
    alone, both = runs.values()
    batch = next(iter(alone.train_loader))
    features = both.stepper.terms["distill"].features
    images = batch.images.float().contiguous(memory_format=torch.channels_last)
    dtype = autocast_type(both.config.amp, images.device)
    times: dict[str, list[float]] = {"student": [], "teacher": [], "distilled": []}
    for _ in range(WARM_STEPS + options.steps):
        for name in times:  # in turn: another job on the machine slows all alike
            started = time.perf_counter()
            if name == "teacher":
                with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                    size = teacher_size(tuple(images.shape[-2:]), (options.size,) * 2, features.teacher.image_size)
                    features.teacher.maps(images, size)
            else:
                (alone if name == "student" else both).stepper.run(batch)
            times[name].append(time.perf_counter() - started)
    found = {name: round(statistics.median(values[WARM_STEPS:]), 5) for name, values in times.items()}
    return {**found, "over_the_sum": round(found["distilled"] / (found["student"] + found["teacher"]), 4)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "runs/distillation", epochs=40)
    parser.add_argument("--student", required=True, help="structure file")
    parser.add_argument("--teacher", type=Path, required=True, help="checkpoint of the teacher")
    parser.add_argument("--arms", nargs="+", default=[BASELINE, "cwd", "mimic", "mgd"])
    parser.add_argument("--steps", type=int, default=0, help="only time so many steps")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)

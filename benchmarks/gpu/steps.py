"""The steps of a GPU check: what runs, and how long it may."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "benchmarks" / "gpu"
ABOUT = {
    "machine": "the card, and the copies and products that it does per second",
    "tests": "losses, assigners, steps, resuming, export: against the CPU",
    "pipeline": "images that the loader makes per second, on all cores",
    "speed": "training: images per second, waiting, memory, against the plain network",
    "latency": "a latency table of this card, checked on whole detectors",
    "learning": "a training that must learn; and three epochs beside the CPU's",
    "families": "T, S and a searched network of T's latency, trained alike",
}
NAMES = tuple(ABOUT)
SHORT = {"machine": 20, "tests": 85, "pipeline": 20, "speed": 105, "latency": 195, "learning": 115}
LONG = {"machine": 20, "tests": 160, "pipeline": 30, "speed": 300, "latency": 330, "learning": 150, "families": 810}
"""Seconds of the steps in 9 and in 30 minutes; other lengths in proportion."""
QUICK_SECONDS = 400.0
LONG_MINUTES = 30.0


@dataclass(frozen=True, slots=True)
class Task:
    """One check. `data`: a folder with signs/ and pcb/, or None; `quick`: everything in small."""

    out: Path
    device: str
    quick: bool
    data: Path | None
    minutes: float


@dataclass(frozen=True, slots=True)
class Step:
    """`command` writes `result` (JSON), perhaps again and again as it goes on."""

    name: str
    about: str
    command: list[str]
    limit_s: float
    result: Path


def limits(minutes: float, *, quick: bool) -> dict[str, float]:
    """Seconds for each step that fits into so many minutes."""
    if quick:
        return dict.fromkeys(NAMES, QUICK_SECONDS)
    shares = LONG if minutes >= LONG_MINUTES else SHORT
    return {name: 60.0 * minutes * seconds / sum(shares.values()) for name, seconds in shares.items()}


def plan(task: Task) -> list[Step]:
    """All steps that there is time for, in order."""
    return [_step(name, seconds, task) for name, seconds in limits(task.minutes, quick=task.quick).items()]


def _step(name: str, seconds: float, task: Task) -> Step:
    result = task.out / "work" / name / "result.json"
    command = [sys.executable, str(HERE / f"{name}_step.py"), "--out", str(task.out), "--result", str(result)]
    command += ["--device", task.device, "--seconds", str(round(seconds - 10.0, 1))]
    if task.quick:
        command.append("--quick")
    if task.data is not None:
        command += ["--data", str(task.data)]
    return Step(name, ABOUT[name], command, seconds, result)

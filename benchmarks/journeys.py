"""Which rooms of the code does a command go through? Prints JSON.

    python benchmarks/journeys.py WORK [--source CHECKOUT]

Three journeys, each in a process of its own, in the folder WORK: a budget to structure.txt, a training to best.pt, best.pt to
an export and a prediction. A room is a folder of the packages, or a module that lies beside such folders. `rooms` lists them
in the order in which a function of theirs is first called; what runs while a module is imported does not count. `returns` are
the pairs of rooms that call each other: the first entered the second, and the second called it back later. `calls` are the
pairs of rooms of which one calls the other. `--source` takes another checkout: how it was before a change.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGES = ("search_spaces", "latency_tables", "detector", "tinynas")
JOURNEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "budget to structure.txt": (
        ("search", "--budget", "3.8ms", "--device", "t4", "--evaluations", "50000", "--out", "search", "--overwrite"),
    ),
    "train to best.pt": (
        (
            "train",
            "Ns",
            "--data",
            "data",
            "--epochs",
            "1",
            "--image-size",
            "64",
            "--out",
            "run",
            "--overwrite",
            "--device",
            "cpu",
        ),
    ),
    "best.pt to export to predict": (
        ("export", "run/best.pt", "--format", "onnx", "-o", "best.onnx", "--overwrite"),
        ("predict", "best.onnx", "data/images/val", "--out", "predictions", "--overwrite"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--journey", choices=JOURNEYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    source = options.source.resolve()
    if options.journey:
        print(json.dumps(walked(JOURNEYS[options.journey], source, options.work)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(source)}
    if not (options.work / "data").is_dir():
        made = [sys.executable, "-m", "tinynas", "sample-data", "data"]
        subprocess.run(made, cwd=options.work, env=environment, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = {}
    for name in JOURNEYS:
        command = [sys.executable, __file__, ".", "--source", str(source), "--journey", name]
        told = subprocess.run(command, cwd=options.work, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        found[name] = json.loads(told.stdout.splitlines()[-1])
    print(json.dumps(found, indent=1))


def walked(commands: Sequence[Sequence[str]], source: Path, work: Path) -> dict[str, Any]:
    """Rooms, calls between them and returns of some commands that run one after the other in this process."""
    from tinynas.cli import main as tinynas

    os.chdir(work)
    trail = Trail(source)
    threading.setprofile(trail.note)
    sys.setprofile(trail.note)
    try:
        with open(os.devnull, "w") as nowhere:
            kept, sys.stdout = sys.stdout, nowhere
            codes = [tinynas(list(words)) for words in commands]
            sys.stdout = kept
    finally:
        sys.setprofile(None)
    if any(codes):
        raise SystemExit(f"exit codes {codes}")
    returns = sorted(f"{second} -> {first}" for first, second in trail.calls if trail.comes_back(first, second))
    return {
        "rooms": trail.rooms, "count": len(trail.rooms), "calls": len(trail.calls), "returns": returns,
        "modules": len(trail.modules),
    }  # fmt: skip


class Trail:
    """Which rooms were entered, in order, and from where each was called."""

    def __init__(self, source: Path) -> None:
        self.root = f"{source}{os.sep}"
        self.rooms: list[str] = []
        self.calls: dict[tuple[str, str], int] = {}
        self.modules: set[str] = set()
        self._known: dict[str, str | None] = {}
        self._importing = 0

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        if frame.f_code.co_name == "<module>":
            self._importing += (event == "call") - (event == "return")
            return
        if event != "call" or self._importing > 0:
            return
        room = self._room(frame.f_code.co_filename)
        if room is None:
            return
        self.modules.add(frame.f_code.co_filename)
        if room not in self.rooms:
            self.rooms.append(room)
        caller = frame.f_back
        while caller is not None and (before := self._room(caller.f_code.co_filename)) is None:
            caller = caller.f_back
        if caller is not None and before != room:
            self.calls.setdefault((before, room), len(self.calls))

    def comes_back(self, first: str, second: str) -> bool:
        """Whether `second`, which `first` had called, called `first` later."""
        back = self.calls.get((second, first))
        return back is not None and back > self.calls[first, second]

    def _room(self, file: str) -> str | None:
        if file not in self._known:
            inside = file.removeprefix(self.root) if file.startswith(self.root) else ""
            parts = inside.removesuffix(".py").split(os.sep)
            known = parts[0] in PACKAGES and len(parts) > 1
            self._known[file] = "/".join(parts[:-1] if len(parts) > 2 else parts) if known else None
        return self._known[file]


if __name__ == "__main__":
    main()

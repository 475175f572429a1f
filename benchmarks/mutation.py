"""Do the tests notice when the code is wrong? Makes small changes to it, one at a time, and runs its tests. Prints JSON.

    python benchmarks/mutation.py [ROOM ...] [--sample 60] [--seed 0] [--log mutation.jsonl] [--list]

A change (mutant) is one operator, number, boolean or opposite function (`min` for `max`) exchanged, or one statement left
out, in one of the rooms below. No file is changed. A mutant is `killed` when a test fails or its tests need far more
processor time than without it; `survived` when all of them pass. Those of `mutation_reasons.json` (by file and line of
code) are not counted: they change nothing that can be seen, for the reason given there.

Every result is a line of the log: a run that was stopped goes on from there, and a mutant is run again once its file, or a
test file of its room, has changed. By hand, not in CI: about 3 to 20 seconds a mutant, one process.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _mutants import Mutant, install, mutants_of
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
REASONS = Path(__file__).with_name("mutation_reasons.json")
PRELOADED = (
    "numpy",
    "cv2",
    "torch",
    "hypothesis",
    "pydantic",
    "yaml",
    "PIL.Image",
    "pytest",
    "_pytest.assertion.rewrite",
)
"""Imported once; every run of tests is a fork of this process."""
TIMES, SPARE_SECONDS = 4, 20
"""A mutant may use so many times the processor time of its tests, and so much more."""
T = "tests/detector"
ROOMS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "losses": (
        ("detector/losses/*.py", "detector/criterion.py", "detector/boxes.py", "detector/priors.py"),
        (f"{T}/test_boxes_and_priors.py", "tests/contracts/test_losses.py", f"{T}/test_label_mask.py",
         f"{T}/test_criterion.py"),
    ),
    "assigners": (
        ("detector/assigners/*.py",),
        (f"{T}/assigners", f"{T}/test_align_ota.py", "tests/contracts/test_assigners.py", f"{T}/test_criterion.py"),
    ),
    "augmentation": (
        ("detector/data/augment.py", "detector/data/mosaic.py", "detector/data/geometry.py", "detector/data/sada/*.py"),
        tuple(f"{T}/data/test_{name}.py" for name in ("augment", "sada", "mirror", "mosaic", "regions")),
    ),
    "optimiser": (
        ("detector/training/optimizer/*.py", "detector/training/epoch.py"),
        (*(f"{T}/training/test_{name}.py" for name in
           ("schedule_ema_optimizer", "step", "terms", "finetune", "multi_scale")), f"{T}/data/test_augment.py"),
    ),
    "step": (
        ("detector/training/step/*.py",),
        tuple(f"{T}/training/test_{name}.py" for name in ("step", "terms", "multi_scale", "quantised", "processes")),
    ),
    "nms": (("detector/postprocess.py", "detector/suppression.py"), (f"{T}/test_postprocess.py",)),
    "pricing": (
        ("tinynas/pricing/*.py",),
        ("tests/tinynas/pricing", "tests/tinynas/genes", "tests/tinynas/evolution/test_islands.py"),
    ),
    "genes": (("tinynas/genes/*.py",), ("tests/tinynas/genes", "tests/tinynas/evolution/test_islands.py")),
    "solver": (("tinynas/exact/*.py",), ("tests/tinynas/exact",)),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """state: killed, survived or timeout (which is killed too). test: the first that failed. seconds: processor time."""

    room: str
    file: str
    line: int
    code: str
    before: str
    after: str
    state: str
    test: str
    seconds: float
    key: str


def all_mutants(rooms: Sequence[str]) -> Iterator[tuple[str, str, Mutant, str]]:
    """(room, file, mutant, key) of every mutant; the key changes with the file and with the room's tests."""
    for room in rooms:
        sources, tests = ROOMS[room]
        told = hashlib.md5()
        for test in tests:
            for path in sorted((ROOT / test).rglob("*.py")) if (ROOT / test).is_dir() else [ROOT / test]:
                told.update(path.read_bytes())
        for path in sorted(path for pattern in sources for path in ROOT.glob(pattern)):
            source = path.read_text(encoding="utf-8")
            file = path.relative_to(ROOT).as_posix()
            base = hashlib.md5(told.digest() + source.encode()).hexdigest()[:12]
            for mutant in mutants_of(source):
                yield room, file, mutant, f"{file}:{mutant.number}:{base}"


def run_tests(
    tests: Sequence[str], file: str = "", mutant: Mutant | None = None, limit: float = 0
) -> tuple[int, str, float]:
    """(exit status of pytest, first failed test, processor seconds) of a run in a child process; -1: out of time."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "failed"
        started = resource.getrusage(resource.RUSAGE_CHILDREN)
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            _child(tests, file, mutant, limit, Path(folder), report)
        try:
            _, status = os.waitpid(child, 0)
        except BaseException:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime
        failed = report.read_text() if report.is_file() else ""
    return (-1 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), failed, seconds


def _child(tests: Sequence[str], file: str, mutant: Mutant | None, limit: float, folder: Path, report: Path) -> None:
    """Run the tests and leave the process."""
    import pytest

    class Told:
        def pytest_runtest_logreport(self, report: Any, place: Path = report) -> None:
            if report.failed and not place.is_file():
                place.write_text(report.nodeid)

    if limit:
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 2))
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    status = 3
    try:
        if mutant is not None:
            module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            install(module, ROOT / file, mutant.number)
        arguments = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", f"--basetemp={folder / 'tmp'}"]
        status = int(pytest.main([*arguments, *tests], plugins=[Told()]))
    finally:
        os._exit(status)


def read_log(path: Path) -> dict[str, Result]:
    """Results by key; a last line that was cut short is left out."""
    found = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            result = Result(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[result.key] = result
    return found


def summary(results: Sequence[Result], reasons: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Counts by room, and the survivors; `excused` ones with their reason."""
    rooms, survivors, excused = dict[str, dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    for room in dict.fromkeys(result.room for result in results):
        own = [result for result in results if result.room == room]
        alive = [result for result in own if result.state == "survived"]
        known = [result for result in alive if result.code in reasons.get(result.file, {})]
        counted = len(own) - len(known)
        killed = len(own) - len(alive)
        share = round(100 * killed / counted, 1) if counted else None
        rooms[room] = {"mutants": len(own), "killed": killed, "excused": len(known), "killed_percent": share}
        for result in alive:
            shown = {name: getattr(result, name) for name in ("file", "line", "code", "before", "after")}
            if result in known:
                excused.append({**shown, "reason": reasons[result.file][result.code]})
            else:
                survivors.append(shown)
    return {"rooms": rooms, "survivors": survivors, "excused": excused}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", help=f"default: all of {', '.join(ROOMS)}")
    parser.add_argument("--sample", type=int, help="mutants of each room, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("mutation.jsonl"))
    parser.add_argument("--list", action="store_true", help="print the numbers of mutants and run nothing")
    options = parser.parse_args()
    rooms = options.rooms or list(ROOMS)
    if unknown := [room for room in rooms if room not in ROOMS]:
        parser.error(f"no room {unknown[0]}; known: {', '.join(ROOMS)}")
    chosen = []
    for room in rooms:
        own = list(all_mutants([room]))
        if options.sample is not None and options.sample < len(own):
            own = sorted(
                random.Random(options.seed).sample(own, options.sample), key=lambda one: (one[1], one[2].number)
            )
        chosen += own
    if options.list:
        print(json.dumps({room: sum(one[0] == room for one in chosen) for room in rooms}, indent=1))
        return
    done, reasons = read_log(options.log), json.loads(REASONS.read_text())
    for name in PRELOADED:
        importlib.import_module(name)
    limits: dict[str, float] = {}
    with tqdm(chosen, "mutants") as bar, options.log.open("a") as log:
        for room, file, mutant, key in bar:
            if key in done:
                continue
            if room not in limits:
                limits[room] = _limit(room)
            done[key] = result = _result(room, file, mutant, key, limits[room])
            log.write(json.dumps(asdict(result)) + "\n")
            log.flush()
            if result.state == "survived":
                bar.write(f"survived: {file}:{mutant.line}: {mutant.before}  ->  {mutant.after}", file=sys.stderr)
    print(json.dumps(summary([done[key] for *_, key in chosen], reasons), indent=1))


def _limit(room: str) -> float:
    """Processor seconds for a mutant of the room. Ends the program when its tests fail as they are."""
    status, failed, seconds = run_tests(ROOMS[room][1])
    if status != 0:
        sys.exit(f"{room}: its tests fail without a mutant (exit status {status}, {failed or 'no test named'})")
    return TIMES * seconds + SPARE_SECONDS


def _result(room: str, file: str, mutant: Mutant, key: str, limit: float) -> Result:
    status, failed, seconds = run_tests(ROOMS[room][1], file, mutant, limit)
    code = (ROOT / file).read_text(encoding="utf-8").splitlines()[mutant.line - 1].strip()
    state = {0: "survived", -1: "timeout"}.get(status, "killed")
    return Result(
        room=room, file=file, line=mutant.line, code=code, before=mutant.before, after=mutant.after, state=state,
        test=failed, seconds=round(seconds, 2), key=key,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""Everything that needs a GPU, in one run: `bash scripts/gpu_check.sh` (see docs/gpu.md).

    python benchmarks/gpu/check.py [OUT] [--minutes 9] [--device cuda] [--quick] [--data DIR] [--steps tests,speed]

Each step is a process with a time limit of its own; one that fails or runs out of time does not stop the next. OUT gets
gpu.json (all results so far, after every step), the latency table, pictures, log/STEP.txt, and work/, which may be deleted.
Exit code 0 when every step ended well, 1 when one did not, 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from steps import NAMES, Step, Task, plan

from search_spaces.errors import UserError, nearest
from search_spaces.files import check_folder, write_text

GRACE_SECONDS = 5.0
"""Between the request to end (Ctrl-C) and the kill, within a step's limit."""
LOG_LINES = 15


def run_step(step: Step, out: Path, started: float) -> dict[str, Any]:
    """Run a step's commands, one after the other, within its limit; what became of it, without its results."""
    log = out / "log" / f"{step.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    begun, status = time.monotonic(), "ok"
    print(f"[{clock(begun - started)}] {step.name}: {step.about} (at most {step.limit_s:.0f} s)", flush=True)
    with log.open("w") as file:
        code = run_limited(step.command, step.limit_s, file)
    if code is None:
        status = "ran out of time"
    elif code != 0:
        status = f"failed (exit code {code})"
    found = {"status": status, "seconds": round(time.monotonic() - begun, 1), "log": str(log.relative_to(out))}
    if status != "ok":
        found["last_lines"] = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    print(f"[{clock(time.monotonic() - started)}] {step.name}: {status}", flush=True)
    return found


def run_limited(command: list[str], limit_s: float, log: Any) -> int | None:
    """The exit code, None when the limit was reached: then the process and all it started are ended."""
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        return process.wait(max(limit_s - GRACE_SECONDS, 0.1))
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process's whole group, politely first: loader processes outlive a parent that was killed."""
    for sign, patience in ((signal.SIGINT, GRACE_SECONDS), (signal.SIGKILL, 1.0)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            process.poll()
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)


def results_of(step: Step) -> Any:
    """What the step has written so far, None if nothing."""
    try:
        return json.loads(step.result.read_text())
    except (OSError, ValueError):
        return None


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def parse_steps(text: str | None) -> list[str]:
    """Raises UserError for a step that is none."""
    chosen = list(NAMES) if text is None else [word.strip() for word in text.split(",")]
    for name in chosen:
        if name not in NAMES:
            raise UserError(f"--steps: no step {name!r}; {nearest(name, NAMES)}")
    return chosen


def check_device(device: str) -> None:
    """Raises UserError for a device that torch does not find, and for a torch that is too old."""
    try:
        import torch
    except ImportError:
        raise UserError(f"{sys.executable} has no torch; set PYTHON to the Python that has it") from None
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < (2, 6):
        raise UserError(f"torch {torch.__version__} is here; expected 2.6 or newer")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch finds no CUDA device; on a CPU rehearse with --device cpu --quick")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/gpu"))
    parser.add_argument("--minutes", type=float, default=9.0, help="for all steps; from 30 on with `families`")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="everything in small: a rehearsal")
    parser.add_argument(
        "--data", type=Path, help="folder with signs/ and pcb/; default: TINYNAS_TEST_DATA, else made up"
    )
    parser.add_argument("--steps", help=f"some of {','.join(NAMES)}")
    options = parser.parse_args()
    try:
        chosen = parse_steps(options.steps)
        if options.minutes <= 0:
            raise UserError(f"--minutes {options.minutes:g}: expected more than none")
        check_device(options.device)
        check_folder(options.out)
        if (options.out / "gpu.json").exists():
            raise UserError(f"{options.out}: holds the results of an earlier check; name another folder or remove it")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    data = options.data or (Path(os.environ["TINYNAS_TEST_DATA"]) if "TINYNAS_TEST_DATA" in os.environ else None)
    out = options.out.resolve()
    task = Task(out, options.device, options.quick, None if data is None else data.resolve(), options.minutes)
    return check([step for step in plan(task) if step.name in chosen], task)


def check(steps: list[Step], task: Task) -> int:
    """Run the steps in turn; gpu.json is written anew after each."""
    started = time.monotonic()
    report: dict[str, Any] = {"date": date.today().isoformat(), "device": task.device, "quick": task.quick, "steps": {}}
    for step in steps:
        step.result.parent.mkdir(parents=True, exist_ok=True)
        interrupted = False
        try:
            found = run_step(step, task.out, started)
        except KeyboardInterrupt:
            found, interrupted = {"status": "interrupted"}, True
        report["steps"][step.name] = {**found, "result": results_of(step)}
        report["seconds"] = round(time.monotonic() - started, 1)
        write_text(task.out / "gpu.json", json.dumps(report, indent=1))
        if interrupted:
            return 130
    failed = [name for name, found in report["steps"].items() if found["status"] != "ok"]
    print(
        f"wrote {task.out / 'gpu.json'} in {report['seconds']:.0f} s"
        + (f"; not ok: {', '.join(failed)}" if failed else "")
    )
    print(json.dumps(report, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

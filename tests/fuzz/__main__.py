"""`python -m tests.fuzz --inputs 2000 [--target coco]`: the long run, in processes of their own, so that crashes are told."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from multiprocessing.connection import Connection

from tests.fuzz.run import Fault, faults
from tests.fuzz.targets import TARGETS

_PART = 100


def main() -> int:
    """0: nothing happened that must not; 1: something did."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000, help="per target")
    parser.add_argument("--first", type=int, default=0, help="number of the first input, which is its seed")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="default: all")
    options = parser.parse_args()
    failed = 0
    for name in options.target or TARGETS:
        started, found = time.monotonic(), []
        for first in range(options.first, options.first + options.inputs, _PART):
            found += _apart(name, first, min(first + _PART, options.first + options.inputs))
        print(f"{name}: {options.inputs} inputs, {len(found)} faults, {time.monotonic() - started:.0f} s", flush=True)
        for fault in found[:5]:
            print(f"  input {fault.number}: {fault.what}", flush=True)
        failed += len(found)
    return 1 if failed else 0


def _apart(name: str, first: int, last: int) -> list[Fault]:
    """The faults of some inputs, found in another process; its death is one."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_report, args=(name, first, last, there))
    process.start()
    there.close()
    found, at = [], first
    try:
        while True:
            message = here.recv()
            if isinstance(message, Fault):
                found.append(message)
            else:
                at = message
    except EOFError:
        pass
    process.join()
    if process.exitcode:
        found.append(Fault(name, at, f"the process died with exit code {process.exitcode} at or after this input"))
        if at + 1 < last:
            found += _apart(name, at + 1, last)
    return found


def _report(name: str, first: int, last: int, pipe: Connection) -> None:
    for fault in faults(name, first, last, pipe.send):
        pipe.send(fault)
    pipe.close()


if __name__ == "__main__":
    raise SystemExit(main())

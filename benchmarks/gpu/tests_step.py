"""The tests that are marked `cuda`, on the card; in a rehearsal on the CPU, which is then compared with itself."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from _call import Call, parse
from steps import ROOT


def outcome(report: Path) -> dict[str, Any]:
    """Counts, the failures with their messages, and the skipped tests with their reasons, from pytest's XML."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    found: dict[str, Any] = {"tests": len(cases), "seconds": {}, "failed": {}, "skipped": {}}
    for case in cases:
        name = f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}"
        found["seconds"][name] = round(float(case.get("time", 0)), 1)
        for kind, into in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
            element = case.find(kind)
            if element is not None:
                found[into][name] = element.get("message", "")[:600]
    slowest = sorted(found["seconds"].items(), key=lambda item: -item[1])[:5]
    return {**found, "passed": len(cases) - len(found["failed"]) - len(found["skipped"]), "seconds": dict(slowest)}


def main(call: Call) -> int:
    report = call.work / "pytest.xml"
    marked = "cuda and not slow" if call.quick else "cuda"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        marked,
        "tests/cuda",
        f"--junitxml={report}",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "TINYNAS_CUDA_TESTS": call.device}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    call.keep(outcome(report))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(parse(__doc__)))

"""Results of benchmarks: printed, and kept in files that figures in the pages are checked against (tests/test_figures.py)."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latency_tables.on_device.host import host_processor
from search_spaces.files import write_text

PACKAGES = ("numpy", "torch", "openvino", "onnxruntime")
"""Whose versions stand in a record, where they are imported."""


def add_record_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="keep the results there too (docs/results/NAME.json)")


def record(found: Mapping[str, Any], out: Path | None) -> None:
    """Print results as JSON; with `out` write them there, with the command, the machine, the versions and the date."""
    print(json.dumps(found, indent=1))
    if out is None:
        return
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python {Path(sys.argv[0]).as_posix()} {' '.join(_without_out(sys.argv[1:]))}".strip(),
        "host": host_processor(),
        "software": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES if name in sys.modules},
        },
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps({**about, **found}, indent=1) + "\n")


def _without_out(arguments: list[str]) -> list[str]:
    """Where the results went is no part of how they are made."""
    if "--out" not in arguments:
        return arguments
    place = arguments.index("--out")
    return arguments[:place] + arguments[place + 2 :]

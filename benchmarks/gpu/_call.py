"""How a step is called, and where its results go."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.files import write_text


@dataclass(slots=True)
class Call:
    """One step's call. `out`: the check's folder; `work`: the step's own; `data`: a folder of data sets, or None."""

    out: Path
    result: Path
    device: str
    seconds: float
    quick: bool
    data: Path | None
    started: float = field(default_factory=time.monotonic)

    @property
    def work(self) -> Path:
        return self.result.parent

    @property
    def left_s(self) -> float:
        """Seconds that are left of the step's time."""
        return self.seconds - (time.monotonic() - self.started)

    def keep(self, found: dict[str, Any]) -> None:
        """Write what is known so far: it counts also when the step is ended later."""
        write_text(self.result, json.dumps(found, indent=1))


def parse(about: str) -> Call:
    """The call on the command line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    options.result.parent.mkdir(parents=True, exist_ok=True)
    return Call(**vars(options))


def tinynas(*arguments: object, capture: bool = False) -> str:
    """Run a command of the command line in a process of its own; its standard output with `capture`, else "".

    Raises CalledProcessError when it fails.
    """
    words = [sys.executable, "-m", "tinynas", *map(str, arguments)]
    print("+ tinynas", *map(str, arguments), flush=True)
    done = subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE if capture else None)
    return done.stdout or ""

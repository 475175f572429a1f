"""Images per second that one core makes, and that a loader with a process per core hands over; see input_pipeline.py."""

from __future__ import annotations

import json
import subprocess
import sys

from _call import Call, parse
from _sets_here import data_set
from steps import ROOT

from search_spaces.cores import available_cores


def main(call: Call) -> None:
    folder, told = data_set(call, "pcb")
    size, images, batch, seconds = (64, 12, 4, 0.1) if call.quick else (640, 200, 64, max(0.5, call.seconds / 14))
    words = [sys.executable, str(ROOT / "benchmarks" / "input_pipeline.py"), str(folder), "--size", str(size)]
    words += [
        "--images",
        str(images),
        "--batch",
        str(batch),
        "--seconds",
        f"{seconds:.2f}",
        "--workers",
        str(min(available_cores(), 32)),
    ]
    done = subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE)
    call.keep({**json.loads(done.stdout), "data": told})


if __name__ == "__main__":
    main(parse(__doc__))

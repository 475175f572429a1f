"""What a model file takes of memory: loaded and run once, in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from search_spaces.errors import UserError
from tinynas.bench.contestants import Setting, contestant

KIB = 1024


def peak_memory_mb(path: Path, setting: Setting) -> float:
    """The peak of a process's memory in MB that loads the file and runs it, its runtime included.

    Raises UserError with what that process said when it fails.
    """
    wanted = json.dumps({"path": str(path), "setting": asdict(setting)})
    done = subprocess.run([sys.executable, "-m", __name__, wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"{path}: cannot be run in a process of its own: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
        )
    return float(done.stdout.split()[-1])


def _main(text: str) -> None:
    wanted = json.loads(text)
    setting = wanted["setting"] | {"image_size": tuple(wanted["setting"]["image_size"])}
    contestant(Path(wanted["path"]), Setting(**setting)).run()
    print(_peak_mb())


def _peak_mb() -> float:
    """Of this process. Linux counts what started it in `ru_maxrss`, too: a parent's memory would hide the model's."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if line is not None:
            return float(line.split()[1]) * KIB / 1e6
    # KiB on most systems, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIB) / 1e6


if __name__ == "__main__":
    _main(sys.argv[1])

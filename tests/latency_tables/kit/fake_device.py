"""A device on which a kernel takes as long as tests.latency_tables.fake_runtime says: what a kit's script finds there.

    python -m tests.latency_tables.kit.fake_device FOLDER [arguments of measure.py]

It appends a line per measured model to the file that FAKE_LOG names, kills its process before model number FAKE_DIES, and
raises KeyboardInterrupt before model number FAKE_STOPS. FAKE_SLOW: by how much every second model is slower.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from latency_tables.kernels import Kernel
from latency_tables.on_device import kit, timing
from search_spaces.emit import emit_detector
from search_spaces.text import parse_structure
from tests.latency_tables import fake_runtime

RUNS = count(1)


class Probe:
    def __init__(self, figures: Sequence[float]) -> None:
        self._figures, self._runs = figures, 0

    def run(self) -> None:
        self._runs += 1

    def figures_ms(self) -> Any:
        return np.tile(np.array(self._figures), (self._runs, 1))


def kernel_probe(path: str, kinds: Sequence[str], threads: int, precision: str) -> Probe:
    number = next(RUNS)
    if number == int(os.environ.get("FAKE_DIES", "0")):
        os.kill(os.getpid(), signal.SIGKILL)
    if number == int(os.environ.get("FAKE_STOPS", "0")):
        raise KeyboardInterrupt
    name = Path(path).name
    if name in os.environ.get("FAKE_FAILS", "").split(","):
        raise RuntimeError(f"{name} is too much for me\nand more")
    if "FAKE_LOG" in os.environ:
        with open(os.environ["FAKE_LOG"], "a") as file:
            file.write(f"{name}\n")
    (model,) = (item for item in described(path)["models"] if item["file"] == name)
    kernels = [Kernel.of_values(values) for values in model["kernels"]]
    assert [kernel.kind for kernel in kernels] == list(kinds)
    return Probe([fake_runtime.fake_ms(kernel) for kernel in kernels])


def network_probe(path: str, threads: int, precision: str) -> Probe:
    kit_json = described(path)
    (name,) = (item["name"] for item in kit_json["detectors"] if item["file"] == Path(path).name)
    graph = emit_detector(parse_structure(kit_json["header"]["detectors"][name]))
    return Probe(fake_runtime.network_ms([graph], threads=threads, precision=precision))


def described(path: str) -> Any:
    return json.loads((Path(path).parents[1] / "kit.json").read_text())


DEVICE = SimpleNamespace(
    ON_CPU=True, version=lambda: "0", device_name=lambda: "", reference=lambda model, threads, precision: lambda: None,
    kernel_probe=kernel_probe, network_probe=network_probe,
)  # fmt: skip


def measure(folder: Path, *arguments: str) -> int:
    """Run the kit in `folder`; a machine that is never calm costs no time here."""
    timing.PATIENCE_S = 0.0
    timing.EVICTING_BYTES = 8
    return kit.main(DEVICE, str(folder), ["--results", str(folder / "results.json"), *arguments])


if __name__ == "__main__":
    sys.exit(measure(Path(sys.argv[1]), *sys.argv[2:]))

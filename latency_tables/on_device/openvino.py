"""OpenVINO on a CPU: compiled with everything said that moves latency, and its counters per node."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from latency_tables.on_device.timing import NetworkProbe, process_clock

if TYPE_CHECKING:
    from latency_tables.on_device.timing import Figures, Probe

ON_CPU = True
HINTS = {"fp32": "f32", "bf16": "bf16"}
"""Precision -> OpenVINO's own word."""
RESOLUTION_MS = 1e-3  # the counters count whole microseconds: what reads 0 is taken as half of one


def version() -> str:
    """OpenVINO's version, `2026.4.0`."""
    import openvino

    return str(openvino.get_version()).split("-", 1)[0]


def device_name() -> str:
    """Nothing: the processor is the device."""
    return ""


def reference(model: Any, threads: int, precision: str) -> Any:
    """A model's run, to be called again and again."""
    return compile_model(model, threads=threads, precision=precision).create_infer_request().infer


def network_probe(model: Any, threads: int, precision: str) -> Probe:
    """A whole network under measurement."""
    return NetworkProbe(reference(model, threads, precision), process_clock(threads))


def kernel_probe(model: Any, kinds: Sequence[str], threads: int, precision: str) -> Probe:
    """A model that measures kernels of these kinds, its nodes `target0`, `target1`, ..."""
    return Counters(model, kinds, threads, precision)


def compile_model(model: Any, *, threads: int, precision: str = "fp32", counters: bool = False) -> Any:
    """Compile an openvino.Model, or the file at a path, for the CPU."""
    config: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERF_COUNT": counters,
    }
    return _core().compile_model(model, "CPU", config)


@lru_cache(maxsize=None)
def _core() -> Any:
    """One core for the process. Each core installs a signal stack of its own, and of several the last one leaves a freed
    one installed: the next Ctrl-C would crash, or write into memory that is something else's by then."""
    import openvino

    return openvino.Core()


class Counters:
    """A model and the time of each target in each run: its node, and for a stem the reorder of its input."""

    def __init__(self, model: Any, kinds: Sequence[str], threads: int, precision: str) -> None:
        compiled = compile_model(model, threads=threads, precision=precision, counters=True)
        self._request, self._kinds = compiled.create_infer_request(), kinds
        self._found: list[list[float]] = []

    def run(self) -> None:
        self._request.infer()
        found = [0.0] * len(self._kinds)
        for node in self._request.get_profiling_info():
            target = openvino_target(node.node_name, node.node_type, self._kinds[0])
            if target is not None:
                found[target] += 1000 * node.real_time.total_seconds()
        self._found.append(found)

    def figures_ms(self) -> Figures:
        return np.maximum(np.array(self._found, dtype=np.float64), RESOLUTION_MS / 2)


def openvino_target(name: str, node_type: str, first_kind: str) -> int | None:
    """Which kernel of a model a node belongs to, given the kind of the first; None for the surroundings."""
    if first_kind == "detect":
        return 0 if node_type not in ("Convolution", "Parameter", "Result") and "pre" not in name else None
    if name.startswith("target") and "_" not in name:
        return int(name[6:].split(".")[0])
    return 0 if first_kind == "stem" and name.endswith("_target0") else None

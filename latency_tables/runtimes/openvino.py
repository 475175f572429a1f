"""OpenVINO on a CPU: kernels and whole networks timed with explicit precision and threads.

A runtime plug-in has `version()`, `device_kind()`, `Gauge`, `batches(kernels)`, `measure(groups, ...)` and
`network_ms(graphs, ...)`. openvino is imported inside functions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from latency_tables.kernels import Kernel
from latency_tables.runtimes import _timing
from latency_tables.runtimes._models import batches, write_batch, write_network
from latency_tables.runtimes._openvino_models import OpenVINOWriter
from latency_tables.runtimes._timing import REPEATS, STATISTIC, WARM_UP
from search_spaces.graph import Graph

__all__ = ["METHOD", "PRECISIONS", "REPEATS", "STATISTIC", "WARM_UP", "Gauge", "batches", "compile_model",
           "device_kind", "measure", "network_ms", "request", "version"]  # fmt: skip

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
METHOD = (
    "per-node counters of small OpenVINO models, each kernel among convs as in a network; other memory read before each "
    "run, so that weights are cold; runs of several models interleaved, those while a reference conv ran slow or another "
    "process had the core left out"
)
RESOLUTION_MS = 1e-3  # the counters count whole microseconds: what reads 0 is taken as half of one


def device_kind() -> str:
    """`cpu`: the plug-in that is measured."""
    return "cpu"


def version() -> str:
    """OpenVINO's version, `2026.4.0`."""
    _timing.require("openvino")
    import openvino

    return str(openvino.get_version()).split("-", 1)[0]


def compile_model(model: Any, *, threads: int, precision: str = "fp32", counters: bool = False) -> Any:
    """Compile for the CPU with everything that moves latency said explicitly."""
    config: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERF_COUNT": counters,
    }
    return _core().compile_model(model, "CPU", config)


def request(model: Any, *, threads: int, precision: str = "fp32", counters: bool = False) -> Any:
    """An inference request whose input is a fixed random image: memory as it comes can be full of denormals, on which a
    stem was seen to take 30 times as long."""
    found = compile_model(model, threads=threads, precision=precision, counters=counters).create_infer_request()
    image = found.get_input_tensor().data
    image[:] = np.random.default_rng(0).random(image.shape, dtype=np.float32)
    return found


@cache
def _core() -> Any:
    """One core for the process. Each core installs a signal stack of its own, and of several the last one leaves a freed
    one installed: the next Ctrl-C would crash, or write into memory that is something else's by then."""
    import openvino

    return openvino.Core()


class Gauge(_timing.BaseGauge):
    """Runs a reference conv on OpenVINO."""

    def __init__(self, threads: int, precision: str = "fp32") -> None:
        _timing.require("openvino")
        _timing.choose_precision("openvino", precision, list(PRECISIONS))
        model = write_batch([_timing.REFERENCE], OpenVINOWriter())
        super().__init__(request(model, threads=threads, precision=precision).infer, one_core=threads == 1)


def measure(
    groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str = "fp32", gauge: Gauge | None = None,
    quick: bool = False,
) -> list[list[tuple[float, float]]]:  # fmt: skip
    """(latency in ms, relative spread) per kernel of each batch. `quick`: with fewer runs."""
    gauge = gauge or Gauge(threads, precision)
    probes = [_Counters(group, threads, precision) for group in groups]
    return _timing.kernels_ms(probes, gauge, quick=quick)


def network_ms(
    graphs: Sequence[Graph], *, threads: int, precision: str = "fp32", rounds: int = 12, runs: int = 3
) -> list[float]:
    """Latency of whole networks end to end."""
    gauge, clock = Gauge(threads, precision), _timing.process_clock(threads)
    requests = [request(write_network(g, OpenVINOWriter()), threads=threads, precision=precision) for g in graphs]
    probes = [_timing.NetworkProbe(item.infer, clock) for item in requests]
    return [figures[0][0] for figures in _timing.interleaved(probes, gauge, rounds=rounds, runs=runs)]


class _Counters:
    """A batch's model and the time of each target in each run: its node, and for a stem the reorder of its input."""

    def __init__(self, group: Sequence[Kernel], threads: int, precision: str) -> None:
        model = write_batch(group, OpenVINOWriter())
        self._request = request(model, threads=threads, precision=precision, counters=True)
        self._group = group
        self._found: list[list[float]] = []

    def run(self) -> None:
        self._request.infer()
        found = [0.0] * len(self._group)
        for node in self._request.get_profiling_info():
            target = self._target(node.node_name, node.node_type)
            if target is not None:
                found[target] += 1000 * node.real_time.total_seconds()
        self._found.append(found)

    def figures_ms(self) -> _timing.Figures:
        return np.maximum(np.array(self._found, dtype=np.float64), RESOLUTION_MS / 2)

    def _target(self, name: str, kind: str) -> int | None:
        if self._group[0].kind == "detect":
            return 0 if kind not in ("Convolution", "Parameter", "Result") and "pre" not in name else None
        if name.startswith("target") and "_" not in name:
            return int(name[6:].split(".")[0])
        return 0 if self._group[0].kind == "stem" and name.endswith("_target0") else None

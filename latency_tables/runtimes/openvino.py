"""OpenVINO on a CPU: kernels and whole networks timed with explicit precision and threads.

A runtime plug-in has `version()`, `measure(kernels, ...)` and `network_ms(graphs, ...)`. openvino is imported inside
functions only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latency_tables.kernels import Kernel
from latency_tables.runtimes._openvino_models import detect_model, kernels_model, network_model, stem_model
from search_spaces.graph import Graph

DEVICE_KIND = "cpu"
PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
METHOD = (
    "per-node counters of small OpenVINO models, each kernel between thin 1x1 convs; runs of several models interleaved, "
    "those while a reference conv ran slow left out"
)
STATISTIC = "mean of the faster half of the runs (disturbances only slow); spread = interquartile range / median"
WARM_UP = 2
REPEATS = 12
RUNS_PER_ROUND = 4
PATIENCE_S = 4.0
CALM = 1.08
RESOLUTION_MS = 1e-3  # the counters count whole microseconds: what reads 0 is taken as half of one


def version() -> str:
    """OpenVINO's version, `2026.4.0`."""
    import openvino

    return str(openvino.get_version()).split("-", 1)[0]


def compile_model(model: Any, *, threads: int, precision: str = "fp32", counters: bool = False) -> Any:
    """Compile for the CPU with everything that moves latency said explicitly."""
    import openvino

    config: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERF_COUNT": counters,
    }
    return openvino.Core().compile_model(model, "CPU", config)


def batches(kernels: Sequence[Kernel], size: int = 16) -> list[list[Kernel]]:
    """Kernels that share a model: the same input size; stems and decoding alone."""
    together: dict[tuple[int, int], list[Kernel]] = {}
    alone = []
    for kernel in kernels:
        if kernel.kind in ("stem", "space_to_depth", "detect"):
            alone.append([kernel])
        else:
            together.setdefault((kernel.height, kernel.width), []).append(kernel)
    return alone + [group[start : start + size] for group in together.values() for start in range(0, len(group), size)]


class Gauge:
    """Tells when the machine is disturbed: a fixed small conv takes longer than it has been seen to take.

    Virtual machines halve their speed for seconds at a time; what is measured then is measured again.
    """

    def __init__(self, threads: int, precision: str = "fp32") -> None:
        reference = Kernel("conv", 64, 64, 40, 40, 3, 1, "relu")
        self._request = compile_model(
            kernels_model([reference]), threads=threads, precision=precision
        ).create_infer_request()
        self._best_s = min(self._reference_s() for _ in range(200))

    def calm(self) -> bool:
        """Whether the reference runs within 8 % of its best time now."""
        now = min(self._reference_s() for _ in range(2))
        self._best_s = min(self._best_s, now)
        return now <= CALM * self._best_s

    def _reference_s(self) -> float:
        start = time.perf_counter()
        self._request.infer()
        return time.perf_counter() - start


def measure(
    groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str = "fp32", gauge: Gauge | None = None
) -> list[list[tuple[float, float]]]:
    """(latency in ms, relative spread) per kernel of each batch; runs of the batches are interleaved in rounds.

    The first run of each round, on caches that another model has filled, is not counted, nor are rounds that `gauge`
    finds disturbed (if PATIENCE_S brings no calm, all rounds count).
    """
    gauge = gauge or Gauge(threads, precision)
    requests = [_request(group, threads, precision) for group in groups]
    for request in requests:
        for _ in range(WARM_UP):
            request.infer()
    calm: list[list[list[float]]] = [[] for _ in groups]
    every: list[list[list[float]]] = [[] for _ in groups]
    deadline = time.monotonic() + PATIENCE_S
    while min(len(runs) for runs in calm) < REPEATS and (time.monotonic() < deadline or min(map(len, every)) < REPEATS):
        for request, group, good, seen in zip(requests, groups, calm, every):
            if len(good) >= REPEATS:
                continue
            before = gauge.calm()
            runs = []
            for _ in range(RUNS_PER_ROUND + 1):
                request.infer()
                runs.append(_targets_ms(request, group))
            seen.extend(runs[1:])
            if before and gauge.calm():
                good.extend(runs[1:])
    chosen = [good if len(good) >= RUNS_PER_ROUND else seen for good, seen in zip(calm, every)]
    return [[_statistic(values) for values in np.array(runs).T] for runs in chosen]


def network_ms(
    graphs: Sequence[Graph], *, threads: int, precision: str = "fp32", rounds: int = 12, runs: int = 3
) -> list[float]:
    """Latency of whole networks end to end: the faster half of runs in interleaved rounds, disturbed rounds aside.

    On one thread the process's own time counts, so that other processes on the core are not in it.
    """
    gauge = Gauge(threads, precision)
    clock = time.process_time if threads == 1 else time.perf_counter
    requests = [
        compile_model(network_model(g), threads=threads, precision=precision).create_infer_request() for g in graphs
    ]
    calm: list[list[float]] = [[] for _ in graphs]
    every: list[list[float]] = [[] for _ in graphs]
    for _ in range(rounds):
        for request, good, seen in zip(requests, calm, every):
            before = gauge.calm()
            request.infer()
            found = []
            for _ in range(runs):
                start = clock()
                request.infer()
                found.append(1000 * (clock() - start))
            seen.extend(found)
            if before and gauge.calm():
                good.extend(found)
    return [_statistic(np.array(good or seen))[0] for good, seen in zip(calm, every)]


def _request(group: Sequence[Kernel], threads: int, precision: str) -> Any:
    kind = group[0].kind
    if kind == "detect":
        model = detect_model(group[0])
    elif kind in ("stem", "space_to_depth"):
        model = stem_model(group[0])
    else:
        model = kernels_model(group)
    return compile_model(model, threads=threads, precision=precision, counters=True).create_infer_request()


def _targets_ms(request: Any, group: Sequence[Kernel]) -> list[float]:
    """Time of each target in the last run: its node, and for a stem the reorder of its input."""
    found = [0.0] * len(group)
    for node in request.get_profiling_info():
        ms = 1000 * node.real_time.total_seconds()
        name: str = node.node_name
        if group[0].kind == "detect":
            if node.node_type not in ("Convolution", "Parameter", "Result") and "pre" not in name:
                found[0] += ms
        elif name.startswith("target") and "_" not in name:
            found[int(name[6:].split(".")[0])] += ms
        elif group[0].kind == "stem" and name.endswith("_target0"):
            found[0] += ms
    return found


def _statistic(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    latency = max(float(values[values <= middle].mean()), RESOLUTION_MS / 2)
    return latency, float((high - low) / middle) if middle > 0 else 0.0

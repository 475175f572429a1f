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
METHOD = "per-node counters of small OpenVINO models, each kernel between thin 1x1 convs; runs of several models interleaved"
STATISTIC = "mean of the faster half of the runs (what disturbs a run only ever slows it); spread = interquartile range / median"
WARM_UP = 3
REPEATS = 16


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


def measure(
    groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str = "fp32", repeats: int = REPEATS
) -> list[list[tuple[float, float]]]:
    """(latency in ms, relative spread) per kernel of each batch; runs of the batches are interleaved in rounds.

    The first run of each round, on caches that another model has filled, is not counted.
    """
    requests = [_request(group, threads, precision) for group in groups]
    samples: list[list[list[float]]] = [[[] for _ in group] for group in groups]
    per_round = 4
    for round_number in range(-1, -(-repeats // per_round)):
        for request, group, found in zip(requests, groups, samples):
            for run in range(WARM_UP if round_number < 0 else per_round + 1):
                request.infer()
                if round_number >= 0 and run > 0:
                    for values, ms in zip(found, _targets_ms(request, group)):
                        values.append(ms)
    return [[_statistic(np.array(values)) for values in found] for found in samples]


def network_ms(
    graphs: Sequence[Graph], *, threads: int, precision: str = "fp32", rounds: int = 9, at_least_ms: float = 100.0
) -> list[float]:
    """Latency of whole networks end to end: the lower quartile of runs in interleaved rounds."""
    requests = [compile_model(network_model(g), threads=threads, precision=precision).create_infer_request() for g in graphs]
    times: list[list[float]] = [[] for _ in graphs]
    for round_number in range(-1, rounds):
        for request, found in zip(requests, times):
            request.infer()
            spent = 0.0
            while spent < at_least_ms / max(rounds, 1):
                start = time.perf_counter()
                request.infer()
                elapsed = 1000 * (time.perf_counter() - start)
                spent += elapsed
                if round_number >= 0:
                    found.append(elapsed)
    return [float(np.quantile(found, 0.25)) for found in times]


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
    return float(values[values <= middle].mean()), float((high - low) / middle) if middle > 0 else 0.0

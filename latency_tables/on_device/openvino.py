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
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Precision -> OpenVINO's own word: of int8 models, for what is left in floating point."""
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
    return request(model, threads=threads, precision=precision).infer


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


def request(model: Any, *, threads: int, precision: str = "fp32", counters: bool = False) -> Any:
    """An inference request whose input is a fixed random image: memory as it comes can be full of denormals, on which a
    stem was seen to take 30 times as long."""
    found = compile_model(model, threads=threads, precision=precision, counters=counters).create_infer_request()
    image = found.get_input_tensor().data
    image[:] = np.random.default_rng(0).random(image.shape, dtype=np.float32)
    return found


@lru_cache(maxsize=None)
def _core() -> Any:
    """One core for the process. Each core installs a signal stack of its own, and of several the last one leaves a freed
    one installed: the next Ctrl-C would crash, or write into memory that is something else's by then."""
    import openvino

    return openvino.Core()


class Counters:
    """A model and the time of each target in each run: its node, and for a stem the reorder of its input.

    OpenVINO's counters are averages over all runs since the model was compiled, in whole microseconds: the first, slow
    runs and every disturbed one stay in them. So each run's own time is worked out from how the averages go on.
    """

    def __init__(self, model: Any, kinds: Sequence[str], threads: int, precision: str) -> None:
        self._request = request(model, threads=threads, precision=precision, counters=True)
        self._kinds = kinds
        self._averages: dict[tuple[int, str], list[int]] = {}
        self._runs = 0

    def run(self) -> None:
        self._request.infer()
        self._runs += 1
        for node in self._request.get_profiling_info():
            target = openvino_target(node.node_name, node.node_type, self._kinds[0])
            if target is not None:
                microseconds = round(1e6 * node.real_time.total_seconds())
                self._averages.setdefault((target, node.node_name), []).append(microseconds)

    def figures_ms(self) -> Figures:
        found = np.zeros((self._runs, len(self._kinds)))
        for (target, _), averages in self._averages.items():
            found[:, target] += np.array(each_run(averages)) / 1000
        return np.maximum(found, RESOLUTION_MS / 2)


def each_run(averages: Sequence[int]) -> list[float]:
    """What each run took, given the averages over the runs up to it, rounded down to whole numbers.

    The sum of the first k runs is known to k - 1. Of all courses of the sums that fit, the taut one is taken: runs differ
    only where the averages show that they do.
    """
    number = len(averages)
    lower = [0.0] + [float((k + 1) * value) for k, value in enumerate(averages)]
    upper = [low + max(k - 1, 0) for k, low in enumerate(lower)]
    slopes: list[float] = []
    start, height = 0, 0.0
    while start < number:
        least, most, least_at, most_at = float("-inf"), float("inf"), number, number
        for place in range(start + 1, number + 1):
            low, high = (lower[place] - height) / (place - start), (upper[place] - height) / (place - start)
            if low > most:
                bend = most_at, upper[most_at]
                break
            if high < least:
                bend = least_at, lower[least_at]
                break
            if low >= least:
                least, least_at = low, place
            if high <= most:
                most, most_at = high, place
        else:  # straight to the end, at whatever pace fits best
            bend = number, height + min(max(float(averages[-1]), least), most) * (number - start)
        slopes += [(bend[1] - height) / (bend[0] - start)] * (bend[0] - start)
        start, height = bend
    return slopes


def openvino_target(name: str, node_type: str, first_kind: str) -> int | None:
    """Which kernel of a model a node belongs to, given the kind of the first; None for the surroundings."""
    if first_kind == "detect":
        return 0 if node_type not in ("Convolution", "Parameter", "Result") and "pre" not in name else None
    if name.startswith("target") and "_" not in name:
        return int(name[6:].split(".")[0])
    # layouts that a stem's input or output is brought into, before it or behind it
    return 0 if first_kind == "stem" and (name.endswith("_target0") or name.startswith("target0_")) else None

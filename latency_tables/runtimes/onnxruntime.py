"""ONNX Runtime on a CPU (CPUExecutionProvider, fp32 and int8): kernels by the session's own profiling, networks end to end.

How sessions are made and read is in latency_tables.on_device.onnxruntime. onnxruntime and onnx are imported inside
functions only.
"""

from __future__ import annotations

from collections.abc import Sequence

from latency_tables.kernels import Kernel
from latency_tables.on_device import onnxruntime as on_device
from latency_tables.on_device import timing
from latency_tables.on_device.timing import REPEATS, STATISTIC, WARM_UP
from latency_tables.runtimes import _requirements
from latency_tables.runtimes._models import batches, write_batch, write_network
from latency_tables.runtimes._onnx_models import OnnxWriter
from latency_tables.runtimes._quantised_onnx import QuantisedOnnxWriter
from search_spaces.graph import Graph

__all__ = ["METHOD", "PRECISIONS", "REPEATS", "STATISTIC", "WARM_UP", "Gauge", "batches", "device_kind", "measure",
           "network_ms", "version"]  # fmt: skip

PRECISIONS = {"fp32": "float32", "int8": "QDQ: uint8 activations, int8 weights"}
METHOD = (
    "per-node profile of small ONNX models (CPUExecutionProvider, all graph optimisations, sequential, spinning on), "
    "each kernel among convs so that it has a network's blocked layout; other memory read before each run, so that "
    "weights are cold (not in int8, whose weights stay in the caches); runs of several models interleaved, those "
    "while a reference conv ran slow or another process had the core left out"
)


def device_kind() -> str:
    """`cpu`: the provider that is measured."""
    return "cpu"


def version() -> str:
    """ONNX Runtime's version, `1.20.0`."""
    _requirements.require("onnxruntime")
    return on_device.version()


class Gauge(timing.BaseGauge):
    """Runs a reference conv on ONNX Runtime."""

    def __init__(self, threads: int, precision: str = "fp32") -> None:
        _requirements.require("onnxruntime")
        _requirements.choose_precision("onnxruntime", precision, list(PRECISIONS))
        model = write_batch([_requirements.REFERENCE], _writer(precision)).SerializeToString()
        super().__init__(on_device.reference(model, threads, precision), one_core=threads == 1)


def measure(
    groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str = "fp32", gauge: Gauge | None = None,
    quick: bool = False,
) -> list[list[tuple[float, float]]]:  # fmt: skip
    """(latency in ms, relative spread) per kernel of each batch. `quick`: with fewer runs."""
    gauge = gauge or Gauge(threads, precision)
    probes = [
        on_device.kernel_probe(
            write_batch(group, _writer(precision)).SerializeToString(),
            [kernel.kind for kernel in group],
            threads,
            precision,
        )
        for group in groups
    ]
    return timing.kernels_ms(probes, gauge, cold=precision != "int8", quick=quick)


def network_ms(
    graphs: Sequence[Graph], *, threads: int, precision: str = "fp32", rounds: int = 12, runs: int = 3
) -> list[float]:
    """Latency of whole networks end to end."""
    gauge = Gauge(threads, precision)
    models = (write_network(graph, _writer(precision)).SerializeToString() for graph in graphs)
    probes = [on_device.network_probe(model, threads, precision) for model in models]
    return timing.networks_ms(probes, gauge, rounds=rounds, runs=runs)


def _writer(precision: str) -> OnnxWriter:
    return QuantisedOnnxWriter() if precision == "int8" else OnnxWriter()

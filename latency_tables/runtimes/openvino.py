"""OpenVINO on a CPU: kernels and whole networks timed with explicit precision and threads.

How models are compiled and read is in latency_tables.on_device.openvino. openvino is imported inside functions only.
"""

from __future__ import annotations

from collections.abc import Sequence

from latency_tables.kernels import Kernel
from latency_tables.on_device import openvino as on_device
from latency_tables.on_device import timing
from latency_tables.on_device.openvino import HINTS, compile_model
from latency_tables.on_device.timing import REPEATS, STATISTIC, WARM_UP
from latency_tables.runtimes import _requirements
from latency_tables.runtimes._models import batches, write_batch, write_network
from latency_tables.runtimes._openvino_models import OpenVINOWriter
from latency_tables.runtimes._quantised_openvino import QuantisedOpenVINOWriter
from search_spaces.graph import Graph

__all__ = ["METHOD", "PRECISIONS", "REPEATS", "STATISTIC", "WARM_UP", "Gauge", "batches", "compile_model",
           "device_kind", "measure", "network_ms", "version"]  # fmt: skip

PRECISIONS = HINTS
METHOD = (
    "per-node counters of small OpenVINO models, each kernel among convs as in a network; other memory read before "
    "each run, so that weights are cold (not in int8, whose weights stay in the caches); runs of several models "
    "interleaved, those while a reference conv ran slow or another process had the core left out"
)


def device_kind() -> str:
    """`cpu`: the plug-in that is measured."""
    return "cpu"


def version() -> str:
    """OpenVINO's version, `2026.4.0`."""
    _requirements.require("openvino")
    return on_device.version()


class Gauge(timing.BaseGauge):
    """Runs a reference conv on OpenVINO."""

    def __init__(self, threads: int, precision: str = "fp32") -> None:
        _requirements.require("openvino")
        _requirements.choose_precision("openvino", precision, list(PRECISIONS))
        model = write_batch([_requirements.REFERENCE], _writer(precision))
        super().__init__(on_device.reference(model, threads, precision), one_core=threads == 1)


def measure(
    groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str = "fp32", gauge: Gauge | None = None,
    quick: bool = False,
) -> list[list[tuple[float, float]]]:  # fmt: skip
    """(latency in ms, relative spread) per kernel of each batch. `quick`: with fewer runs."""
    gauge = gauge or Gauge(threads, precision)
    probes = [
        on_device.kernel_probe(
            write_batch(group, _writer(precision)), [kernel.kind for kernel in group], threads, precision
        )
        for group in groups
    ]
    return timing.kernels_ms(probes, gauge, cold=precision != "int8", quick=quick)


def network_ms(
    graphs: Sequence[Graph], *, threads: int, precision: str = "fp32", rounds: int = 12, runs: int = 3
) -> list[float]:
    """Latency of whole networks end to end."""
    gauge = Gauge(threads, precision)
    models = (write_network(graph, _writer(precision)) for graph in graphs)
    probes = [on_device.network_probe(model, threads, precision) for model in models]
    return timing.networks_ms(probes, gauge, rounds=rounds, runs=runs)


def _writer(precision: str) -> OpenVINOWriter:
    return QuantisedOpenVINOWriter() if precision == "int8" else OpenVINOWriter()

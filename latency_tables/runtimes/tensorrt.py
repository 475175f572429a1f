"""TensorRT (8.5 to 10) through its Python package: kernels by the layer profiler, networks by events.

How engines are built and read is in latency_tables.on_device.tensorrt. Written from the documentation of the package;
there was no NVIDIA GPU to run it on, so it has not been run. tensorrt and onnx are imported inside functions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from latency_tables.kernels import Kernel
from latency_tables.on_device import tensorrt as on_device
from latency_tables.on_device import timing
from latency_tables.on_device.cuda import CudaError
from latency_tables.on_device.tensorrt import FLAGS, EngineError
from latency_tables.on_device.timing import REPEATS, STATISTIC, WARM_UP
from latency_tables.runtimes import _requirements
from latency_tables.runtimes._models import batches, write_batch, write_network
from latency_tables.runtimes._onnx_models import OnnxWriter
from search_spaces.errors import UserError
from search_spaces.graph import Graph

__all__ = ["METHOD", "PRECISIONS", "REPEATS", "STATISTIC", "WARM_UP", "Gauge", "batches", "device_kind",
           "device_name", "measure", "network_ms", "version"]  # fmt: skip

PRECISIONS = FLAGS
METHOD = (
    "TensorRT's layer profiler on small engines, each kernel among convs as in a network, batch 1; runs of several engines "
    "interleaved, those while a reference conv ran slow left out; this code was not run when it was written"
)


def device_kind() -> str:
    """`gpu`: TensorRT runs on nothing else."""
    return "gpu"


def version() -> str:
    """TensorRT's version, `10.0.1`."""
    _require()
    return on_device.version()


def device_name() -> str:
    """The GPU's name."""
    return on_device.device_name()


class Gauge(timing.BaseGauge):
    """Runs a reference conv on TensorRT."""

    def __init__(self, threads: int, precision: str = "fp32") -> None:
        _require()
        _requirements.choose_precision("tensorrt", precision, list(PRECISIONS))
        model = write_batch([_requirements.REFERENCE], OnnxWriter()).SerializeToString()
        super().__init__(_told(on_device.reference, model, threads, precision), one_core=False)


def measure(
    groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str = "fp32", gauge: Gauge | None = None,
    quick: bool = False,
) -> list[list[tuple[float, float]]]:  # fmt: skip
    """(latency in ms, relative spread) per kernel of each batch. `quick`: with fewer runs. `threads` is of no account."""
    gauge = gauge or Gauge(threads, precision)
    probes = []
    for group in groups:
        model, kinds = write_batch(group, OnnxWriter()).SerializeToString(), [kernel.kind for kernel in group]
        probes.append(_told(on_device.kernel_probe, model, kinds, threads, precision))
    found: list[list[tuple[float, float]]] = _told(timing.kernels_ms, probes, gauge, cold=False, quick=quick)
    return found


def network_ms(
    graphs: Sequence[Graph], *, threads: int, precision: str = "fp32", rounds: int = 12, runs: int = 3
) -> list[float]:
    """Latency of whole networks end to end, between CUDA events (copies to and from the GPU not counted)."""
    gauge = Gauge(threads, precision)
    models = (write_network(graph, OnnxWriter()).SerializeToString() for graph in graphs)
    probes = [_told(on_device.network_probe, model, threads, precision) for model in models]
    found: list[float] = _told(timing.networks_ms, probes, gauge, rounds=rounds, runs=runs)
    return found


def _told(step: Any, *arguments: Any, **options: Any) -> Any:
    """A step on the device, its failure as a UserError."""
    try:
        return step(*arguments, **options)
    except (EngineError, CudaError) as error:
        raise UserError(str(error)) from None


def _require() -> None:
    _requirements.require("tensorrt")
    try:
        on_device.device_name()
    except CudaError as error:
        raise UserError(f"runtime tensorrt needs an NVIDIA GPU; {error}") from None

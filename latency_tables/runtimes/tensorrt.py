"""TensorRT (8.6 to 10) through its Python package: engines from ONNX, kernels by the layer profiler, networks by events.

Written from the documentation of the package; there was no NVIDIA GPU to run it on, so it has not been run. Buffers,
streams and events come from torch (CUDA build). tensorrt, torch and onnx are imported inside functions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

import numpy as np

from latency_tables.kernels import Kernel
from latency_tables.runtimes import _timing
from latency_tables.runtimes._models import batches, write_batch, write_network
from latency_tables.runtimes._onnx_models import OnnxWriter
from latency_tables.runtimes._timing import REPEATS, STATISTIC, WARM_UP
from search_spaces.errors import UserError
from search_spaces.graph import Graph

__all__ = ["METHOD", "PRECISIONS", "REPEATS", "STATISTIC", "WARM_UP", "Gauge", "batches", "device_kind",
           "device_name", "measure", "network_ms", "version"]  # fmt: skip

PRECISIONS = {"fp32": (), "fp16": ("FP16",), "int8": ("FP16", "INT8")}
"""Precision -> builder flags; TF32 is off in all. int8 has the dynamic range -4..4 set on every tensor: enough for
latency, not for accuracy."""
METHOD = (
    "TensorRT's layer profiler on small engines, each kernel among convs as in a network, batch 1; runs of several engines "
    "interleaved, those while a reference conv ran slow left out; this code was not run when it was written"
)
WORKSPACE_BYTES = 2 * 2**30
INT8_RANGE = 4.0


def device_kind() -> str:
    """`gpu`: TensorRT runs on nothing else."""
    return "gpu"


def version() -> str:
    """TensorRT's version, `10.0.1`."""
    _require()
    return str(_tensorrt().__version__)


def device_name() -> str:
    """The GPU's name."""
    import torch

    return str(torch.cuda.get_device_name())


class Gauge(_timing.BaseGauge):
    """Runs a reference conv on TensorRT."""

    def __init__(self, threads: int, precision: str = "fp32") -> None:
        _require()
        _timing.choose_precision("tensorrt", precision, list(PRECISIONS))
        super().__init__(_Engine(write_batch([_timing.REFERENCE], OnnxWriter()), precision).run, one_core=False)


def measure(
    groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str = "fp32", gauge: Gauge | None = None,
    quick: bool = False,
) -> list[list[tuple[float, float]]]:  # fmt: skip
    """(latency in ms, relative spread) per kernel of each batch. `quick`: with fewer runs. `threads` is of no account."""
    gauge = gauge or Gauge(threads, precision)
    probes = [_Layers(group, precision) for group in groups]
    return _timing.interleaved(probes, gauge, **_timing.effort(quick))


def network_ms(
    graphs: Sequence[Graph], *, threads: int, precision: str = "fp32", rounds: int = 12, runs: int = 3
) -> list[float]:
    """Latency of whole networks end to end, between CUDA events (copies to and from the GPU not counted)."""
    gauge = Gauge(threads, precision)
    probes = [_Events(_Engine(write_network(graph, OnnxWriter()), precision)) for graph in graphs]
    return [figures[0][0] for figures in _timing.interleaved(probes, gauge, rounds=rounds, runs=runs)]


def _tensorrt() -> Any:
    return import_module("tensorrt")


def _require() -> None:
    _timing.require("tensorrt")
    _timing.require("tensorrt", "torch")
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            "runtime tensorrt needs an NVIDIA GPU and torch's CUDA build; torch.cuda.is_available() is False"
        )


def build_engine(model: Any, precision: str) -> Any:
    """A deserialised engine (tensorrt.ICudaEngine) of an onnx.ModelProto.

    Raises UserError with TensorRT's own words when the model cannot be parsed or built.
    """
    tensorrt = _tensorrt()
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    # Explicit batch is the only kind from TensorRT 10 on, and its flag is going away.
    explicit = getattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        words = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise UserError(f"TensorRT {tensorrt.__version__} cannot parse the model: {words}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
    for flag in PRECISIONS[precision]:
        config.set_flag(getattr(tensorrt.BuilderFlag, flag))
    if precision == "int8":
        _set_ranges(network, tensorrt.float32)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise UserError(f"TensorRT {tensorrt.__version__} cannot build an engine in {precision} on this GPU")
    return tensorrt.Runtime(logger).deserialize_cuda_engine(serialized)


def _set_ranges(network: Any, float32: Any) -> None:
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        tensors += [layer.get_output(index) for index in range(layer.num_outputs)]
    for tensor in (item for item in tensors if item is not None and item.dtype == float32):
        tensor.set_dynamic_range(-INT8_RANGE, INT8_RANGE)


class _Engine:
    """An engine with buffers on the GPU (a random image, outputs) on a stream of its own."""

    def __init__(self, model: Any, precision: str) -> None:
        import torch

        tensorrt, cuda = _tensorrt(), cast(Any, torch.cuda)
        self.engine = build_engine(model, precision)
        self.context, self.stream = self.engine.create_execution_context(), cuda.Stream()
        self._buffers = []
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            shape, is_input = tuple(self.engine.get_tensor_shape(name)), self.engine.get_tensor_mode(name)
            make = torch.rand if is_input == tensorrt.TensorIOMode.INPUT else torch.empty
            buffer = make(shape, device="cuda")
            self.context.set_tensor_address(name, buffer.data_ptr())
            self._buffers.append(buffer)
        cuda.synchronize()

    def enqueue(self) -> None:
        """Start one run."""
        if not self.context.execute_async_v3(self.stream.cuda_stream):
            raise UserError("TensorRT could not run an engine; see its messages above")

    def run(self) -> None:
        """One run, until it is done."""
        self.enqueue()
        self.stream.synchronize()


class _Events:
    """An engine timed between CUDA events."""

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._found: list[float] = []

    def run(self) -> None:
        import torch

        cuda: Any = torch.cuda
        first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        first.record(self._engine.stream)
        self._engine.enqueue()
        last.record(self._engine.stream)
        last.synchronize()
        self._found.append(float(first.elapsed_time(last)))

    def figures_ms(self) -> _timing.Figures:
        return np.array(self._found)[:, None]


class _Layers:
    """A batch's engine under the layer profiler.

    TensorRT names a fused layer after all that it holds (`target0 + target0.add`): a layer counts towards the first
    target in its name. In a model of its own, everything but convs does.
    """

    def __init__(self, group: Sequence[Kernel], precision: str) -> None:
        self._group = group
        self._engine = _Engine(write_batch(group, OnnxWriter()), precision)
        self._sink = _layer_sink()
        self._engine.context.profiler = self._sink
        self._engine.context.enqueue_emits_profile = True
        self._found: list[list[float]] = []

    def run(self) -> None:
        self._sink.layers.clear()
        self._engine.run()
        found = [0.0] * len(self._group)
        for name, ms in self._sink.layers:
            target = owner(name, self._group)
            if target is not None:
                found[target] += ms
        self._found.append(found)

    def figures_ms(self) -> _timing.Figures:
        times = [max(column) for column in zip(*self._found)]
        missing = [kernel for kernel, ms in zip(self._group, times) if not ms]
        if missing:
            raise UserError(
                f"TensorRT's layer profiler names no layer of {missing[0]}; it was fused into its neighbours"
            )
        return np.array(self._found)


def owner(layer: str, group: Sequence[Kernel]) -> int | None:
    """Which kernel of a batch a layer with this name belongs to; None for the surroundings."""
    parts = layer.replace("(", " ").replace(")", " ").replace(",", " ").replace("[", " ").split()
    for part in parts:
        head = part.split(".")[0].split(":")[0].split("_")[0]
        if head.startswith("target") and head[6:].isdigit():
            return int(head[6:])
    if group[0].kind in ("detect", "reordered_concat") and not any(part.startswith("pre") for part in parts):
        return 0
    return None


def _layer_sink() -> Any:
    base: Any = _tensorrt().IProfiler

    class Sink(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.layers.append((layer_name, ms))

    return Sink()

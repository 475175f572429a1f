"""TensorRT (8.5 to 10) through its Python package: engines from ONNX, kernels by the layer profiler, networks by events.

Written from the documentation of the package; there was no NVIDIA GPU to run it on, so it has not been run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from latency_tables.on_device.cuda import CudaError, Event, Stream, gpu_name, on_gpu, release

if TYPE_CHECKING:
    from latency_tables.on_device.timing import Figures, Probe

ON_CPU = False
FLAGS = {"fp32": (), "fp16": ("FP16",), "int8": ("FP16", "INT8")}
"""Precision -> builder flags; TF32 is off in all. int8 has the dynamic range -4..4 set on every tensor: enough for
latency, not for accuracy."""
WORKSPACE_BYTES = 2 * 2**30
INT8_RANGE = 4.0


class EngineError(RuntimeError):
    """TensorRT cannot parse, build or run a model; its own words."""


def version() -> str:
    """TensorRT's version, `10.0.1`."""
    return str(_tensorrt().__version__)


def device_name() -> str:
    """The GPU's name."""
    return gpu_name()


def reference(model: Any, threads: int, precision: str) -> Any:
    """A model's run, to be called again and again. `threads` is of no account here."""
    return Engine(model, precision).run


def network_probe(model: Any, threads: int, precision: str) -> Probe:
    """A whole network under measurement, between events (copies to and from the GPU not counted)."""
    return Timed(Engine(model, precision))


def kernel_probe(model: Any, kinds: Sequence[str], threads: int, precision: str) -> Probe:
    """A model that measures kernels of these kinds, its nodes `target0`, `target1`, ..."""
    return Layers(model, kinds, precision)


def _tensorrt() -> Any:
    return import_module("tensorrt")


@lru_cache(maxsize=None)
def _timing_cache() -> list[bytes]:
    """What the builder has learnt so far: layers that come again are not tried anew."""
    return [b""]


def build_engine(model: Any, precision: str) -> Any:
    """A deserialised engine (tensorrt.ICudaEngine) of an ONNX file (a path) or of its bytes.

    Raises EngineError with TensorRT's own words when the model cannot be parsed or built.
    """
    tensorrt = _tensorrt()
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    # Explicit batch is the only kind from TensorRT 10 on, and its flag is going away.
    explicit = getattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = tensorrt.OnnxParser(network, logger)
    # A file's weights lie beside it: only the parser that knows the path finds them.
    parsed = parser.parse_from_file(model) if isinstance(model, str) else parser.parse(model)
    if not parsed:
        words = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise EngineError(f"TensorRT {tensorrt.__version__} cannot parse the model: {words}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
    for flag in FLAGS[precision]:
        config.set_flag(getattr(tensorrt.BuilderFlag, flag))
    if precision == "int8":
        _set_ranges(network, tensorrt.float32)
    learnt = _timing_cache()
    cache = config.create_timing_cache(learnt[0])
    config.set_timing_cache(cache, ignore_mismatch=False)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise EngineError(f"TensorRT {tensorrt.__version__} cannot build an engine in {precision} on this GPU")
    learnt[0] = bytes(cache.serialize())
    return tensorrt.Runtime(logger).deserialize_cuda_engine(serialized)


def _set_ranges(network: Any, float32: Any) -> None:
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        tensors += [layer.get_output(index) for index in range(layer.num_outputs)]
    for tensor in (item for item in tensors if item is not None and item.dtype == float32):
        tensor.set_dynamic_range(-INT8_RANGE, INT8_RANGE)


class Engine:
    """An engine with buffers on the GPU (a random image, outputs) on a stream of its own."""

    def __init__(self, model: Any, precision: str) -> None:
        tensorrt = _tensorrt()
        self.engine = build_engine(model, precision)
        self.context, self.stream = self.engine.create_execution_context(), Stream()
        rng = np.random.default_rng(0)
        self._buffers: list[int] = []
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            shape, is_input = tuple(self.engine.get_tensor_shape(name)), self.engine.get_tensor_mode(name)
            filled = is_input == tensorrt.TensorIOMode.INPUT
            values = rng.random(shape, dtype=np.float32) if filled else np.zeros(shape, np.float32)
            self._buffers.append(on_gpu(values))
            self.context.set_tensor_address(name, self._buffers[-1])

    def __del__(self) -> None:
        with suppress(CudaError):
            for address in getattr(self, "_buffers", []):
                release(address)

    def enqueue(self) -> None:
        """Start one run."""
        if not self.context.execute_async_v3(self.stream.handle):
            raise EngineError("TensorRT could not run an engine; see its messages above")

    def run(self) -> None:
        """One run, until it is done."""
        self.enqueue()
        self.stream.synchronize()


class Timed:
    """An engine timed between CUDA events."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._found: list[float] = []

    def run(self) -> None:
        first, last = Event(), Event()
        first.record(self._engine.stream)
        self._engine.enqueue()
        last.record(self._engine.stream)
        last.synchronize()
        self._found.append(first.ms_until(last))

    def figures_ms(self) -> Figures:
        return np.array(self._found)[:, None]


class Layers:
    """A model's engine under the layer profiler.

    TensorRT names a fused layer after all that it holds (`target0 + target0.add`): a layer counts towards the first
    target in its name. In a model of its own, everything but convs does.
    """

    def __init__(self, model: Any, kinds: Sequence[str], precision: str) -> None:
        self._kinds = kinds
        self._engine = Engine(model, precision)
        self._sink = _layer_sink()
        self._engine.context.profiler = self._sink
        self._engine.context.enqueue_emits_profile = True
        self._found: list[list[float]] = []

    def run(self) -> None:
        self._sink.layers.clear()
        self._engine.run()
        found = [0.0] * len(self._kinds)
        for name, ms in self._sink.layers:
            target = tensorrt_target(name, self._kinds[0])
            if target is not None:
                found[target] += ms
        self._found.append(found)

    def figures_ms(self) -> Figures:
        times = [max(column) for column in zip(*self._found)]
        missing = [kind for kind, ms in zip(self._kinds, times) if not ms]
        if missing:
            raise EngineError(
                f"TensorRT's layer profiler names no layer of a kernel {missing[0]}; it was fused into its neighbours"
            )
        return np.array(self._found)


def tensorrt_target(layer: str, first_kind: str) -> int | None:
    """Which kernel of a model a layer with this name belongs to, given the kind of the first; None for the surroundings."""
    parts = layer.replace("(", " ").replace(")", " ").replace(",", " ").replace("[", " ").split()
    for part in parts:
        head = part.split(".")[0].split(":")[0].split("_")[0]
        if head.startswith("target") and head[6:].isdigit():
            return int(head[6:])
    if first_kind in ("detect", "reordered_concat") and not any(part.startswith("pre") for part in parts):
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

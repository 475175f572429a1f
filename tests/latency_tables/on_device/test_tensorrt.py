"""The TensorRT path against a stand-in of the package and of the driver: there is no NVIDIA GPU where this is developed."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from latency_tables.on_device import cuda, tensorrt
from latency_tables.on_device.timing import BaseGauge, kernels_ms
from search_spaces.errors import UserError

LAYERS = [
    ("target0 + target0.relu", 0.25),
    ("pre.in.target1", 9.0),
    ("target1:0_reformat", 0.5),
    ("target1.add", 0.125),
]


class Driver:
    """As much of libcuda as is called; it notes what is, and gives back addresses, names and times."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: dict[str, int] = {}
        self.memory = 0

    def __getattr__(self, name: str) -> Any:
        def function(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.fails:
                return self.fails[name]
            if name == "cuMemAlloc_v2":
                self.memory += 256
                arguments[0]._obj.value = self.memory
            elif name == "cuDeviceGetName":
                arguments[0].value = b"Orin"
            elif name in ("cuStreamCreate", "cuEventCreate"):
                arguments[0]._obj.value = 7
            elif name == "cuEventElapsedTime":
                arguments[0]._obj.value = 3.5
            elif name == "cuGetErrorName":
                arguments[1]._obj.value = b"CUDA_ERROR_OUT_OF_MEMORY"
            return 0

        return function


class Context:
    def __init__(self, package: Any) -> None:
        self.package, self.addresses = package, {}
        self.profiler: Any = None
        self.enqueue_emits_profile = False

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7
        assert sorted(self.addresses) == ["found", "images"]
        if self.profiler is not None:
            for name, ms in LAYERS:
                self.profiler.report_layer_time(name, ms)
        return self.package.runs


class Engine:
    num_io_tensors = 2

    def __init__(self, package: Any) -> None:
        self.package = package

    def create_execution_context(self) -> Context:
        return Context(self.package)

    def get_tensor_name(self, index: int) -> str:
        return ("images", "found")[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (1, 3, 8, 8)

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "images" else "output"


class Package:
    """As much of TensorRT's package as is used."""

    __version__ = "10.0.1"
    float32 = "float32"
    NetworkDefinitionCreationFlag = SimpleNamespace(EXPLICIT_BATCH=0)
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    BuilderFlag = SimpleNamespace(TF32="tf32", FP16="fp16", INT8="int8")
    ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
    TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
    Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    IProfiler = type("IProfiler", (), {})

    def __init__(self) -> None:
        self.parses = self.builds = self.runs = True
        self.flags: set[str] = set()
        self.ranges: list[tuple[float, float]] = []
        self.caches: list[bytes] = []
        self.parsed: list[Any] = []

    def Builder(self, logger: Any) -> Any:
        config = SimpleNamespace(
            set_memory_pool_limit=lambda kind, size: None, clear_flag=lambda flag: None, set_flag=self.flags.add,
            create_timing_cache=self.timing_cache, set_timing_cache=lambda cache, ignore_mismatch: None,
        )  # fmt: skip
        tensor = SimpleNamespace(dtype="float32", set_dynamic_range=lambda *ends: self.ranges.append(ends))
        layer = SimpleNamespace(num_outputs=1, get_output=lambda index: tensor)
        network = SimpleNamespace(
            num_inputs=1, get_input=lambda index: tensor, num_layers=3, get_layer=lambda number: layer
        )
        return SimpleNamespace(
            create_network=lambda flags: network, create_builder_config=lambda: config,
            build_serialized_network=lambda network, config: b"plan" if self.builds else None,
        )  # fmt: skip

    def timing_cache(self, learnt: bytes) -> Any:
        self.caches.append(learnt)
        return SimpleNamespace(serialize=lambda: learnt + b"+")

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(model: Any) -> bool:
            self.parsed.append(model)
            return self.parses

        return SimpleNamespace(
            parse=parse, parse_from_file=parse, num_errors=1, get_error=lambda index: "no such op: Nonsense"
        )

    def Runtime(self, logger: Any) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: Engine(self))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    found = Driver()
    cuda._driver.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: found)
    yield found
    cuda._driver.cache_clear()


@pytest.fixture
def package(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Package:
    found = Package()
    monkeypatch.setitem(sys.modules, "tensorrt", found)
    tensorrt._timing_cache.cache_clear()
    return found


class Calm(BaseGauge):
    def __init__(self) -> None:
        pass

    def calm(self) -> bool:
        return True

    def alone(self, run: Any) -> bool:
        run()
        return True


def test_layers_count_towards_the_kernels_in_their_names(package: Package) -> None:
    probe = tensorrt.kernel_probe("model.onnx", ["conv", "conv"], 1, "fp32")
    ((first, second),) = kernels_ms([probe], Calm(), cold=False)
    assert (first, second) == ((0.25, 0.0), (0.625, 0.0))
    assert package.parsed == ["model.onnx"]
    assert package.flags == set()


def test_decoding_is_all_that_is_no_conv_of_the_surroundings(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules[__name__], "LAYERS", [("target0.softmax", 0.25), ("Shuffle_7", 0.5), ("pre.in", 9.0)]
    )
    probe = tensorrt.kernel_probe(b"model", ["detect"], 1, "fp32")
    probe.run()
    assert probe.figures_ms().tolist() == [[0.75]]
    assert tensorrt.tensorrt_target("Softmax_12", "detect") == 0
    assert tensorrt.tensorrt_target("Softmax_12", "conv") is None
    assert tensorrt.tensorrt_target("pre.down1", "detect") is None


def test_networks_are_timed_between_events(package: Package, driver: Driver) -> None:
    probe = tensorrt.network_probe("model.onnx", 1, "fp16")
    probe.run()
    assert probe.figures_ms().tolist() == [[3.5]]
    assert package.flags == {"fp16"}
    assert driver.calls.count("cuEventRecord") == 2


def test_int8_has_ranges_everywhere_and_layers_are_learnt_once(package: Package) -> None:
    tensorrt.build_engine(b"model", "int8")
    tensorrt.build_engine(b"model", "int8")
    assert package.flags == {"fp16", "int8"}
    assert package.ranges == [(-4.0, 4.0)] * 8
    assert package.caches == [b"", b"+"]


def test_buffers_are_given_back(package: Package, driver: Driver) -> None:
    run = tensorrt.reference("model.onnx", 1, "fp32")
    run()
    assert driver.calls.count("cuMemAlloc_v2") == 2
    del run
    assert driver.calls.count("cuMemFree_v2") == 2


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("parses", "cannot parse the model: no such op: Nonsense"),
        ("builds", "cannot build an engine in fp32 on this GPU"),
        ("runs", "could not run an engine"),
    ],
)
def test_what_tensorrt_says_is_passed_on(package: Package, attribute: str, message: str) -> None:
    setattr(package, attribute, False)
    with pytest.raises(tensorrt.EngineError, match=message):
        tensorrt.reference("model.onnx", 1, "fp32")()


def test_a_kernel_without_a_layer_is_named(package: Package) -> None:
    probe = tensorrt.kernel_probe("model.onnx", ["conv", "conv", "add"], 1, "fp32")
    probe.run()
    with pytest.raises(tensorrt.EngineError, match="no layer of a kernel add"):
        probe.figures_ms()


def test_the_driver_says_what_failed(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cuda.gpu_name() == "Orin"
    driver.fails["cuStreamCreate"] = 2
    with pytest.raises(cuda.CudaError, match=r"cuStreamCreate failed: CUDA_ERROR_OUT_OF_MEMORY \(2\)"):
        cuda.Stream()


def test_no_driver_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda._driver.cache_clear()
    monkeypatch.setattr(cuda, "LIBRARY", "libnothing.so.1")
    with pytest.raises(cuda.CudaError, match="no NVIDIA driver here"):
        cuda.gpu_name()
    from latency_tables.runtimes import tensorrt as plugin

    monkeypatch.setattr(plugin._requirements, "find_spec", lambda name: name)
    with pytest.raises(UserError, match="runtime tensorrt needs an NVIDIA GPU; no NVIDIA driver here"):
        plugin.version()

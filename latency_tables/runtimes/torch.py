"""torch in eager mode: on CUDA (networks and kernels as CUDA graphs, timed by events), else on the CPU.

Channels-last, inference mode, BatchNorm folded. The CPU path was run; the CUDA path is written from the documentation and
has not been run on a GPU (docs/gpu.md: how to run it). torch is imported inside functions only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from latency_tables.kernels import Kernel
from latency_tables.on_device import timing
from latency_tables.on_device.host import host_processor
from latency_tables.on_device.timing import REPEATS, STATISTIC, WARM_UP
from latency_tables.runtimes import _requirements
from latency_tables.runtimes._models import write_network
from latency_tables.runtimes._torch_models import TorchWriter, kernel_module
from search_spaces.graph import Graph

__all__ = ["METHOD", "PRECISIONS", "REPEATS", "STATISTIC", "WARM_UP", "Gauge", "batches", "device_kind",
           "device_name", "measure", "network_ms", "version"]  # fmt: skip

PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
METHOD = (
    "torch eager, channels-last, inference mode, rounds of several kernels interleaved; on a CPU single runs by the clock, "
    "dispatch included, inputs in the caches and weights not; on CUDA (not run when this was written) many runs in a row "
    "on the same tensors as one CUDA graph, replayed twice, the second time between two events, cuDNN's benchmark on, fp32 "
    "convs in TF32, the time divided by their number"
)
LONG_ENOUGH_MS, MOST_RUNS = 1.0, 256
"""A chain holds so many runs of a kernel that it takes so long."""


def device_kind() -> str:
    """`gpu` where torch finds a CUDA device, else `cpu`."""
    _requirements.require("torch")
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """The GPU's name, or the processor's."""
    if device_kind() == "cpu":
        return host_processor()
    import torch

    return str(torch.cuda.get_device_name())


def version() -> str:
    """torch's version, `2.6.0+cu124`."""
    _requirements.require("torch")
    import torch

    return str(torch.__version__)


def batches(kernels: Sequence[Kernel], size: int = 16) -> list[list[Kernel]]:
    """Kernels that run in turn, each a module of its own."""
    return [list(kernels[start : start + size]) for start in range(0, len(kernels), size)]


class Gauge(timing.BaseGauge):
    """Runs a reference conv on torch; on CUDA a chain of them, timed as kernels are: the host's delays are not the card's."""

    def __init__(self, threads: int, precision: str = "fp32") -> None:
        _requirements.require("torch")
        _requirements.choose_precision("torch", precision, list(PRECISIONS))
        with _threads(threads):
            self.device = device_kind()
            module = kernel_module(_requirements.REFERENCE)
            self._runner = _chain(module, precision) if self.device == "gpu" else _Runner(module, precision)
            super().__init__(self._runner.run, one_core=self.device == "cpu" and threads == 1)

    def _reference_s(self) -> float:
        if self.device == "cpu":
            return super()._reference_s()
        return min(self._runner.run_ms(time.perf_counter) for _ in range(2)) / 1000


def measure(
    groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str = "fp32", gauge: Gauge | None = None,
    quick: bool = False,
) -> list[list[tuple[float, float]]]:  # fmt: skip
    """(latency in ms, relative spread) per kernel of each batch. `quick`: with fewer runs."""
    gauge = gauge or Gauge(threads, precision)
    with _threads(threads):
        modules = [[kernel_module(kernel) for kernel in group] for group in groups]
        if gauge.device == "cpu":
            runs = [[_Runner(module, precision) for module in group] for group in modules]
            return timing.kernels_ms([_Timed(group, threads, warm=True) for group in runs], gauge, quick=quick)
        probes = [_Timed([_chain(module, precision) for module in group], threads) for group in modules]
        return timing.kernels_ms(probes, gauge, cold=False, quick=quick)


def network_ms(
    graphs: Sequence[Graph], *, threads: int, precision: str = "fp32", rounds: int = 12, runs: int = 3
) -> list[float]:
    """Latency of whole networks end to end."""
    gauge = Gauge(threads, precision)
    with _threads(threads):
        probes = [_Timed([_Runner(write_network(graph, TorchWriter()), precision)], threads) for graph in graphs]
        return timing.networks_ms(probes, gauge, rounds=rounds, runs=runs)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """So many CPU threads inside; what was set before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _chain(module: Any, precision: str) -> _Runner:
    """The module as often in a row as takes LONG_ENOUGH_MS."""
    once = _Runner(module, precision)
    once.run()
    once_ms = min(once.run_ms(time.perf_counter) for _ in range(3))
    return _Runner(module, precision, int(np.clip(np.ceil(LONG_ENOUGH_MS / max(once_ms, 1e-6)), 1, MOST_RUNS)))


class _Runner:
    """A module with fixed random inputs, run `times` times by one call of `run`; on CUDA that is a graph's replay."""

    def __init__(self, module: Any, precision: str, times: int = 1) -> None:
        import torch

        device, self.times = "cuda" if torch.cuda.is_available() else "cpu", times
        dtype, layout = getattr(torch, PRECISIONS[precision]), torch.channels_last
        module = module.to(device=device, dtype=dtype).to(memory_format=layout)
        seeded = torch.Generator().manual_seed(0)
        inputs = [
            torch.rand(shape, generator=seeded).to(device, dtype).contiguous(memory_format=layout)
            for shape in module.input_shapes
        ]
        self.inputs = inputs
        self._call: Callable[[], object] = lambda: module(*inputs)
        self._replay = self._capture() if device == "cuda" else None

    def run(self) -> None:
        """Wait until everything is done."""
        import torch

        if self._replay is not None:
            self._replay()
            torch.cuda.synchronize()
            return
        with torch.inference_mode():
            for _ in range(self.times):
                self._call()

    def run_ms(self, clock: Callable[[], float]) -> float:
        """Time of one `run`: between events on CUDA, else by the clock.

        A first replay, not timed, keeps the card busy while the host sends the events and the second one: else the time
        would hold the host's.
        """
        import torch

        if self._replay is None:
            start = clock()
            self.run()
            return 1000 * (clock() - start)
        cuda: Any = torch.cuda
        first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        self._replay()
        first.record()
        self._replay()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last))

    def _capture(self) -> Callable[[], None]:
        import torch

        torch.backends.cudnn.benchmark = True
        cuda: Any = torch.cuda
        graph, side = cuda.CUDAGraph(), cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with torch.inference_mode():
            # Warm-up on a side stream, as capturing asks for; it also lets cuDNN choose its algorithms.
            with cuda.stream(side):
                for _ in range(3):
                    self._call()
            cuda.current_stream().wait_stream(side)
            with cuda.graph(graph):
                for _ in range(self.times):
                    self._call()
        return graph.replay  # type: ignore[no-any-return]


class _Timed:
    """Runners timed one after another, per single run of their modules. `warm`: inputs are put into the caches first."""

    def __init__(self, runners: Sequence[_Runner], threads: int, warm: bool = False) -> None:
        self._runners, self._warm = runners, warm
        self._clock = timing.process_clock(threads)
        self._found: list[list[float]] = []

    def run(self) -> None:
        found = []
        for runner in self._runners:
            for item in runner.inputs if self._warm else ():
                item.add_(0)
            found.append(runner.run_ms(self._clock) / runner.times)
        self._found.append(found)

    def figures_ms(self) -> timing.Figures:
        return np.array(self._found)

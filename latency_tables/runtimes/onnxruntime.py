"""ONNX Runtime on a CPU (CPUExecutionProvider, fp32): kernels by the session's own profiling, networks end to end.

Everything that moves latency is said: intra-op threads, one inter-op thread, sequential execution, all graph
optimisations, waiting threads spin. onnxruntime and onnx are imported inside functions only.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.kernels import Kernel
from latency_tables.runtimes import _timing
from latency_tables.runtimes._models import batches, write_batch, write_network
from latency_tables.runtimes._onnx_models import OnnxWriter
from latency_tables.runtimes._timing import REPEATS, STATISTIC, WARM_UP
from search_spaces.graph import Graph

__all__ = ["METHOD", "PRECISIONS", "REPEATS", "STATISTIC", "WARM_UP", "Gauge", "batches", "device_kind", "measure",
           "network_ms", "version"]  # fmt: skip

PRECISIONS = {"fp32": "float32"}
METHOD = (
    "per-node profile of small ONNX models (CPUExecutionProvider, all graph optimisations, sequential, spinning on), each "
    "kernel among convs so that it has a network's blocked layout; other memory read before each run, so that weights are "
    "cold; runs of several models interleaved, those while a reference conv ran slow or another process had the core left "
    "out"
)
RESOLUTION_MS = 1e-3  # the profile counts whole microseconds: what reads 0 is taken as half of one


def device_kind() -> str:
    """`cpu`: the provider that is measured."""
    return "cpu"


def version() -> str:
    """ONNX Runtime's version, `1.20.0`."""
    _timing.require("onnxruntime")
    import onnxruntime

    return str(onnxruntime.__version__)


class Gauge(_timing.BaseGauge):
    """Runs a reference conv on ONNX Runtime."""

    def __init__(self, threads: int, precision: str = "fp32") -> None:
        _timing.require("onnxruntime")
        _timing.choose_precision("onnxruntime", precision, list(PRECISIONS))
        session = _Session(write_batch([_timing.REFERENCE], OnnxWriter()), threads)
        super().__init__(session.run, one_core=threads == 1)


def measure(
    groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str = "fp32", gauge: Gauge | None = None,
    quick: bool = False,
) -> list[list[tuple[float, float]]]:  # fmt: skip
    """(latency in ms, relative spread) per kernel of each batch. `quick`: with fewer runs."""
    gauge = gauge or Gauge(threads, precision)
    with tempfile.TemporaryDirectory() as folder:
        probes = [_Profile(group, threads, Path(folder, str(index))) for index, group in enumerate(groups)]
        return _timing.kernels_ms(probes, gauge, quick=quick)


def network_ms(
    graphs: Sequence[Graph], *, threads: int, precision: str = "fp32", rounds: int = 12, runs: int = 3
) -> list[float]:
    """Latency of whole networks end to end."""
    gauge, clock = Gauge(threads, precision), _timing.process_clock(threads)
    probes = [
        _timing.NetworkProbe(_Session(write_network(graph, OnnxWriter()), threads).run, clock) for graph in graphs
    ]
    return [figures[0][0] for figures in _timing.interleaved(probes, gauge, rounds=rounds, runs=runs)]


class _Session:
    """A model with a fixed random image as its input."""

    def __init__(self, model: Any, threads: int, profile: Path | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        shape = self.session.get_inputs()[0].shape
        self._feed = {"images": np.random.default_rng(0).random(shape, dtype=np.float32)}

    def run(self) -> None:
        self.session.run(None, self._feed)


class _Profile:
    """A batch's model under ONNX Runtime's profiler.

    The profile names fused nodes after their first op (`target0`, `target0.relu:0_nchwc`), layout changes after nothing:
    what is not a conv counts towards the target of a model of its own, but for the one behind the model's output.
    """

    def __init__(self, group: Sequence[Kernel], threads: int, profile: Path) -> None:
        self._group = group
        self._session = _Session(write_batch(group, OnnxWriter()), threads, profile)
        self.run = self._session.run

    def figures_ms(self) -> _timing.Figures:
        path = Path(self._session.session.end_profiling())
        runs: dict[str, list[int]] = defaultdict(list)
        operators: dict[str, str] = {}
        for event in json.loads(path.read_text()):
            if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
                runs[event["name"]].append(event["dur"])
                operators[event["name"]] = event["args"]["op_name"]
        path.unlink()
        last = next(reversed(runs))
        found = np.zeros((len(self._group), len(runs[last])))
        for name, durations in runs.items():
            target = self._target(name, operators[name], name == last)
            if target is not None:
                found[target] += durations
        return np.maximum(found.T / 1000, RESOLUTION_MS / 2)

    def _target(self, name: str, operator: str, last: bool) -> int | None:
        if name.startswith("target"):
            return int(name[6:].replace("_", ".").replace(":", ".").split(".")[0])
        alone = self._group[0].kind in ("detect", "reordered_concat")
        return 0 if alone and not last and operator != "Conv" and not name.startswith("pre") else None

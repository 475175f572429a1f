"""ONNX Runtime on a CPU (CPUExecutionProvider, fp32 and int8): sessions with everything said that moves latency, and their
profile.

Intra-op threads, one inter-op thread, sequential execution, all graph optimisations, waiting threads spin.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from latency_tables.on_device.timing import NetworkProbe, process_clock

if TYPE_CHECKING:
    from latency_tables.on_device.timing import Figures, Probe

ON_CPU = True
RESOLUTION_MS = 1e-3  # the profile counts whole microseconds: what reads 0 is taken as half of one


def version() -> str:
    """ONNX Runtime's version, `1.20.0`."""
    import onnxruntime

    return str(onnxruntime.__version__)


def device_name() -> str:
    """Nothing: the processor is the device."""
    return ""


def reference(model: Any, threads: int, precision: str) -> Any:
    """A model's run, to be called again and again."""
    return Session(model, threads).run


def network_probe(model: Any, threads: int, precision: str) -> Probe:
    """A whole network under measurement."""
    return NetworkProbe(Session(model, threads).run, process_clock(threads))


def kernel_probe(model: Any, kinds: Sequence[str], threads: int, precision: str) -> Probe:
    """A model that measures kernels of these kinds, its nodes `target0`, `target1`, ..."""
    return Profile(model, kinds, threads)


class Session:
    """A model (the path of an ONNX file, or its bytes) with a fixed random image as its input."""

    def __init__(self, model: Any, threads: int, profile: str | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, profile
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        shape = self.session.get_inputs()[0].shape
        self._feed = {"images": np.random.default_rng(0).random(shape, dtype=np.float32)}

    def run(self) -> None:
        self.session.run(None, self._feed)


class Profile:
    """A model under ONNX Runtime's profiler.

    The profile names fused nodes after their first op (`target0`, `target0.relu:0_nchwc`), layout changes after nothing:
    what is not a conv counts towards the target of a model of its own, but for the one behind the model's output.
    """

    def __init__(self, model: Any, kinds: Sequence[str], threads: int) -> None:
        self._kinds = kinds
        self._folder = tempfile.TemporaryDirectory()
        self._session = Session(model, threads, os.path.join(self._folder.name, "profile"))
        self.run = self._session.run

    def figures_ms(self) -> Figures:
        path = self._session.session.end_profiling()
        runs: dict[str, list[int]] = defaultdict(list)
        operators: dict[str, str] = {}
        with open(path, encoding="utf-8") as file:
            events = json.load(file)
        self._folder.cleanup()
        for event in events:
            if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
                runs[event["name"]].append(event["dur"])
                operators[event["name"]] = event["args"]["op_name"]
        last = list(runs)[-1]
        found = np.zeros((len(self._kinds), len(runs[last])))
        for name, durations in runs.items():
            target = self._target(name, operators[name], name == last)
            if target is not None:
                found[target] += durations
        return np.maximum(found.T / 1000, RESOLUTION_MS / 2)

    def _target(self, name: str, operator: str, last: bool) -> int | None:
        if name.startswith("target"):
            return int(name[6:].replace("_", ".").replace(":", ".").split(".")[0])
        kind = self._kinds[0]
        if kind == "stem":
            return 0 if self._before_a_stem(name) or operator == "ReorderInput" else None
        if kind not in ("detect", "reordered_concat") or last or operator in ("Conv", "QLinearConv"):
            return None
        taken_back = operator == "DequantizeLinear" and kind == "detect"
        return 0 if taken_back or not (name.startswith("pre") or self._before_a_stem(name)) else None

    @staticmethod
    def _before_a_stem(name: str) -> bool:
        """What makes the image what the first quantised conv reads: once in a network."""
        return name in ("images_QuantizeLinear_kernel_time", "Transpose_kernel_time")

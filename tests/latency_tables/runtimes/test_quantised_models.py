"""Quantised models: the runtimes run convs, adds and concats on int8, compute nearly what the float models do, and every
kernel's time is found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from latency_tables.fusion import fuse, fusion_rules
from latency_tables.kernels import Kernel
from latency_tables.on_device import openvino as openvino_device
from latency_tables.on_device.onnxruntime import Session
from latency_tables.runtimes._models import write_batch, write_network
from latency_tables.runtimes._openvino_models import OpenVINOWriter
from latency_tables.runtimes._quantised_onnx import QuantisedOnnxWriter
from latency_tables.runtimes._quantised_openvino import QuantisedOpenVINOWriter
from search_spaces.emit import emit_detector
from search_spaces.text import resolve_structure

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")
CONV = Kernel.square("conv", 32, 32, 16, kernel=3, activation="relu")
ADD = Kernel.square("add", 32, 32, 16, activation="relu")


def openvino_nodes(kernels: list[Kernel]) -> list[tuple[str, str, str, int | None]]:
    """(name, type, how it ran, target) of every node that ran."""
    model = write_batch(kernels, QuantisedOpenVINOWriter())
    request = openvino_device.request(model, threads=1, precision="int8", counters=True)
    request.infer()
    ran = [node for node in request.get_profiling_info() if node.status == node.Status.EXECUTED]
    return [
        (node.node_name, node.node_type, node.exec_type.lower(),
         openvino_device.openvino_target(node.node_name, node.node_type, kernels[0].kind))
        for node in ran
    ]  # fmt: skip


def onnxruntime_nodes(model: bytes, folder: Path) -> dict[str, str]:
    """Operator by name of everything that ran."""
    session = Session(model, 1, str(folder / "profile"))
    session.run()
    events = json.loads(Path(session.session.end_profiling()).read_text())
    return {
        event["name"].removesuffix("_kernel_time"): event["args"]["op_name"]
        for event in events if event["cat"] == "Node" and event["name"].endswith("_kernel_time")
    }  # fmt: skip


def test_openvino_runs_kernels_on_int8() -> None:
    kernels = [
        CONV,
        Kernel.square("depthwise", 32, 32, 16, kernel=5, activation="silu"),
        Kernel.square("concat", 64, 64, 16),
        Kernel.square("upsample", 32, 32, 16),
        Kernel.square("max_pool", 32, 32, 16, kernel=5),
    ]
    nodes = openvino_nodes(kernels)
    for target in range(len(kernels)):
        own = [how for _, _, how, found in nodes if found == target]
        assert len(own) == 1
        assert own[0].endswith(("i8", "u8")), (kernels[target], own)


def test_openvino_adds_are_measured_where_their_rows_say() -> None:
    """The conv, not the add's other side, takes the fused add; an add that is a kernel of its own is one."""
    fused = Kernel.square("conv", 32, 32, 16, activation="relu", fused_add=True)
    nodes = openvino_nodes([fused, ADD])
    assert [kind for _, kind, _, target in nodes if target == 0] == ["Convolution"]
    alone = [kind for _, kind, _, target in nodes if target == 1]
    assert alone
    assert "Convolution" not in alone


def test_openvino_int8_convs_take_over_adds_behind_an_activation() -> None:
    rules = fusion_rules("openvino", "int8")
    assert rules.add_after_activation
    assert not fusion_rules("openvino").add_after_activation
    # At 64 px an add may take under a microsecond, and the runtime's counters then say that it did not run.
    graph = emit_detector(resolve_structure("T").with_image_size(640, 640))
    expected = [site.kernel.kind for site in fuse(graph, rules)]
    model = write_network(graph, QuantisedOpenVINOWriter())
    request = openvino_device.request(model, threads=1, precision="int8", counters=True)
    request.infer()
    ran = [node for node in request.get_profiling_info() if node.status == node.Status.EXECUTED]
    assert sum(node.node_name.endswith((".add", ".add.relu", ".add.quantised")) for node in ran) == expected.count(
        "add"
    )


def test_onnxruntime_runs_a_detector_on_int8(tmp_path: Path) -> None:
    graph = emit_detector(resolve_structure("Ns").with_image_size(64, 64))
    model = write_network(graph, QuantisedOnnxWriter()).SerializeToString()
    operators = list(onnxruntime_nodes(model, tmp_path).values())
    rules = fusion_rules("onnxruntime", "int8")
    kinds = [site.kernel.kind for site in fuse(graph, rules)]
    assert "Conv" not in operators
    assert operators.count("QLinearConv") == sum(kind in ("conv", "depthwise", "stem") for kind in kinds)
    assert operators.count("QLinearAdd") == kinds.count("add")
    assert operators.count("QLinearConcat") == kinds.count("concat")
    assert "Softmax" in operators  # decoding is not quantised


def test_quantised_networks_compute_nearly_the_same() -> None:
    """Ranges are made up; in a chain of few ops within them the result stays close."""
    image = np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)

    def run(writer: OpenVINOWriter) -> np.ndarray:
        x = writer.conv(
            writer.image(16, 16), 3, 8, kernel=3, stride=1, depthwise=False, activation="relu", name="first"
        )
        model = writer.model(
            [writer.conv(x, 8, 8, kernel=3, stride=1, depthwise=False, activation=None, name="second")]
        )
        return openvino_device.compile_model(model, threads=1)(image)[0]

    exact, quantised = run(OpenVINOWriter()), run(QuantisedOpenVINOWriter())
    assert 0 < np.abs(exact - quantised).max() < 0.05 * np.abs(exact).max()

"""One description, several runtimes: the models compute the same, and runtimes fuse them as their rules say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from latency_tables.fusion import fuse, fusion_rules
from latency_tables.kernels import Kernel
from latency_tables.on_device import onnxruntime as onnxruntime_device
from latency_tables.on_device import openvino as openvino_device
from latency_tables.on_device.host import vector_extensions
from latency_tables.runtimes._models import batches, detect_maps, write_batch, write_network
from latency_tables.runtimes._onnx_models import OnnxWriter
from latency_tables.runtimes._openvino_models import OpenVINOWriter
from latency_tables.runtimes._torch_models import TorchWriter, kernel_module
from search_spaces.emit import emit_detector
from search_spaces.graph import Graph
from search_spaces.text import resolve_structure

SIDE = 64


def network(name: str) -> Graph:
    return emit_detector(resolve_structure(name).with_image_size(SIDE, SIDE))


def by_onnxruntime(graph: Graph, image: np.ndarray) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = write_network(graph, OnnxWriter())
    pytest.importorskip("onnx").checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": image})[0]


@pytest.mark.parametrize("name", ["Ns", "T"])
def test_all_runtimes_compute_the_same(name: str) -> None:
    openvino, torch = pytest.importorskip("openvino"), pytest.importorskip("torch")
    graph, image = network(name), np.random.default_rng(0).random((1, 3, SIDE, SIDE), dtype=np.float32)
    expected = by_onnxruntime(graph, image)
    priors = graph.ops[graph.outputs["detections"]].shape.height
    assert expected.shape == (1, priors, 84)
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(write_network(graph, OpenVINOWriter()), "CPU", precise)
    np.testing.assert_allclose(compiled(image)[0], expected, rtol=1e-3, atol=1e-3)
    if name == "Ns":  # torch folds pixels into channels in another order: with random weights another network
        module = write_network(graph, TorchWriter())
        with torch.inference_mode():
            (found,) = module(torch.from_numpy(image))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_a_batch_holds_kernels_of_one_map() -> None:
    kernels = [Kernel.square("conv", 16, channels, side) for channels in range(16, 48) for side in (10, 20)]
    kernels += [
        Kernel.square("stem", 3, 16, 64, kernel=3, stride=2),
        Kernel.square("reordered_concat", 40, 40, 10),
    ]
    found = batches(kernels)
    assert sorted(len(batch) for batch in found) == [1, 1, 16, 16, 16, 16]
    assert all(len({(k.height, k.width) for k in batch}) == 1 for batch in found)


@pytest.mark.parametrize(
    "kernel",
    [
        Kernel(kind="conv", in_channels=24, out_channels=40, height=9, width=7, kernel=3, stride=2, activation="silu"),
        Kernel.square("conv", 24, 40, 8, activation="relu", fused_add=True),
        Kernel.square("depthwise", 24, 24, 8, kernel=5, activation="relu"),
        Kernel.square("add", 24, 24, 8, activation="any"),
        Kernel.square("reordered_concat", 24, 24, 8),
        Kernel.square("max_pool", 24, 24, 8, kernel=9),
    ],
    ids=lambda kernel: kernel.kind,
)
def test_a_kernel_alone_has_its_shapes(kernel: Kernel) -> None:
    torch = pytest.importorskip("torch")
    module = kernel_module(kernel)
    (found,) = module(*(torch.rand(shape) for shape in module.input_shapes))
    rows, columns = (-(-side // kernel.stride) for side in (kernel.height, kernel.width))
    assert tuple(found.shape) == (1, kernel.out_channels, rows, columns)
    pytest.importorskip("onnx").checker.check_model(write_batch([kernel], OnnxWriter()), full_check=True)


def executed(graph: Graph, folder: Path) -> Counter[str]:
    """Operators that ONNX Runtime runs, by its own profile."""
    from latency_tables.on_device.onnxruntime import Session

    session = Session(write_network(graph, OnnxWriter()).SerializeToString(), 1, str(folder / "profile"))
    session.run()
    events = json.loads(Path(session.session.end_profiling()).read_text())
    nodes = [event for event in events if event["cat"] == "Node" and event["name"].endswith("_kernel_time")]
    return Counter(
        event["args"]["op_name"] for event in nodes if not event["name"].startswith("head.detect")
    )  # fmt: skip


@pytest.mark.parametrize("name", ["Ns", "Nm", "T", "S"])
def test_onnxruntime_fuses_as_its_rules_say(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    graph = network(name)
    nodes = executed(graph, tmp_path)
    if "ReorderInput" not in nodes and "ReorderOutput" not in nodes:
        pytest.skip("no blocked convs on this processor")
    rules = fusion_rules("onnxruntime", extensions=vector_extensions())
    sites = fuse(graph, rules)
    kinds = Counter(site.kernel.kind for site in sites)
    folded = sum(site.kernel.kind == "stem" and site.kernel.in_channels > rules.channel_block for site in sites)
    silus = sum(site.kernel.activation == "silu" for site in sites)
    assert nodes["Conv"] == kinds["conv"] + kinds["depthwise"] + kinds["stem"]
    assert nodes["Add"] == kinds["add"]
    assert nodes["QuickGelu"] == silus
    assert nodes["Concat"] == kinds["concat"] + kinds["reordered_concat"]
    assert nodes["ReorderInput"] == kinds["reordered_concat"] + folded  # a folded image of more than a block, too
    assert nodes["Upsample"] == kinds["upsample"]


@pytest.mark.parametrize("name", ["Ns", "T"])
def test_openvino_sums_in_place_where_its_rules_say(name: str) -> None:
    pytest.importorskip("openvino")
    graph = emit_detector(resolve_structure(name).with_image_size(320, 320))
    request = openvino_device.request(write_network(graph, OpenVINOWriter()), threads=1, counters=True)
    request.infer()
    ran = [node for node in request.get_profiling_info() if node.status == node.Status.EXECUTED]
    sites = fuse(graph, fusion_rules("openvino", extensions=vector_extensions()))
    alone = sum(site.kernel.kind == "add" for site in sites)
    assert sum(node.node_name.endswith((".add", ".add.relu")) for node in ran) == alone


def test_folding_the_image_is_part_of_a_stem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a block holds fewer channels than a folded image, ONNX Runtime changes its layout first."""
    probe = onnxruntime_device.Profile.__new__(onnxruntime_device.Profile)
    monkeypatch.setattr(probe, "_kinds", ["stem"], raising=False)
    assert probe._target("ReorderInput_kernel_time", "ReorderInput", False) == 0
    assert probe._target("ReorderOutput_kernel_time", "ReorderOutput", True) is None
    assert probe._target("fold_kernel_time", "SpaceToDepth", False) is None


@pytest.mark.parametrize(("height", "width"), [(640, 640), (384, 640), (32, 32), (224, 1280)])
def test_decoding_is_measured_with_as_many_priors_as_the_image_has(height: int, width: int) -> None:
    torch = pytest.importorskip("torch")
    graph = emit_detector(resolve_structure("Ns").with_image_size(height, width))
    (kernel,) = (site.kernel for site in fuse(graph, fusion_rules("torch")) if site.kernel.kind == "detect")
    maps = detect_maps(kernel.height)
    assert sum(rows * columns for rows, columns in maps) == kernel.height
    assert maps[0] == (4 * maps[2][0], 4 * maps[2][1])
    if height == width:
        assert maps[2] == (height // 32, width // 32)
    module = kernel_module(kernel)
    (found,) = module(*(torch.rand(shape) for shape in module.input_shapes))
    assert tuple(found.shape) == (1, kernel.height, 4 + kernel.out_channels)
    pytest.importorskip("onnx").checker.check_model(write_batch([kernel], OnnxWriter()), full_check=True)

"""Files whose NMS is TensorRT's plug-in, which nothing here can run: the node, what feeds it, the metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from detector.checkpoint import Checkpoint
from detector.deploy import load_model
from detector.detector import Detector
from detector.export import ExportSettings, export_checkpoint
from detector.model_card import ModelCard
from search_spaces.errors import UserError
from tests.detector.deploy.conftest import picture
from tinynas.cli import main


def shapes(values: list[onnx.ValueInfoProto]) -> dict[str, tuple[int, list[int | str]]]:
    """Name -> element type and dimensions."""
    kinds = {value.name: value.type.tensor_type for value in values}
    return {
        name: (kind.elem_type, [d.dim_value or d.dim_param for d in kind.shape.dim]) for name, kind in kinds.items()
    }


def test_the_plugin_is_the_last_node(tiny: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    settings = ExportSettings(nms="tensorrt", batch=3, score_threshold=0.2, iou_threshold=0.5, max_detections=70)
    report = export_checkpoint(tiny, path, "onnx", settings)
    assert report.detections is None
    assert report.golden.matched == report.golden.compared > 10
    model = onnx.load(path)
    onnx.checker.check_model(model)
    node = model.graph.node[-1]
    assert (node.op_type, node.domain) == ("EfficientNMS_TRT", "TRT")
    assert ("TRT", 1) in {(entry.domain, entry.version) for entry in model.opset_import}
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    thresholds = [attributes.pop(name) for name in ("score_threshold", "iou_threshold")]
    assert thresholds == pytest.approx([0.2, 0.5])
    assert attributes == {
        "plugin_version": b"1", "plugin_namespace": b"", "max_output_boxes": 70, "background_class": -1,
        "score_activation": 0, "class_agnostic": 0, "box_coding": 0,
    }  # fmt: skip
    names = ["num_detections", "detection_boxes", "detection_scores", "detection_classes"]
    assert list(node.output) == [output.name for output in model.graph.output] == names
    integers, floats = onnx.TensorProto.INT32, onnx.TensorProto.FLOAT
    assert shapes(list(model.graph.output)) == dict(
        zip(names, ((integers, [3, 1]), (floats, [3, 70, 4]), (floats, [3, 70]), (integers, [3, 70])))
    )


@pytest.mark.parametrize("pictures", [False, True])
def test_what_feeds_the_plugin_is_what_a_raw_export_gives(
    pictures: bool, tiny: Checkpoint, models: dict[str, Path], tmp_path: Path
) -> None:
    import onnxruntime

    settings = ExportSettings(nms="tensorrt", batch=None, input="picture" if pictures else "tensor")
    export_checkpoint(tiny, tmp_path / "m.onnx", "onnx", settings)
    model = onnx.load(tmp_path / "m.onnx")
    fed = list(model.graph.node.pop().input)
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 3) for name in fed
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shots = np.stack([picture(seed, 128, 288) for seed in range(3)])
    detector = Detector.load(models["onnx-raw"])
    if pictures:
        boxes, scores = session.run(fed, {"pictures": shots})
        for found_boxes, found_scores, shot in zip(boxes, scores, shots):
            (expected,) = detector.detect([shot])
            best = found_scores.max()
            assert best == pytest.approx(expected.scores[0], abs=1e-2)
            x1, _, x2, _ = found_boxes[found_scores.max(1).argmax()]
            assert np.clip([x1, x2], 0, 288) == pytest.approx(expected.boxes_xyxy[0, [0, 2]], abs=3)
        return
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, 64, 96)).astype(np.float32)
    for found, expected_values in zip(session.run(fed, {"images": images}), detector.model.run(images)):
        np.testing.assert_allclose(found, expected_values, atol=1e-3)


def test_the_metadata_say_so_and_onnx_runtime_is_not_asked_to_run_it(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    assert main(["export", str(models["pt"]), "-o", str(path), "--nms", "tensorrt"]) == 0
    assert "which was not run: what comes before it was checked" in capsys.readouterr().out
    texts = {item.key: item.value for item in onnx.load(path).metadata_props}
    card = ModelCard.from_strings(texts, "m.onnx")
    assert (card.output, card.nms, card.batch) == ("nms", "tensorrt", 1)
    assert card.output_names == ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
    assert card.golden is not None
    assert len(card.golden.scores) > 5
    with pytest.raises(UserError, match=r"m\.onnx: its NMS is TensorRT's plug-in EfficientNMS_TRT"):
        load_model(path)


def test_counts_of_the_plugin_are_a_column(models: dict[str, Path]) -> None:
    """Outputs as the plug-in's documentation has them: (N, 1) int32 counts, (N, K) int32 classes."""
    nms = Detector.load(models["onnx-nms"])
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, 64, 96)).astype(np.float32)
    boxes, scores, labels, counts = nms.model.run(images)
    plugin = (boxes, scores, labels.astype(np.int32), counts.astype(np.int32)[:, None])
    for row in range(2):
        for one, other in zip(nms._selected(plugin, row), nms._selected((boxes, scores, labels, counts), row)):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nms", "tensorrt", "--raw"], "--raw leaves NMS out, --nms tensorrt says which is inside; say one of them"),
        (["--nms", "tensorrt", "--format", "openvino"], "--nms tensorrt is not for --format openvino; expected"),
        (["--nms", "plugin"], "--nms plugin: expected onnx or tensorrt"),
        (["--nms", "tensorrt", "--precision", "int8", "--data", "."], "--nms tensorrt runs nowhere here; say one"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: list[str], message: str, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = ".xml" if "openvino" in options else ".onnx"
    assert main(["export", str(models["pt"]), "-o", str(tmp_path / f"m{suffix}"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())

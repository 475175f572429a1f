"""Exports compute what torch computes, and say so themselves."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from detector.checkpoint import Checkpoint
from detector.deploy import exportable, load_model
from detector.deploy._ncnn_layers import Layers
from detector.detector import Detector
from detector.export import ExportSettings, export_checkpoint, suppression, verification
from detector.export.verification import probe_images
from detector.suppression import suppress
from search_spaces.errors import UserError
from tests.detector.deploy.conftest import CATEGORY_IDS, NAMES
from tinynas.cli import main

FORMATS = ("onnx", "openvino")


def images(batch: int = 2, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    return probe_images(batch, size)[1]


def test_formats_are_files() -> None:
    assert exportable() == ["ncnn", "onnx", "openvino", "tensorrt", "torch_export"]


@pytest.mark.parametrize("name", FORMATS)
def test_raw_outputs_are_torchs(name: str, tiny: Checkpoint, models: dict[str, Path]) -> None:
    boxes, scores = load_model(models[f"{name}-raw"]).run(images())
    with torch.inference_mode():
        expected_boxes, expected_scores = tiny.network()(torch.from_numpy(images()))
    assert boxes.shape == (2, 8 * 12 + 4 * 6 + 2 * 3, 4)
    np.testing.assert_allclose(boxes, expected_boxes.numpy(), atol=1e-3)
    np.testing.assert_allclose(scores, expected_scores.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_nms_inside_is_postprocess(name: str, models: dict[str, Path]) -> None:
    found = Detector.load(models[f"{name}-nms"]).detect_tensor(images())
    for one, boxes, scores in zip(found, *load_model(models[f"{name}-raw"]).run(images())):
        expected = suppress(boxes, scores, 0.05, 0.7, 500)
        assert 5 < len(expected[0]) < 500
        for value, wanted, tolerance in zip(one, expected, (1e-3, 1e-6, 0)):
            np.testing.assert_allclose(value, wanted, atol=tolerance)


@pytest.mark.parametrize("name", FORMATS)
def test_nms_outputs_are_padded(name: str, models: dict[str, Path]) -> None:
    boxes, scores, labels, count = load_model(models[f"{name}-nms"]).run(images())
    assert (boxes.shape, scores.shape, labels.shape, count.shape) == ((2, 500, 4), (2, 500), (2, 500), (2,))
    assert labels.dtype == count.dtype == np.int64
    for row in range(2):
        n = int(count[row])
        assert (scores[row, :n] > 0.05).all()
        assert not scores[row, n:].any()
        assert not boxes[row, n:].any()
        assert (labels[row, n:] == -1).all()


@pytest.mark.parametrize(
    ("name", "suffix", "found"),
    [("onnx", ".onnx", "nothing"), ("onnx", ".onnx", "more than fit"), ("openvino", ".xml", "nothing")],
)
def test_nms_at_its_limits(name: str, suffix: str, found: str, tiny: Checkpoint, tmp_path: Path) -> None:
    limits = (0.999999, 0.7, 10) if found == "nothing" else (0.0, 0.9, 10)
    settings = ExportSettings(
        output="nms", score_threshold=limits[0], iou_threshold=limits[1], max_detections=limits[2]
    )
    export_checkpoint(tiny, tmp_path / f"m{suffix}", name, settings)
    detector = Detector.load(tmp_path / f"m{suffix}")
    assert [len(scores) for _, scores, _ in detector.detect_tensor(images(3))] == [0 if found == "nothing" else 10] * 3


@pytest.mark.parametrize("kind", ["onnx-raw", "onnx-nms", "openvino-raw", "openvino-nms"])
def test_the_file_alone_is_enough(kind: str, models: dict[str, Path]) -> None:
    card = load_model(models[kind]).card
    assert card.class_names == NAMES
    assert card.category_ids == CATEGORY_IDS
    assert (card.image_size, card.batch, card.output) == ((64, 96), 2, kind.split("-")[1])
    assert (card.score_threshold, card.iou_threshold, card.max_detections) == (0.05, 0.7, 500)
    assert card.preprocessing["channels"] == "rgb"


def test_onnx_is_plain_and_recent(models: dict[str, Path]) -> None:
    model = onnx.load(models["onnx-nms"])
    onnx.checker.check_model(model, full_check=True)
    assert [item.name for item in model.graph.input] == ["images"]
    assert [item.name for item in model.graph.output] == ["boxes", "scores", "labels", "num_detections"]
    assert model.opset_import[0].version >= 17
    assert {item.domain for item in model.opset_import} <= {"", "ai.onnx"}
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_a_focus_stem_is_one_operator(tiny: Checkpoint, models: dict[str, Path]) -> None:
    graph = onnx.load(models["onnx-raw"]).graph
    fold, conv = graph.node[:2]
    assert (fold.op_type, list(fold.input), conv.op_type, conv.input[0]) == (
        "SpaceToDepth", ["images"], "Conv", fold.output[0],
    )  # fmt: skip
    read = {name for node in graph.node for name in node.input}
    assert {table.name for table in graph.initializer} <= read


def test_dynamic_batch_and_another_image_size(tiny: Checkpoint, tmp_path: Path) -> None:
    for name, suffix in (("onnx", ".onnx"), ("openvino", ".xml")):
        path = tmp_path / f"m{suffix}"
        export_checkpoint(tiny, path, name, ExportSettings(output="raw", image_size=(96, 32), batch=None))
        model = load_model(path)
        assert model.card.image_size == (96, 32)
        for batch in (1, 3):
            with torch.inference_mode():
                expected, _ = tiny.network()(torch.from_numpy(images(batch, (96, 32))))
            np.testing.assert_allclose(model.run(images(batch, (96, 32)))[0], expected.numpy(), atol=1e-3)


def test_half_stores_smaller_weights(tiny: Checkpoint, models: dict[str, Path], tmp_path: Path) -> None:
    export_checkpoint(tiny, tmp_path / "half.xml", "openvino", ExportSettings(output="raw", half=True))
    assert (tmp_path / "half.bin").stat().st_size < 0.7 * models["openvino-raw"].with_suffix(".bin").stat().st_size
    with pytest.raises(UserError, match="openvino"):
        export_checkpoint(tiny, tmp_path / "half.onnx", "onnx", ExportSettings(output="raw", half=True))


def test_a_wrong_export_leaves_no_file(tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shifted(verification.Verifier):
        def __init__(self, network: torch.nn.Module, *rest: object) -> None:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.add_(0.01)
            super().__init__(network, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(verification, "Verifier", Shifted)
    with pytest.raises(UserError, match="differs from torch"):
        export_checkpoint(tiny, tmp_path / "m.onnx", "onnx", ExportSettings(output="raw"))
    assert not list(tmp_path.iterdir())


def test_wrong_nms_is_noticed(tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = suppression.with_suppression
    monkeypatch.setattr(
        suppression, "with_suppression", lambda cut, card, *rest: honest(cut, replace(card, iou_threshold=0.3), *rest)
    )
    with pytest.raises(UserError, match="other detections"):
        export_checkpoint(tiny, tmp_path / "m.onnx", "onnx", ExportSettings(output="nms"))
    assert not list(tmp_path.iterdir())


def test_command(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "m.xml"
    assert main(["export", str(models["pt"]), "-o", str(out), "--raw", "--image-size", "32x64"]) == 0
    assert "largest differences" in capsys.readouterr().out
    assert sorted(path.name for path in out.parent.iterdir()) == ["m.bin", "m.xml"]
    assert load_model(out).card.image_size == (32, 64)


def test_a_golden_picture_without_detections_is_said(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.onnx"
    assert main(["export", str(models["pt"]), "-o", str(out), "--score-threshold", "1"]) == 0
    told = capsys.readouterr().out
    assert "bytes to boxes: no detections to compare" in told
    assert "--golden PICTURE takes one with objects" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "onx"], "did you mean onnx"),
        (["--format", "xyz"], "unknown export 'xyz': known: ncnn, onnx, openvino, tensorrt, torch_export"),
        (["--format", "ncnn", "--raw", "--batch", "dynamic"], "--batch dynamic is not for --format ncnn"),
        pytest.param(
            ["--format", "tensorrt"],
            "--format tensorrt needs the package tensorrt; pip install tensorrt",
            marks=pytest.mark.skipif(find_spec("tensorrt") is not None, reason="tensorrt is installed"),
        ),
        (["--max-drop", "3"], "--max-drop is for --precision int8"),
        (["--format", "openvino", "-o", "m.onnx"], "ends in .xml"),
        (["--image-size", "100"], "multiple of 32"),
        (["--batch", "zero"], "dynamic"),
        (["--half"], "openvino"),
        (["--preprocess", "0x5"], "expected any, or a camera's HxW"),
        (["--preprocess", "big"], "expected any, or a camera's HxW"),
        (["--channels", "bgr"], "goes with --preprocess"),
        (["--channels", "gbr", "--preprocess", "any"], "expected rgb or bgr"),
        (["--golden", "absent.jpg"], "absent.jpg: cannot read"),
        (["--format", "torch"], "what exports are made from"),
        (["--class-thresholds", "absent.json"], "cannot be read"),
    ],
)
def test_bad_arguments(
    arguments: list[str], message: str, models: dict[str, Path], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(models["pt"]), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_existing_output(
    tiny: Checkpoint, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.bin").write_text("mine")
    command = ["export", str(models["pt"]), "--raw", "-o", str(tmp_path / "m.xml")]
    assert main(command) == 2
    assert "m.bin: exists already" in capsys.readouterr().err
    assert (tmp_path / "m.bin").read_text() == "mine"
    assert main([*command, "--overwrite"]) == 0
    assert load_model(tmp_path / "m.xml").card.class_names == NAMES


@pytest.mark.parametrize(
    ("weight", "halved"), [([0.5, -1.0], True), ([7e4, 1.0], False), ([3e-8, -1e-8], False), ([0.0], True)]
)
def test_ncnn_keeps_weights_that_fp16_would_lose(weight: list[float], halved: bool) -> None:
    stored = Layers(half=True)._stored(np.array(weight, dtype=np.float32))
    assert len(stored) == 4 + (-(-len(weight) // 2) * 4 if halved else 4 * len(weight))

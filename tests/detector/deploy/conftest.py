"""A tiny detector that finds something on any picture, its exports, and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from detector.checkpoint import Checkpoint, save_checkpoint
from detector.export import ExportSettings, export_checkpoint, tracing
from detector.export.verification import probe_images
from detector.model_card import ModelCard
from detector.network import Network
from search_spaces.text import parse_structure

TINY = """
tinynas: 1
image_size: [64, 96]
space: res
stem: {kind: focus, out: 8, kernel: 3}
stages:
  - {in: 8, out: 8, hidden: 8, depth: 1, stride: 2, kernel: 3}
  - {in: 8, out: 16, hidden: 8, depth: 1, stride: 2, kernel: 3}
  - {in: 16, out: 16, hidden: 8, depth: 1, stride: 2, kernel: 3}
  - {in: 16, out: 16, hidden: 8, depth: 1, stride: 1, kernel: 3}
  - {in: 16, out: 24, hidden: 8, depth: 1, stride: 2, kernel: 3}
activation: relu
spp: true
reparam: true
neck:
  {kind: repgfpn, depth: 0.34, hidden_ratio: 0.5, in: [16, 16, 24], out: [16, 16, 24], activation: silu}
head: {kind: zero, reg_max: 7, kernel: 3, num_classes: 3}
"""
NAMES = ("cell", 'a "quoted" <name>', "клетка")
CATEGORY_IDS = (3, 1007, 90)


@pytest.fixture(scope="session", autouse=True)
def _trace_once() -> Iterator[None]:
    """All tests export the same network: one trace per image size and batch is enough."""
    kept, trace = {}, tracing.trace

    def remembered(network: Network, card: ModelCard) -> onnx.ModelProto:
        key = card.image_size, card.batch, card.free_size
        if key not in kept:
            kept[key] = trace(network, card)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "trace", remembered)
        yield


@pytest.fixture(scope="session")
def tiny() -> Checkpoint:
    """Random weights, with a head whose logits have a spread of 1.5."""
    torch.manual_seed(0)
    network = Network(parse_structure(TINY))
    network.eval()
    with torch.no_grad():
        for level, scale in enumerate(network.detect.scales):  # as training leaves them
            scale.fill_(0.6 + 0.5 * level)
        raw = network.forward_raw(torch.from_numpy(probe_images(4, (64, 96))[1]))
        bias = raw.cls_logits.mean()
        for name, parameter in network.named_parameters():
            if name.startswith("head.level") and name.endswith("conv.weight"):
                logits = raw.cls_logits if ".cls." in name else raw.reg_logits
                parameter.mul_(1.5 / logits.std())
            elif name.startswith("head.level") and ".cls." in name:
                parameter.fill_(-2.5 - (bias - parameter.mean()) * 1.5 / raw.cls_logits.std())
    return Checkpoint(
        structure=network.structure, class_names=NAMES, weights=network.state_dict(), category_ids=CATEGORY_IDS
    )


@pytest.fixture(scope="session")
def models(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The checkpoint and its exports: pt, onnx-raw, onnx-nms, openvino-raw, openvino-nms."""
    folder = tmp_path_factory.mktemp("models")
    files = {"pt": folder / "tiny.pt"}
    save_checkpoint(tiny, files["pt"])
    for name, suffix in (("onnx", ".onnx"), ("openvino", ".xml")):
        for output in ("raw", "nms"):
            path = files[f"{name}-{output}"] = folder / f"{output}{suffix}"
            export_checkpoint(tiny, path, name, ExportSettings(output=output, batch=2))  # type: ignore[arg-type]
    return files


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth random colours, (H, W, 3) uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder: two pictures of one name in two subfolders, a BMP, a truncated JPEG and a text file."""
    folder = tmp_path / "pictures"
    for seed, name in enumerate(("a/one.jpg", "b/one.jpg", "two.bmp", "cut.jpg")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(seed, 120, 150)[..., ::-1])
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:700])
    (folder / "notes.txt").write_text("not a picture")
    return folder

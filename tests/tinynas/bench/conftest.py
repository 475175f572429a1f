"""The tiny detector's exports of tests/detector/deploy, and a foreign model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from detector.data.sample import write_sample_data
from tests.detector.deploy.conftest import NAMES, _trace_once, models, tiny

__all__ = ["_trace_once", "data", "foreign", "models", "tiny"]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated pictures whose classes are called as the model's."""
    folder = tmp_path_factory.mktemp("data") / "set"
    write_sample_data(folder, 1, 5, (64, 96))
    for file in folder.rglob("*.json"):
        content = json.loads(file.read_text())
        for category, name in zip(content["categories"], NAMES):
            category["name"] = name
        file.write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One conv, open in batch and image size, without anything of tinynas's in it."""
    text = """
    <ir_version: 8, opset_import: ["" : 18]>
    other (float[n, 3, h, w] pixels) => (float[n, 8, hh, ww] maps)
    { maps = Conv <kernel_shape = [3, 3], strides = [2, 2]> (pixels, weight) }
    """
    model = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).random((8, 3, 3, 3), dtype=np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    path = tmp_path_factory.mktemp("foreign") / "other.onnx"
    onnx.save(model, path)
    return path

"""The lines of docs/exporting.md that run a model without tinynas, run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from detector.checkpoint import Checkpoint
from detector.export import ExportSettings, export_checkpoint
from tests.detector.deploy.conftest import picture

PAGE = Path(__file__).parents[3] / "docs" / "exporting.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
MADE = {
    "onnxruntime": ("camera.onnx", "onnx", ExportSettings(input="picture", channels="bgr")),
    "openvino": ("best.xml", "openvino", ExportSettings()),
    "ncnn": ("best.ncnn.param", "ncnn", ExportSettings(output="raw")),
    "torch": ("best.pt2", "torch_export", ExportSettings(output="raw")),
}


def test_there_is_a_block_for_each() -> None:
    assert len(BLOCKS) == len(MADE)


@pytest.mark.parametrize("runtime", MADE)
def test_the_lines_run(runtime: str, tiny: Checkpoint, tmp_path: Path) -> None:
    if importlib.util.find_spec(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    (block,) = [block for block in BLOCKS if f"import {runtime}\n" in block]
    name, format_name, settings = MADE[runtime]
    export_checkpoint(tiny, tmp_path / name, format_name, settings)
    cv2.imwrite(str(tmp_path / "photo.jpg"), picture(1, 200, 100)[..., ::-1])
    program = block.replace("*HEIGHT_WIDTH", "64, 96")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if runtime != "torch":
        assert re.search(r"\d\.\d", done.stdout)

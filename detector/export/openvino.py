"""OpenVINO files (.xml and .bin), converted from ONNX; the card is in `rt_info`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from detector.backends.xml import RT_INFO_ROOT
from detector.model_card import ModelCard

SUFFIXES = (".xml", ".bin")


def write(model: Any, card: ModelCard, path: Path, half: bool) -> None:
    """Convert an ONNX model and write it; `half` stores the weights in fp16."""
    import onnx
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        onnx.save(model, source)
        converted = openvino.convert_model(source)
        for key, text in card.to_strings().items():
            converted.set_rt_info(text, [RT_INFO_ROOT, key])
        openvino.save_model(converted, path, compress_to_fp16=half)

"""ONNX files; the card is in `metadata_props`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detector.model_card import ModelCard
from search_spaces.errors import UserError

SUFFIXES = (".onnx",)


def write(model: Any, card: ModelCard, path: Path, half: bool) -> None:
    """Write an ONNX model. Raises UserError for `half`, which onnxruntime's CPU kernels do not run well."""
    import onnx

    if half:
        raise UserError("--half is for --format openvino, which stores fp16 weights and computes in fp32; leave it out")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, card.to_strings())
    onnx.save(model, path)

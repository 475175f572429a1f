"""Network -> ONNX model with raw outputs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any

import torch

from detector.export.free_size import with_free_size
from detector.export.stem import fold_stem
from detector.model_card import ModelCard
from detector.network import Network

OPSET = 18


def trace(network: Network, card: ModelCard) -> Any:
    """The ONNX model of a network in deploy form, at the card's image size (or any, if that is free) and batch.

    Input `images` (N, 3, H, W) float32, RGB 0..255; outputs `boxes` (N, A, 4) xyxy in input pixels and `scores`
    (N, A, C) after the sigmoid, A ordered by stride, then row by row.
    """
    import onnxslim

    images = torch.zeros(card.batch or 2, 3, *card.image_size)
    free = ({0: torch.export.Dim("batch")},) if card.batch is None else None
    with _quiet():
        program = torch.onnx.export(
            network.eval(), (images,), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=["images"], output_names=["boxes", "scores"], dynamic_shapes=free,
        )  # fmt: skip
        assert program is not None
        model = onnxslim.slim(program.model_proto)
    fold_stem(model.graph)
    if card.free_size:
        model = with_free_size(model, network.detect.strides)
    model.producer_name = "tinynas"
    model.producer_version = ""
    return model


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the exporter's notes on its own deprecated parts."""
    level = logging.getLogger().manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)

"""ONNX form of the models in `_models` as ONNX Runtime's static quantisation leaves detectors: QDQ pairs.

Its own quantiser places them: activations uint8, weights int8 per out channel; decoding stays floating point. Ranges are made
up, so nothing is calibrated: they do not move latency. onnxruntime is imported inside functions only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from latency_tables.runtimes._onnx_models import OnnxWriter

QUANTISED = ("Conv", "Relu", "Sigmoid", "Mul", "Add", "Concat", "MaxPool", "Resize")
"""Ops that are quantised; `detector.quantisation` quantises the same."""
RANGE = 4.0
"""Activations lie between this and its negative, or 0 where none is negative."""


class QuantisedOnnxWriter(OnnxWriter):
    """Writes one onnx.ModelProto."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._decoding: str | None = None

    def detect(
        self, inputs: Sequence[str], maps: Sequence[tuple[int, int]], strides: Sequence[int], reg_max: int,
        num_classes: int, name: str,
    ) -> str:  # fmt: skip
        self._decoding = name
        return super().detect(inputs, maps, strides, reg_max, num_classes, name)

    def model(self, outputs: Sequence[str]) -> Any:
        model, decoding = super().model(outputs), self._decoding
        names = [node.name for node in model.graph.node]
        inside = [name for name in names if decoding and (name == decoding or name.startswith(f"{decoding}."))]
        return _quantised(model, inside)


def _quantised(model: Any, floating: Collection[str]) -> Any:
    """The model with QDQ pairs round all ops of QUANTISED but the nodes `floating`."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    positive = {"images", *(name for node in model.graph.node if node.op_type == "Relu" for name in node.output)}
    tensors = {"images", *(name for node in model.graph.node for name in node.output)}
    low, high = np.float32(-RANGE), np.float32(RANGE)
    ranges = {name: (np.float32(0) if name in positive else low, high) for name in sorted(tensors)}
    quantiser = QDQQuantizer(
        model, True, False, QuantType.QInt8, QuantType.QUInt8, TensorsData(CalibrationMethod.MinMax, ranges), [],
        list(floating), list(QUANTISED), {},
    )  # fmt: skip
    quantiser.quantize_model()
    return quantiser.model.model

"""OpenVINO form of the models in `_models` as NNCF quantises detectors: int8 weights, FakeQuantize on what ops read.

Convs, adds, concats, pooling and upsampling read quantised tensors; decoding is floating point. A tensor is quantised once,
for all its readers. Ranges are made up: they do not move latency, but whether a tensor is signed does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from latency_tables.runtimes._openvino_models import OpenVINOWriter

RANGE = 4.0
"""Activations are quantised between this and its negative, or from 0 where none is negative."""


class QuantisedOpenVINOWriter(OpenVINOWriter):
    """Writes one openvino.Model."""

    fuses_any_add = True

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._quantised: dict[str, Any] = {}

    def conv(
        self, x: Any, in_channels: int, out_channels: int, *, kernel: int, stride: int, depthwise: bool,
        activation: str | None, name: str,
    ) -> Any:  # fmt: skip
        weights, bias = self._weights.conv(in_channels, out_channels, kernel, depthwise)
        pad, steps = [kernel // 2] * 2, [stride, stride]
        make = self._ops.group_convolution if depthwise else self._ops.convolution
        node = make(self._read(x, name, in_channels if depthwise else 1), self._int8(weights, depthwise), steps, pad, pad,
                    [1, 1], name=name)  # fmt: skip
        node = self._ops.add(node, self._ops.constant(bias[None, :, None, None]), name=f"{name}.bias")
        return self._activate(node, activation, name)

    def add(self, first: Any, second: Any, activation: str | None, name: str) -> Any:
        return super().add(self._read(first, name), self._read(second, name), activation, name)

    def concat(self, inputs: Sequence[Any], name: str) -> Any:
        return super().concat([self._read(item, name) for item in inputs], name)

    def max_pool(self, x: Any, kernel: int, name: str) -> Any:
        return self._known(super().max_pool(self._read(x, name), kernel, name))

    def upsample(self, x: Any, name: str) -> Any:
        return self._known(super().upsample(self._read(x, name), name))

    def space_to_depth(self, x: Any, name: str) -> Any:
        return self._known(super().space_to_depth(self._read(x, name), name))

    def _int8(self, weights: Any, depthwise: bool) -> Any:
        """Weights as int8 with a scale per out channel."""
        scale = np.maximum(np.abs(weights).max(axis=(1, 2, 3), keepdims=True), 1e-6) / 127
        whole = np.round(weights / scale).astype(np.int8)
        if depthwise:
            whole, scale = whole[:, None], scale[:, None]
        converted = self._ops.convert(self._ops.constant(whole), "f32")
        return self._ops.multiply(converted, self._ops.constant(scale.astype(np.float32)))

    def _known(self, x: Any) -> Any:
        """What moves quantised values about leaves them quantised."""
        self._quantised[self._name(x)] = x
        return x

    def _read(self, x: Any, reader: str, channels: int = 1) -> Any:
        """A tensor quantised to 256 levels: with one range, or, as a depthwise conv alone reads it, one per channel. What
        quantises the image has its reader's name: it runs on its own, for the first kernel."""
        key = self._name(x)
        if key not in self._quantised:
            node = x.get_node() if hasattr(x, "get_node") else x
            positive = node.get_type_name() in ("Relu", "Parameter")
            shape = [1, channels, 1, 1] if channels > 1 else []
            low, high = (np.full(shape, value, np.float32) for value in _limits(positive))
            ends = [self._ops.constant(low), self._ops.constant(high)]
            name = f"{reader}.image" if x is self._image else f"{key}.quantised"
            self._quantised[key] = self._ops.fake_quantize(x, *ends, *ends, 256, name=name)
        return self._quantised[key]

    @staticmethod
    def _name(x: Any) -> str:
        node = x.get_node() if hasattr(x, "get_node") else x
        return str(node.get_friendly_name())


def _limits(positive: bool) -> tuple[float, float]:
    return (0.0, RANGE * 255 / 256) if positive else (-RANGE, RANGE * 127 / 128)

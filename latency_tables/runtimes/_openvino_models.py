"""OpenVINO form of the models in `_models`. openvino is imported inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from latency_tables.runtimes._models import RandomWeights, priors


class OpenVINOWriter:
    """Writes one openvino.Model."""

    fuses_any_add = False

    def __init__(self, seed: int = 0) -> None:
        from openvino import opset15

        self._ops = opset15
        self._weights = RandomWeights(seed)
        self._image: Any = None

    def image(self, height: int, width: int) -> Any:
        self._image = self._ops.parameter([1, 3, height, width], np.float32, name="images")
        return self._image

    def conv(
        self, x: Any, in_channels: int, out_channels: int, *, kernel: int, stride: int, depthwise: bool,
        activation: str | None, name: str,
    ) -> Any:  # fmt: skip
        weights, bias = self._weights.conv(in_channels, out_channels, kernel, depthwise)
        if depthwise:
            weights = weights[:, None]
        pad, steps = [kernel // 2] * 2, [stride, stride]
        make = self._ops.group_convolution if depthwise else self._ops.convolution
        node = make(x, self._ops.constant(weights), steps, pad, pad, [1, 1], name=name)
        node = self._ops.add(node, self._ops.constant(bias[None, :, None, None]), name=f"{name}.bias")
        return self._activate(node, activation, name)

    def add(self, first: Any, second: Any, activation: str | None, name: str) -> Any:
        return self._activate(self._ops.add(first, second, name=name), activation, name)

    def _activate(self, node: Any, activation: str | None, name: str) -> Any:
        if activation == "relu":
            return self._ops.relu(node, name=f"{name}.relu")
        return self._ops.swish(node, name=f"{name}.silu") if activation == "silu" else node

    def concat(self, inputs: Sequence[Any], name: str) -> Any:
        return self._ops.concat(list(inputs), 1, name=name)

    def max_pool(self, x: Any, kernel: int, name: str) -> Any:
        pad = [kernel // 2] * 2
        return self._ops.max_pool(x, [1, 1], [1, 1], pad, pad, [kernel, kernel], name=name).output(0)

    def upsample(self, x: Any, name: str) -> Any:
        scales, axes = self._ops.constant(np.array([2.0, 2.0], np.float32)), self._ops.constant(np.array([2, 3]))
        return self._ops.interpolate(x, scales, "nearest", "scales", axes=axes, nearest_mode="floor",
                                     coordinate_transformation_mode="asymmetric", name=name)  # fmt: skip

    def space_to_depth(self, x: Any, name: str) -> Any:
        return self._ops.space_to_depth(x, "blocks_first", 2, name=name)

    def detect(
        self, inputs: Sequence[Any], maps: Sequence[tuple[int, int]], strides: Sequence[int], reg_max: int,
        num_classes: int, name: str,
    ) -> Any:  # fmt: skip
        """Decoding as the exported detectors have it."""
        ops = self._ops

        def flat(x: Any, channels: int) -> Any:
            rows = ops.reshape(x, ops.constant(np.array([1, channels, -1])), False)
            return ops.transpose(rows, ops.constant(np.array([0, 2, 1])))

        scores = ops.concat([flat(x, num_classes) for x in inputs[0::2]], 1)
        scale = ops.constant(np.full([1, 1, 1, 1], 1.1, np.float32))
        bins = reg_max + 1
        logits = ops.concat([flat(ops.multiply(x, scale), 4 * bins) for x in inputs[1::2]], 1)
        anchors = priors(maps, strides)
        sides = ops.reshape(logits, ops.constant(np.array([1, len(anchors), 4, bins])), False)
        weighted = ops.multiply(ops.softmax(sides, 3), ops.constant(np.arange(bins, dtype=np.float32)))
        mean = ops.reduce_sum(weighted, ops.constant(np.array([3])), False)
        halves = ops.split(ops.multiply(mean, ops.constant(anchors[None, :, 2:])), ops.constant(2), 2)
        centres = ops.constant(anchors[None, :, :2])
        corners = [ops.subtract(centres, halves.output(0)), ops.add(centres, halves.output(1))]
        return ops.concat([*corners, ops.sigmoid(scores)], 2, name=name)

    def model(self, outputs: Sequence[Any]) -> Any:
        import openvino

        return openvino.Model([self._ops.result(item) for item in outputs], [self._image], "model")

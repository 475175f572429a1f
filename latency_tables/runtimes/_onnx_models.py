"""ONNX form of the models in `_models`, as a ModelProto. onnx is imported inside functions only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latency_tables.runtimes._models import RandomWeights, priors

OPSET, IR_VERSION = 17, 8
"""What TensorRT 8.5 and other runtimes of 2022 read."""


class OnnxWriter:
    """Writes one onnx.ModelProto; tensors are their names."""

    fuses_any_add = False

    def __init__(self, seed: int = 0) -> None:
        self._weights = RandomWeights(seed)
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._ranks: dict[str, int] = {}

    def image(self, height: int, width: int) -> str:
        import onnx

        shape = [1, 3, height, width]
        self._inputs.append(onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape))
        return "images"

    def conv(
        self, x: str, in_channels: int, out_channels: int, *, kernel: int, stride: int, depthwise: bool,
        activation: str | None, name: str,
    ) -> str:  # fmt: skip
        inputs = [x, *self._conv_constants(in_channels, out_channels, kernel, depthwise, name)]
        node = self._node(
            "Conv", inputs, name, kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[kernel // 2] * 4,
            group=in_channels if depthwise else 1,
        )  # fmt: skip
        return self._activate(node, activation, name)

    def _conv_constants(
        self, in_channels: int, out_channels: int, kernel: int, depthwise: bool, name: str
    ) -> tuple[str, str]:
        """Names of a conv's weights and bias."""
        weights, bias = self._weights.conv(in_channels, out_channels, kernel, depthwise)
        return self._constant(f"{name}.weight", weights), self._constant(f"{name}.bias", bias)

    def add(self, first: str, second: str, activation: str | None, name: str) -> str:
        return self._activate(self._node("Add", [first, second], name), activation, name)

    def _activate(self, x: str, activation: str | None, name: str) -> str:
        if activation == "relu":
            return self._node("Relu", [x], f"{name}.relu")
        if activation == "silu":
            return self._node("Mul", [x, self._node("Sigmoid", [x], f"{name}.sigmoid")], f"{name}.silu")
        return x

    def concat(self, inputs: Sequence[str], name: str) -> str:
        return self._node("Concat", list(inputs), name, axis=1)

    def max_pool(self, x: str, kernel: int, name: str) -> str:
        pads = [kernel // 2] * 4
        return self._node("MaxPool", [x], name, kernel_shape=[kernel, kernel], strides=[1, 1], pads=pads)

    def upsample(self, x: str, name: str) -> str:
        scales = self._constant("upsample.scales", np.array([1, 1, 2, 2], np.float32))
        return self._node("Resize", [x, "", scales], name, mode="nearest", nearest_mode="floor",
                          coordinate_transformation_mode="asymmetric")  # fmt: skip

    def space_to_depth(self, x: str, name: str) -> str:
        return self._node("SpaceToDepth", [x], name, blocksize=2)

    def detect(
        self, inputs: Sequence[str], maps: Sequence[tuple[int, int]], strides: Sequence[int], reg_max: int,
        num_classes: int, name: str,
    ) -> str:  # fmt: skip
        """Decoding as the exported detectors have it."""
        scale = self._constant(f"{name}.scale", np.full([1, 1, 1, 1], 1.1, np.float32))
        bins = reg_max + 1
        scores, logits = [], []
        for level, (cls, reg) in enumerate(zip(inputs[0::2], inputs[1::2])):
            scores.append(self._rows(cls, num_classes, f"{name}.cls{level}"))
            scaled = self._node("Mul", [reg, scale], f"{name}.scaled{level}")
            logits.append(self._rows(scaled, 4 * bins, f"{name}.reg{level}"))
        anchors = priors(maps, strides)
        joined = self._node("Concat", logits, f"{name}.logits", axis=1)
        sides = self._reshape(joined, [1, len(anchors), 4, bins], f"{name}.sides")
        share = self._node("Softmax", [sides], f"{name}.softmax", axis=3)
        steps = self._constant(f"{name}.steps", np.arange(bins, dtype=np.float32))
        axis = self._constant(f"{name}.axis", np.array([3]))
        weighted = self._node("Mul", [share, steps], f"{name}.weighted")
        mean = self._node("ReduceSum", [weighted, axis], f"{name}.mean", keepdims=0)
        distance = self._node(
            "Mul", [mean, self._constant(f"{name}.strides", anchors[None, :, 2:])], f"{name}.distance"
        )
        halves = [f"{name}.half{i}" for i in range(2)]
        parts = self._constant(f"{name}.parts", np.array([2, 2]))
        self._node("Split", [distance, parts], f"{name}.halves", halves, axis=2)
        centres = self._constant(f"{name}.centres", anchors[None, :, :2])
        low = self._node("Sub", [centres, halves[0]], f"{name}.low")
        high = self._node("Add", [centres, halves[1]], f"{name}.high")
        sure = self._node("Sigmoid", [self._node("Concat", scores, f"{name}.cls", axis=1)], f"{name}.scores")
        found = self._node("Concat", [low, high, sure], name, axis=2)
        self._ranks[found] = 3
        return found

    def model(self, outputs: Sequence[str]) -> Any:
        import onnx

        kind = onnx.TensorProto.FLOAT
        found = [onnx.helper.make_tensor_value_info(x, kind, [None] * self._ranks.get(x, 4)) for x in outputs]
        graph = onnx.helper.make_graph(self._nodes, "model", self._inputs, found, list(self._constants.values()))
        return onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="tinynas"
        )

    def _rows(self, x: str, channels: int, name: str) -> str:
        """(1, channels, height, width) -> (1, priors, channels)."""
        flat = self._reshape(x, [1, channels, -1], f"{name}.flat")
        return self._node("Transpose", [flat], f"{name}.rows", perm=[0, 2, 1])

    def _reshape(self, x: str, shape: Sequence[int], name: str) -> str:
        return self._node("Reshape", [x, self._constant(f"{name}.shape", np.array(shape))], name)

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
        import onnx

        self._constants[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _node(self, kind: str, inputs: Sequence[str], name: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        import onnx

        names = list(outputs) or [f"{name}:0"]
        self._nodes.append(onnx.helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names[0]

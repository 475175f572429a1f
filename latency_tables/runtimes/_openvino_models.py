"""Networks and single kernels as OpenVINO models with random weights, in deploy form.

openvino is imported inside functions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latency_tables.kernels import Kernel
from search_spaces.graph import Graph, Op

BASE_CHANNELS = 16


def network_model(graph: Graph, seed: int = 0) -> Any:
    """A whole detector (or a part of one) as an OpenVINO model: input `images`, one result per graph output."""
    import openvino
    from openvino import opset15 as opset

    rng = np.random.default_rng(seed)
    height, width = graph.image_size
    image = opset.parameter([1, 3, height, width], np.float32, name="images")
    nodes: list[Any] = []
    for op in graph:
        nodes.append(image if op.kind == "input" else op_node(graph, op, [nodes[i] for i in op.inputs], rng))
    names = [name for name in graph.outputs if name == "detections"] or list(graph.outputs)
    results = [result for name in names for result in nodes[graph.outputs[name]].outputs()]
    return openvino.Model([opset.result(result) for result in results], [image], "network")


def op_node(graph: Graph, op: Op, inputs: Sequence[Any], rng: np.random.Generator) -> Any:
    """The OpenVINO node (or the last of several) for one op, named after its path."""
    from openvino import opset15 as opset

    if op.kind == "conv":
        node = conv_node(
            inputs[0], int(graph.in_channels(op)), int(op.shape.channels), int(op.kernel), op.stride, op.depthwise, rng,
            op.path,
        )  # fmt: skip
        return activate(node, op.activation, op.path)
    if op.kind == "add":
        return activate(opset.add(inputs[0], inputs[1], name=op.path), op.activation, op.path)
    if op.kind == "concat":
        return opset.concat(list(inputs), 1, name=op.path)
    if op.kind == "max_pool":
        return pool_node(inputs[0], int(op.kernel), op.path)
    if op.kind == "upsample":
        return upsample_node(inputs[0], op.path)
    if op.kind == "space_to_depth":
        return opset.space_to_depth(inputs[0], "blocks_first", 2, name=op.path)
    if op.kind == "detect":
        maps = [(graph.ops[i].shape.height, graph.ops[i].shape.width) for i in op.inputs[0::2]]
        return detect_node(inputs, maps, op.strides, op.reg_max, op.num_classes, op.path)
    raise ValueError(f"no OpenVINO node for {op.kind}")


def conv_node(
    x: Any, in_channels: int, out_channels: int, kernel: int, stride: int, depthwise: bool, rng: np.random.Generator,
    name: str,
) -> Any:  # fmt: skip
    """Conv with a bias, "same" padding."""
    from openvino import opset15 as opset

    shape = [out_channels, 1, 1, kernel, kernel] if depthwise else [out_channels, in_channels, kernel, kernel]
    fan_in = kernel**2 * (1 if depthwise else in_channels)
    weights = opset.constant((rng.standard_normal(shape) * (1.4 / fan_in**0.5)).astype(np.float32))
    bias = opset.constant((rng.standard_normal([1, out_channels, 1, 1]) * 0.1).astype(np.float32))
    pad, steps = [kernel // 2] * 2, [stride, stride]
    make = opset.group_convolution if depthwise else opset.convolution
    return opset.add(make(x, weights, steps, pad, pad, [1, 1], name=name), bias, name=f"{name}.bias")


def activate(node: Any, activation: str | None, name: str) -> Any:
    from openvino import opset15 as opset

    if activation in (None, "none"):
        return node
    return opset.relu(node, name=f"{name}.relu") if activation == "relu" else opset.swish(node, name=f"{name}.silu")


def pool_node(x: Any, kernel: int, name: str) -> Any:
    from openvino import opset15 as opset

    pad = [kernel // 2] * 2
    return opset.max_pool(x, [1, 1], [1, 1], pad, pad, [kernel, kernel], name=name).output(0)


def upsample_node(x: Any, name: str) -> Any:
    from openvino import opset15 as opset

    scales, axes = opset.constant(np.array([2.0, 2.0], np.float32)), opset.constant(np.array([2, 3]))
    return opset.interpolate(x, scales, "nearest", "scales", axes=axes, coordinate_transformation_mode="asymmetric",
                             nearest_mode="floor", name=name)  # fmt: skip


def detect_node(
    inputs: Sequence[Any], maps: Sequence[tuple[int, int]], strides: Sequence[int], reg_max: int, num_classes: int,
    name: str,
) -> Any:  # fmt: skip
    """Decoding as the exported detectors have it; returns a node whose output holds boxes beside scores."""
    from openvino import opset15 as opset

    def flat(x: Any, channels: int) -> Any:
        rows = opset.reshape(x, opset.constant(np.array([1, channels, -1])), False)
        return opset.transpose(rows, opset.constant(np.array([0, 2, 1])))

    scores = opset.concat([flat(x, num_classes) for x in inputs[0::2]], 1)
    scale = opset.constant(np.full([1, 1, 1, 1], 1.1, np.float32))
    bins = 4 * (reg_max + 1)
    logits = opset.concat([flat(opset.multiply(x, scale), bins) for x in inputs[1::2]], 1)
    priors = np.concatenate([_priors(h, w, stride) for (h, w), stride in zip(maps, strides)])
    sides = opset.reshape(logits, opset.constant(np.array([1, len(priors), 4, reg_max + 1])), False)
    weighted = opset.multiply(opset.softmax(sides, 3), opset.constant(np.arange(reg_max + 1, dtype=np.float32)))
    distance = opset.multiply(
        opset.reduce_sum(weighted, opset.constant(np.array([3])), False), opset.constant(priors[None, :, 2:])
    )
    halves = opset.split(distance, opset.constant(2), 2)
    centres = opset.constant(priors[None, :, :2])
    corners = [opset.subtract(centres, halves.output(0)), opset.add(centres, halves.output(1))]
    return opset.concat([*corners, opset.sigmoid(scores)], 2, name=name)


def _priors(height: int, width: int, stride: int) -> npt.NDArray[np.float32]:
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return (np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) * stride).astype(np.float32)


def kernels_model(kernels: Sequence[Kernel], seed: int = 0) -> Any:
    """Kernels of one input size, each between two thin 1x1 convs that give it the layout and the warm input it has in a
    network; kernel number i is the node `target{i}`."""
    import openvino
    from openvino import opset15 as opset

    rng = np.random.default_rng(seed)
    height, width = kernels[0].height, kernels[0].width
    image = opset.parameter([1, 3, height, width], np.float32, name="image")
    base = conv_node(image, 3, BASE_CHANNELS, 1, 1, False, rng, "pre")
    results = []
    for index, kernel in enumerate(kernels):
        node = _target(kernel, base, rng, f"target{index}")
        after = conv_node(node, int(kernel.out_channels), 8, 1, 1, False, rng, f"pre.after{index}")
        results.append(opset.result(after))
    return openvino.Model(results, [image], "kernels")


def stem_model(kernel: Kernel, seed: int = 0) -> Any:
    """A stem conv (`target0`) on the image or on its space-to-depth, or a space-to-depth alone (`target0`)."""
    import openvino
    from openvino import opset15 as opset

    rng = np.random.default_rng(seed)
    fold = kernel.kind == "stem" and kernel.in_channels == 12
    scale = 2 if fold else 1
    image = opset.parameter([1, 3, kernel.height * scale, kernel.width * scale], np.float32, name="image")
    if kernel.kind == "space_to_depth":
        node = opset.space_to_depth(image, "blocks_first", 2, name="target0")
    else:
        x = opset.space_to_depth(image, "blocks_first", 2, name="fold") if fold else image
        node = conv_node(x, int(kernel.in_channels), int(kernel.out_channels), int(kernel.kernel), kernel.stride, False,
                         rng, "target0")  # fmt: skip
        node = activate(node, kernel.activation, "target0")
    after = conv_node(node, int(kernel.out_channels), 8, 1, 1, False, rng, "pre.after0")
    return openvino.Model([opset.result(after)], [image], "stem")


def detect_model(kernel: Kernel, seed: int = 0) -> Any:
    """Decoding of three levels behind 1x1 convs; `kernel.height` = 21 x (side of the coarsest level)^2 priors."""
    import openvino
    from openvino import opset15 as opset

    rng = np.random.default_rng(seed)
    side = round((kernel.height / 21) ** 0.5)
    bins, classes = int(kernel.in_channels), int(kernel.out_channels)
    image = opset.parameter([1, 3, 4 * side, 4 * side], np.float32, name="image")
    x = conv_node(image, 3, BASE_CHANNELS, 1, 1, False, rng, "pre")
    maps, inputs = [], []
    for level in range(3):
        if level:
            x = conv_node(x, BASE_CHANNELS, BASE_CHANNELS, 1, 2, False, rng, f"pre.down{level}")
        inputs.append(conv_node(x, BASE_CHANNELS, classes, 1, 1, False, rng, f"pre.cls{level}"))
        inputs.append(conv_node(x, BASE_CHANNELS, bins, 1, 1, False, rng, f"pre.reg{level}"))
        maps.append((4 * side >> level, 4 * side >> level))
    node = detect_node(inputs, maps, (8, 16, 32), bins // 4 - 1, classes, "target0")
    return openvino.Model([opset.result(node)], [image], "detect")


def _target(kernel: Kernel, base: Any, rng: np.random.Generator, name: str) -> Any:
    from openvino import opset15 as opset

    inputs, outputs = int(kernel.in_channels), int(kernel.out_channels)

    def before(channels: int, label: str, activation: str = "none") -> Any:
        label = f"pre.{label}.{name}"
        return activate(conv_node(base, BASE_CHANNELS, channels, 1, 1, False, rng, label), activation, label)

    if kernel.kind in ("conv", "depthwise"):
        # An activation before an add keeps the runtime from fusing the add into that side.
        other = before(outputs, "other", "relu") if kernel.fused_add else None
        node = conv_node(before(inputs, "in"), inputs, outputs, int(kernel.kernel), kernel.stride,
                         kernel.kind == "depthwise", rng, name)  # fmt: skip
        if other is not None:
            node = opset.add(other, node, name=f"{name}.add")
        return activate(node, kernel.activation, name)
    if kernel.kind == "add":
        return opset.add(before(inputs, "other", "relu"), before(inputs, "in", "relu"), name=name)
    if kernel.kind == "concat":
        first = inputs // 2
        return opset.concat([before(first, "in"), before(inputs - first, "other")], 1, name=name)
    if kernel.kind == "max_pool":
        return pool_node(before(inputs, "in"), int(kernel.kernel), name)
    if kernel.kind == "upsample":
        return upsample_node(before(inputs, "in"), name)
    raise ValueError(f"no model for a single {kernel.kind}")

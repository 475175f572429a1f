"""Networks and measuring models, said once for every runtime; a `Writer` puts them into a runtime's own form.

All are in deploy form with random weights. Measured nodes are named `target{i}`, their surroundings `pre...`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from latency_tables.kernels import Kernel
from search_spaces.graph import Graph, Op

BASE_CHANNELS = 16
ALONE = ("stem", "space_to_depth", "detect", "reordered_concat")
"""Kinds that need a model of their own."""


class Writer(Protocol):
    """Builds one model of a runtime; tensors are whatever the runtime has for them (NCHW, batch 1).

    `fuses_any_add`: the runtime's convs take over adds behind an activation, too.
    """

    fuses_any_add: bool

    def image(self, height: int, width: int) -> Any:
        """The model's input, 3 channels."""

    def conv(
        self, x: Any, in_channels: int, out_channels: int, *, kernel: int, stride: int, depthwise: bool,
        activation: str | None, name: str,
    ) -> Any:  # fmt: skip
        """Conv with a bias, "same" padding, and an activation."""

    def add(self, first: Any, second: Any, activation: str | None, name: str) -> Any:
        """Sum of two tensors, and an activation."""

    def concat(self, inputs: Sequence[Any], name: str) -> Any:
        """Channels side by side."""

    def max_pool(self, x: Any, kernel: int, name: str) -> Any:
        """Max-pool of stride 1, same size."""

    def upsample(self, x: Any, name: str) -> Any:
        """Nearest neighbour, x2."""

    def space_to_depth(self, x: Any, name: str) -> Any:
        """Blocks of 2x2 pixels into channels."""

    def detect(
        self, inputs: Sequence[Any], maps: Sequence[tuple[int, int]], strides: Sequence[int], reg_max: int,
        num_classes: int, name: str,
    ) -> Any:  # fmt: skip
        """Boxes beside scores, of (cls, reg) logits per level with maps (height, width)."""

    def model(self, outputs: Sequence[Any]) -> Any:
        """The finished model."""


class RandomWeights:
    """Random conv weights that keep activations in range: no overflow and no denormals, which move latency."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def conv(
        self, in_channels: int, out_channels: int, kernel: int, depthwise: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Weights (out, in or 1, k, k) and bias (out,)."""
        shape = (out_channels, 1 if depthwise else in_channels, kernel, kernel)
        scale = 1.4 / float(np.prod(shape[1:])) ** 0.5
        weights = (self._rng.standard_normal(shape) * scale).astype(np.float32)
        return weights, (self._rng.standard_normal(out_channels) * 0.1).astype(np.float32)


def write_network(graph: Graph, writer: Writer) -> Any:
    """A whole detector (or a part of one): input `images`, one output per graph output."""
    nodes: list[Any] = []
    for op in graph:
        nodes.append(writer.image(*graph.image_size) if op.kind == "input" else _write(graph, op, nodes, writer))
    names = [name for name in graph.outputs if name == "detections"] or list(graph.outputs)
    return writer.model([nodes[graph.outputs[name]] for name in names])


def _write(graph: Graph, op: Op, nodes: Sequence[Any], writer: Writer) -> Any:
    inputs = [nodes[i] for i in op.inputs]
    if op.kind == "conv":
        return writer.conv(
            inputs[0], int(graph.in_channels(op)), int(op.shape.channels), kernel=int(op.kernel), stride=op.stride,
            depthwise=op.depthwise, activation=op.activation, name=op.path,
        )  # fmt: skip
    if op.kind == "add":
        return writer.add(inputs[0], inputs[1], op.activation, op.path)
    if op.kind == "concat":
        return writer.concat(inputs, op.path)
    if op.kind == "max_pool":
        return writer.max_pool(inputs[0], int(op.kernel), op.path)
    if op.kind == "upsample":
        return writer.upsample(inputs[0], op.path)
    if op.kind == "space_to_depth":
        return writer.space_to_depth(inputs[0], op.path)
    if op.kind == "detect":
        maps = [(graph.ops[i].shape.height, graph.ops[i].shape.width) for i in op.inputs[0::2]]
        return writer.detect(inputs, maps, op.strides, op.reg_max, op.num_classes, op.path)
    raise ValueError(f"no node for {op.kind}")


def batches(kernels: Sequence[Kernel], size: int = 16) -> list[list[Kernel]]:
    """Kernels that share a model: the same input size; stems and decoding alone."""
    together: dict[tuple[int, int], list[Kernel]] = {}
    alone = []
    for kernel in kernels:
        if kernel.kind in ALONE:
            alone.append([kernel])
        else:
            together.setdefault((kernel.height, kernel.width), []).append(kernel)
    return alone + [group[start : start + size] for group in together.values() for start in range(0, len(group), size)]


def _around(writer: Writer, node: Any, inputs: int, outputs: int, name: str, stride: int = 1) -> Any:
    """A plain 1x1 conv from `inputs` to `outputs` channels, without an activation: it gives the kernels that are measured
    something to read, or reads them so that they are not left out; its own time does not count."""
    return writer.conv(node, inputs, outputs, kernel=1, stride=stride, depthwise=False, activation=None, name=name)


def write_batch(kernels: Sequence[Kernel], writer: Writer) -> Any:
    """The model that measures one of `batches`; kernel number i is the node `target{i}`. All of them read one feature map of
    BASE_CHANNELS, which a conv makes of the image, and each is read by a conv to 8 channels."""
    kind = kernels[0].kind
    if kind == "detect":
        return _write_detect(kernels[0], writer)
    if kind in ("stem", "space_to_depth"):
        return _write_stem(kernels[0], writer)
    base = _around(writer, writer.image(kernels[0].height, kernels[0].width), 3, BASE_CHANNELS, "pre")
    outputs = []
    for index, kernel in enumerate(kernels):
        node = _write_target(kernel, base, writer, f"target{index}")
        outputs.append(_around(writer, node, int(kernel.out_channels), 8, f"pre.after{index}"))
    return writer.model(outputs)


def _write_stem(kernel: Kernel, writer: Writer) -> Any:
    fold = kernel.kind == "stem" and kernel.in_channels == 12
    scale = 2 if fold else 1
    image = writer.image(kernel.height * scale, kernel.width * scale)
    if kernel.kind == "space_to_depth":
        node = writer.space_to_depth(image, "target0")
    else:
        node = writer.conv(
            writer.space_to_depth(image, "fold") if fold else image, int(kernel.in_channels), int(kernel.out_channels),
            kernel=int(kernel.kernel), stride=kernel.stride, depthwise=False, activation=activation_of(kernel),
            name="target0",
        )  # fmt: skip
    return writer.model([_around(writer, node, int(kernel.out_channels), 8, "pre.after0")])


def detect_maps(priors: int) -> list[tuple[int, int]]:
    """Maps (height, width) of three levels with so many priors in all, as near to squares as there are.

    `priors` = 21 x elements of the coarsest level.
    """
    elements = priors // 21
    height = next(side for side in range(math.isqrt(elements), 0, -1) if elements % side == 0)
    return [(height << level, elements // height << level) for level in (2, 1, 0)]


def _write_detect(kernel: Kernel, writer: Writer) -> Any:
    """Three levels behind 1x1 convs."""
    maps = detect_maps(kernel.height)
    bins, classes = int(kernel.in_channels), int(kernel.out_channels)
    x = _around(writer, writer.image(*maps[0]), 3, BASE_CHANNELS, "pre")
    inputs = []
    for level in range(3):
        if level:
            x = _around(writer, x, BASE_CHANNELS, BASE_CHANNELS, f"pre.down{level}", stride=2)
        inputs.append(_around(writer, x, BASE_CHANNELS, classes, f"pre.cls{level}"))
        inputs.append(_around(writer, x, BASE_CHANNELS, bins, f"pre.reg{level}"))
    return writer.model([writer.detect(inputs, maps, (8, 16, 32), bins // 4 - 1, classes, "target0")])


def activation_of(kernel: Kernel) -> str | None:
    """What to measure a kernel with: where any activation costs the same, ReLU."""
    return {"any": "relu", "none": None}.get(kernel.activation, kernel.activation)


def _write_target(kernel: Kernel, base: Any, writer: Writer, name: str) -> Any:
    inputs, outputs = int(kernel.in_channels), int(kernel.out_channels)

    def before(channels: int, label: str, activation: str | None = None) -> Any:
        return writer.conv(
            base,
            BASE_CHANNELS,
            channels,
            kernel=1,
            stride=1,
            depthwise=False,
            activation=activation,
            name=f"pre.{label}.{name}",
        )

    def operand(label: str) -> Any:
        """What an add reads from where the add cannot be fused: a conv with an activation, or else pooling."""
        found = before(outputs, label, "relu")
        return writer.max_pool(found, 3, f"pre.pool.{label}.{name}") if writer.fuses_any_add else found

    if kernel.kind in ("conv", "depthwise"):
        depthwise = kernel.kind == "depthwise"
        other = operand("other") if kernel.fused_add else None
        # Its input comes, as in a network, from a conv that read a tensor as large: large ones are not in the caches whole.
        source = writer.conv(
            before(inputs, "in"),
            inputs,
            inputs,
            kernel=1,
            stride=1,
            depthwise=True,
            activation=None,
            name=f"pre.wide.{name}",
        )
        size, own = int(kernel.kernel), None if kernel.fused_add else activation_of(kernel)
        node = writer.conv(
            source, inputs, outputs, kernel=size, stride=kernel.stride, depthwise=depthwise, activation=own, name=name
        )
        return node if other is None else writer.add(other, node, activation_of(kernel), f"{name}.add")
    if kernel.kind == "add":
        return writer.add(operand("other"), operand("in"), activation_of(kernel), name)
    if kernel.kind in ("concat", "reordered_concat"):
        first = inputs // 2 + (4 if kernel.kind == "reordered_concat" else 0)
        return writer.concat([before(first, "in"), before(inputs - first, "other")], name)
    if kernel.kind == "max_pool":
        return writer.max_pool(before(inputs, "in"), int(kernel.kernel), name)
    if kernel.kind == "upsample":
        return writer.upsample(before(inputs, "in"), name)
    raise ValueError(f"no model for a single {kernel.kind}")


def priors(maps: Sequence[tuple[int, int]], strides: Sequence[int]) -> npt.NDArray[np.float32]:
    """(N, 3): x, y and stride of every prior, in pixels, level after level."""
    found = []
    for (height, width), stride in zip(maps, strides):
        y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        found.append(np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) * stride)
    return np.concatenate(found).astype(np.float32)

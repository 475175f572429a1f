"""The deploy form of a graph as ncnn's layers: an interpreter of the same graph that torch, tables and scores read.

ncnn's own converters come with a compiler of 85 MB, and lose the sum over the box distribution. A network here is convs,
sums, concatenations, pools and nearest upsampling, for which ncnn has a layer each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.network import Network
from detector.units import ConvUnit
from search_spaces.graph import Graph, Op

MAGIC = "7767517"
_HALF_FLAG = 0x01306B47
_HALF_STEP = 2.0**-10
"""Of a layer's largest weight: what fp16 may move one by."""
_PARITIES = (0, 2, 1, 3)
"""Ours are (row, column) 00, 10, 01, 11; ncnn's Reorg counts 00, 01, 10, 11."""

Values = npt.NDArray[np.float32]


@dataclass(slots=True)
class Layers:
    """Lines of a .param file and the bytes of its .bin. half: conv weights in fp16."""

    half: bool
    lines: list[str] = field(default_factory=list)
    weights: list[bytes] = field(default_factory=list)
    blobs: int = 0

    def add(self, kind: str, name: str, inputs: Sequence[str], outputs: Sequence[str], *parameters: str) -> str:
        """A layer; its first output."""
        names = " ".join([*inputs, *outputs])
        self.lines.append(" ".join([f"{kind:24} {name:32} {len(inputs)} {len(outputs)} {names}", *parameters]))
        self.blobs += len(outputs)
        return outputs[0]

    def conv(self, name: str, x: str, weight: Values, bias: Values, stride: int = 1, groups: int = 1) -> str:
        """A conv that keeps the size but for its stride."""
        out, _, kernel, _ = weight.shape
        kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
        more = [] if groups == 1 else [f"7={groups}"]
        pad = kernel // 2
        found = self.add(
            kind,
            name,
            [x],
            [name],
            f"0={out}",
            f"1={kernel}",
            f"3={stride}",
            f"4={pad}",
            "5=1",
            f"6={weight.size}",
            *more,
        )
        self.weights += [self._stored(weight), bias.astype("<f4").tobytes()]
        return found

    def constant(self, name: str, values: Values) -> str:
        """A matrix (height, width)."""
        height, width = values.shape
        self.weights.append(values.astype("<f4").tobytes())
        return self.add("MemoryData", name, [], [name], f"0={width}", f"1={height}")

    def param_text(self) -> str:
        """The .param file."""
        return "\n".join([MAGIC, f"{len(self.lines)} {self.blobs}", *self.lines]) + "\n"

    def _stored(self, weight: Values) -> bytes:
        with np.errstate(over="ignore"):
            half = weight.astype("<f2")
        # beyond fp16's range, or so small that little of its precision is left: as it is
        if not self.half or np.abs(half - weight).max(initial=0) > _HALF_STEP * np.abs(weight).max(initial=0):
            return np.uint32(0).tobytes() + weight.astype("<f4").tobytes()
        data = half.tobytes()
        return np.uint32(_HALF_FLAG).tobytes() + data + b"\0" * (-len(data) % 4)


def layers_of(network: Network, graph: Graph, half: bool) -> Layers:
    """The layers of a network in deploy form at the graph's image size.

    Input `images` (3, H, W); outputs `boxes` (A, 4) xyxy in input pixels and `scores` (A, C).
    """
    made = Layers(half)
    copies: dict[int, list[str]] = {}
    for index, op in enumerate(graph):
        inputs = [copies[source].pop() for source in op.inputs]
        if op.kind == "detect":
            _detect(made, network, op, inputs, graph.image_size)
            return made
        name = _op(made, network, graph, op, inputs)
        users = sum(other.inputs.count(index) for other in graph.ops)
        copies[index] = [name] if users < 2 else _split(made, name, users)
    raise AssertionError("a detector's graph ends with its detect op")


def _op(made: Layers, network: Network, graph: Graph, op: Op, inputs: list[str]) -> str:
    name = op.path
    match op.kind:
        case "input":
            height, width = graph.image_size
            return made.add("Input", "images", [], ["images"], f"0={width}", f"1={height}", "2=3")
        case "conv":
            return _conv(made, network, graph, op, inputs[0])
        case "space_to_depth":
            return made.add("Reorg", name, inputs, [name], "0=2", "1=1")
        case "add":
            return _activated(made, op, made.add("BinaryOp", name, inputs, [name], "0=0"))
        case "concat":
            return made.add("Concat", name, inputs, [name], "0=0")
        case "max_pool":
            kernel = int(op.kernel)
            return made.add("Pooling", name, inputs, [name], "0=0", f"1={kernel}", "2=1", f"3={kernel // 2}", "5=1")
        case "upsample":
            return made.add("Interp", name, inputs, [name], "0=1", "1=2.0", "2=2.0")
    raise ValueError(f"no ncnn layer for {op.kind}")


def _conv(made: Layers, network: Network, graph: Graph, op: Op, x: str) -> str:
    unit = network.get_submodule(op.path)
    assert isinstance(unit, ConvUnit)
    assert unit.conv.bias is not None
    weight: Values = unit.conv.weight.detach().numpy()
    if graph.ops[op.inputs[0]].kind == "space_to_depth":
        parts = weight.reshape(len(weight), 4, -1, *weight.shape[2:])
        weight = np.ascontiguousarray(parts[:, _PARITIES]).reshape(weight.shape)
    found = made.conv(op.path, x, weight, unit.conv.bias.detach().numpy(), op.stride, unit.conv.groups)
    return _activated(made, op, found)


def _activated(made: Layers, op: Op, x: str) -> str:
    if op.activation is None:
        return x
    kind = {"relu": "ReLU", "silu": "Swish"}[op.activation]
    return made.add(kind, f"{op.path}.act", [x], [f"{op.path}.act"])


def _split(made: Layers, name: str, users: int) -> list[str]:
    outputs = [f"{name}.{number}" for number in range(users)]
    made.add("Split", f"{name}.split", [name], outputs)
    return outputs


def _detect(made: Layers, network: Network, op: Op, maps: list[str], image_size: tuple[int, int]) -> None:
    """Levels side by side as columns; then the expectation over the bins as a 1x1 conv, distances, boxes."""
    bins, detect = op.reg_max + 1, network.detect
    flat: dict[str, list[str]] = {"cls": [], "reg": []}
    for place, name in enumerate(maps):
        task, rows = ("cls", op.num_classes) if place % 2 == 0 else ("reg", 4 * bins)
        shaped = f"head.{task}{place // 2}"
        flat[task].append(made.add("Reshape", shaped, [name], [shaped], "0=-1", f"1={rows}"))
    scores = made.add("Concat", "head.scores", flat["cls"], ["head.scores"], "0=1")
    scores = made.add("Sigmoid", "head.sigmoid", [scores], ["head.sigmoid"])
    made.add("Permute", "scores", [scores], ["scores"], "0=1")
    reg = made.add("Concat", "head.reg", flat["reg"], ["head.reg"], "0=1")
    reg = made.add("Reshape", "head.sides", [reg], ["head.sides"], "0=-1", f"1={bins}", "2=4")
    reg = made.add("Permute", "head.bins", [reg], ["head.bins"], "0=2")
    reg = made.add("Softmax", "head.softmax", [reg], ["head.softmax"], "0=0", "1=1")
    # bins up to 16 are exact in fp16, too
    expected = np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1)
    reg = made.conv("head.expectation", reg, expected, np.zeros(1, dtype=np.float32))
    reg = made.add("Reshape", "head.distances", [reg], ["head.distances"], "0=-1", "1=4")
    height, width = image_size
    priors = _priors(detect, height, width)
    strides = made.constant("head.strides", np.repeat(priors[None, :, 2], 4, axis=0))
    reg = made.add("BinaryOp", "head.pixels", [reg, strides], ["head.pixels"], "0=2")
    made.add("Slice", "head.slice", [reg], ["head.before", "head.after"], "-23300=2,-233,-233", "1=0")
    points = made.constant("head.points", np.ascontiguousarray(priors[:, :2].T))
    first, second = _split(made, points, 2)
    low = made.add("BinaryOp", "head.low", [first, "head.before"], ["head.low"], "0=1")
    high = made.add("BinaryOp", "head.high", [second, "head.after"], ["head.high"], "0=0")
    boxes = made.add("Concat", "head.boxes", [low, high], ["head.boxes"], "0=0")
    made.add("Permute", "boxes", [boxes], ["boxes"], "0=1")


def _priors(detect: Any, height: int, width: int) -> Values:
    from detector.priors import priors

    found: Values = priors((height, width), detect.strides).numpy()
    return found

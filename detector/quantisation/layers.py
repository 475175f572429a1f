"""Which nodes of an exported ONNX model are its network, and to which layer each belongs.

A layer is a block of the structure: `backbone.stage3.block1`, `neck.top_down1.block2`, `head.cls0`. Its name is taken from
the convs' weights, which an export names after their place in the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.errors import UserError

DEPTH = 3
"""Parts of a weight's name that name its layer."""


@dataclass(frozen=True, slots=True)
class Layers:
    """`network`: names of the nodes that lead to a conv, or are one; what comes after the last convs decodes boxes.

    `of`: layer -> the names of its nodes: its convs, and what follows them up to the next convs.
    """

    network: tuple[str, ...]
    of: dict[str, tuple[str, ...]]

    def nodes(self, layers: set[str] | frozenset[str]) -> list[str]:
        """The nodes of some layers."""
        return [node for layer, nodes in self.of.items() if layer in layers for node in nodes]


def find_layers(model: Any, path: Path) -> Layers:
    """The layers of an ONNX model. Raises UserError when it has no conv whose weights are named (not our export)."""
    convs = {node.name: node for node in model.graph.node if node.op_type == "Conv"}
    stored = {tensor.name for tensor in model.graph.initializer}
    layers = {name: _layer(node.input[1]) for name, node in convs.items() if node.input[1] in stored}
    if not layers or len(layers) < len(convs):
        raise UserError(f"{path}: its convs have no weights of their own (an int8 model?); expected a fp32 export")
    leading = _leading_to(model, set(convs))
    producer = {output: node.name for node in model.graph.node for output in node.output}
    owner: dict[str, str] = {}
    for node in model.graph.node:
        if node.name in layers:
            owner[node.name] = layers[node.name]
            continue
        sources = [owner[producer[name]] for name in node.input if producer.get(name) in owner]
        if sources and node.name in leading:
            owner[node.name] = sources[-1]
    found: dict[str, list[str]] = {}
    for name, layer in owner.items():
        found.setdefault(layer, []).append(name)
    return Layers(tuple(leading), {layer: tuple(nodes) for layer, nodes in found.items()})


def _layer(weight: str) -> str:
    """`raw_backbone.stage3.block1.conv2.conv.weight` -> `backbone.stage3.block1`."""
    words = weight.removeprefix("raw_").split(".")
    inner = [word for word in words if word not in ("conv", "weight")]
    return ".".join(inner[:DEPTH])


def _leading_to(model: Any, convs: set[str]) -> list[str]:
    """Nodes with a conv at or behind them, in order."""
    needed: set[str] = set()
    leading = []
    for node in reversed(model.graph.node):
        if node.name in convs or any(output in needed for output in node.output):
            needed.update(node.input)
            leading.append(node.name)
    return leading[::-1]

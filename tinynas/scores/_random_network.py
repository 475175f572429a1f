"""A backbone with Gaussian weights, run along its main branch: what the scores by forward passes have in common.

Shortcuts are left out: an `add` passes its second input on. A re-parameterised conv is its one k x k conv. torch is
imported when first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from search_spaces.graph import Graph, Op

if TYPE_CHECKING:
    from torch import Generator, Tensor

DEEPEST = "tap3"


def run_main_branch(
    graph: Graph, images: Tensor, conv: Callable[[Op, Tensor], Tensor], *, activations: bool = True
) -> Tensor:
    """The deepest tap (B, C, h, w) of one backbone for images (B, 3, H, W). `conv` computes a conv op up to its
    activation, with whatever norm it wants; ops off the main branch are not run."""
    import torch
    from torch.nn import functional as F

    def activated(op: Op, x: Tensor) -> Tensor:
        return _activated(op, x) if activations else x

    values: dict[int, Tensor] = {}
    for index in _main_branch(graph):
        op = graph.ops[index]
        inputs = [values[source] for source in op.main_inputs]
        match op.kind:
            case "input":
                values[index] = images
            case "conv":
                values[index] = activated(op, conv(op, inputs[0]))
            case "add":
                values[index] = activated(op, inputs[0])
            case "concat":
                values[index] = torch.cat(inputs, 1)
            case "max_pool":
                values[index] = F.max_pool2d(inputs[0], int(op.kernel), stride=1, padding=int(op.kernel) // 2)
            case "space_to_depth":
                values[index] = F.pixel_unshuffle(inputs[0], 2)
            case _:
                raise ValueError(f"{op.path}: a backbone has no {op.kind}")
    return values[graph.outputs[DEEPEST]]


def gaussian_conv(op: Op, x: Tensor, generator: Generator) -> Tensor:
    """The conv with weights from N(0, 1), without a bias; "same" padding with zeros."""
    import torch
    from torch.nn import functional as F

    kernel, groups = int(op.kernel), x.shape[1] if op.depthwise else 1
    weight = torch.randn(int(op.shape.channels), x.shape[1] // groups, kernel, kernel, generator=generator)
    return F.conv2d(x, weight, stride=op.stride, padding=kernel // 2, groups=groups)


def _activated(op: Op, x: Tensor) -> Tensor:
    from torch.nn import functional as F

    match op.activation:
        case None:
            return x
        case "relu":
            return F.relu(x)
        case "silu":
            return F.silu(x)
    raise ValueError(f"{op.path}: no activation named {op.activation}")


def _main_branch(graph: Graph) -> list[int]:
    """Indices of the ops that the deepest tap depends on, in order, when shortcuts are left out."""
    needed, pending = set(), [graph.outputs[DEEPEST]]
    while pending:
        index = pending.pop()
        if index not in needed:
            needed.add(index)
            pending += graph.ops[index].main_inputs
    return sorted(needed)

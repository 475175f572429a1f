"""CSP-Darknet stage, the hand-designed baseline of the report's tables 1 and 2.

A stage is a stride-2 3x3 conv, [SPP], then a cross-stage-partial layer: two 1x1 convs to the hidden width, one of them
through `depth` bottlenecks (1x1, k x k, plus the input), both joined and closed by a 1x1 conv. The hidden width is
half the output's in the usual networks. The last stage's bottlenecks have no shortcut. The stage at stride 1 adds its
bottlenecks to the layer before it when both have the same widths; otherwise it is a layer of its own.
"""

from __future__ import annotations

from search_spaces.blocks import emit_spp
from search_spaces.blocks.csp import shares_wrapper
from search_spaces.builder import Builder, Tensor
from search_spaces.graph import Dim
from search_spaces.structure import Backbone, Stage


def emit_stages(b: Builder, x: Tensor, backbone: Backbone) -> list[Tensor]:
    """Output of every stage, given the stem's output. A stage that shares a layer has that layer's output.

    Raises ValueError for a population in which only some candidates share.
    """
    outputs: list[Tensor] = []
    stages = backbone.stages
    for number, stage in enumerate(stages, start=1):
        if not shares_wrapper(stages, number - 1):
            shares_next = number < len(stages) and shares_wrapper(stages, number)
            depth = stage.depth + (stages[number].depth if shares_next else 0)
            with b.stage(number, stage.stride):
                x = _emit_stage(b, x, stage, depth, backbone, last=number == len(stages))
        outputs.append(x)
    return outputs


def _emit_stage(b: Builder, x: Tensor, stage: Stage, depth: Dim, backbone: Backbone, last: bool) -> Tensor:
    out, hidden, activation = stage.out_channels, stage.hidden_channels, backbone.activation
    if stage.stride == 2:
        x = b.conv("down", x, out, kernel=3, stride=2, activation=activation, scored=True)
    if last and backbone.spp:
        x = emit_spp(b, x)
    shortcut = b.conv("shortcut", x, hidden, activation=activation)
    y = b.conv("start", x, hidden, activation=activation)
    y = b.repeat("block", depth, y, lambda tensor: _emit_bottleneck(b, tensor, stage, backbone, not last))
    return b.conv("fuse", b.concat("concat", [y, shortcut]), out, activation=activation)


def _emit_bottleneck(b: Builder, x: Tensor, stage: Stage, backbone: Backbone, shortcut: bool) -> Tensor:
    y = b.conv("conv1", x, x.channels, activation=backbone.activation, scored=True)
    y = b.conv(
        "conv2",
        y,
        x.channels,
        kernel=stage.kernel,
        activation=backbone.activation,
        reparam=backbone.reparam,
        scored=True,
    )
    return b.add("add", x, y) if shortcut else y

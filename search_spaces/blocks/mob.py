"""Mob block: 1x1 conv to the expansion, k x k depthwise conv, 1x1 conv to out (report, figure 2a; no squeeze-excite)."""

from __future__ import annotations

from search_spaces.blocks import chain_stages
from search_spaces.builder import Builder, Tensor
from search_spaces.graph import Dim
from search_spaces.structure import Backbone, Stage


def emit_stages(b: Builder, x: Tensor, backbone: Backbone) -> list[Tensor]:
    """Output of every stage, given the stem's output."""
    return chain_stages(b, x, backbone, _emit_block)


def _emit_block(b: Builder, x: Tensor, stage: Stage, stride: int, backbone: Backbone) -> Tensor:
    y = emit_inverted_bottleneck(
        b, x, stage.out_channels, stage.hidden_channels, stage.kernel, stride, backbone.activation, scored=True
    )
    return b.add("add", x, y, when=(x.channels == stage.out_channels) & (stride == 1))


def emit_inverted_bottleneck(
    b: Builder, x: Tensor, out: Dim, expansion: Dim, kernel: Dim, stride: int, activation: str, scored: bool = False
) -> Tensor:
    """The three convs of a mob block, without its shortcut."""
    y = b.conv("conv1", x, expansion, activation=activation, scored=scored)
    y = b.conv(
        "conv2", y, expansion, kernel=kernel, stride=stride, depthwise=True, activation=activation, scored=scored
    )
    return b.conv("conv3", y, out, scored=scored)

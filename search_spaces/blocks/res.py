"""Res block (K1KX): 1x1 conv to hidden, re-parameterised k x k conv to out, shortcut at stride 1 (report, figure 2b)."""

from __future__ import annotations

from search_spaces.blocks import chain_stages
from search_spaces.builder import Builder, Tensor
from search_spaces.structure import Backbone, Stage


def emit_stages(b: Builder, x: Tensor, backbone: Backbone) -> list[Tensor]:
    """Output of every stage, given the stem's output."""
    return chain_stages(b, x, backbone, _emit_block)


def _emit_block(b: Builder, x: Tensor, stage: Stage, stride: int, backbone: Backbone) -> Tensor:
    out, activation = stage.out_channels, backbone.activation
    shortcut = stride == 1
    y = b.conv("conv1", x, stage.hidden_channels, activation=activation, scored=True)
    y = b.conv(
        "conv2", y, out, kernel=stage.kernel, stride=stride, reparam=backbone.reparam, scored=True,
        activation=None if shortcut else activation,
    )  # fmt: skip
    if not shortcut:
        return y
    x = b.conv("projection", x, out, when=x.channels != out)
    return b.add("add", x, y, activation=activation)

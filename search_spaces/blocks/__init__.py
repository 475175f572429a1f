"""Backbone blocks, one plug-in per file: the file's name is the name of the search space that uses it.

A plug-in has `emit_stages(b, x, backbone) -> list[Tensor]`: the output of every stage, given the stem's output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from search_spaces.builder import Builder, Tensor
from search_spaces.structure import Backbone, Stage

BlockEmitter = Callable[[Builder, Tensor, Stage, int, Backbone], Tensor]


def emit_spp(b: Builder, x: Tensor) -> Tensor:
    """Spatial pyramid pooling: 1x1 to half, max-pools 5, 9, 13 beside the unpooled, 1x1 back. Always SiLU."""
    with b.scope("spp"):
        reduced = b.conv("conv1", x, x.channels // 2, activation="silu")
        pooled = [b.max_pool(f"pool{size}", reduced, size) for size in (5, 9, 13)]
        joined = b.concat("concat", [reduced, *pooled])
        return b.conv("conv2", joined, x.channels, activation="silu")


def _repeated(b: Builder, stage: Stage, backbone: Backbone, emit_block: BlockEmitter, x: Tensor) -> Tensor:
    return emit_block(b, x, stage, 1, backbone)


def chain_stages(b: Builder, x: Tensor, backbone: Backbone, emit_block: BlockEmitter) -> list[Tensor]:
    """Stages that are plain chains of blocks; SPP after the first block of the last stage."""
    outputs = []
    for number, stage in enumerate(backbone.stages, start=1):
        with b.stage(number, stage.stride):
            with b.scope("block1"):
                x = emit_block(b, x, stage, stage.stride, backbone)
            if backbone.spp and number == len(backbone.stages):
                x = emit_spp(b, x)
            repeated = partial(_repeated, b, stage, backbone, emit_block)
            x = b.repeat("block", stage.depth - 1, x, repeated, first=2)
        outputs.append(x)
    return outputs

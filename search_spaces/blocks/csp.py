"""CSP stage (KXKX inner blocks; report, figure 2c).

A wrapper is a stride-2 conv, [SPP], two 1x1 convs to half the width (one is the shortcut, the other feeds the inner
blocks), concat, 1x1 conv. The stage at stride 1 adds its blocks to the wrapper before it when both have the same widths,
as in the released networks; otherwise it becomes a wrapper of its own, with `depth` inner blocks and no strided conv.

The score sums over the convs that are built: the strided one, the way into the inner blocks, theirs, and the closing one.
"""

from __future__ import annotations

import numpy as np

from search_spaces.blocks import emit_spp
from search_spaces.builder import Builder, Tensor
from search_spaces.graph import Dim
from search_spaces.structure import Backbone, Stage

WRAPPER_ACTIVATION = "relu"


def emit_stages(b: Builder, x: Tensor, backbone: Backbone) -> list[Tensor]:
    """Output of every stage, given the stem's output. A stage that shares a wrapper has the wrapper's output."""
    outputs: list[Tensor] = []
    stages = backbone.stages
    for number, stage in enumerate(stages, start=1):
        if shares_wrapper(stages, number - 1):
            outputs.append(x)
            continue
        shares_next = number < len(stages) and shares_wrapper(stages, number)
        blocks = stage.depth - (1 if stage.stride == 2 else 0) + (stages[number].depth if shares_next else 0)
        with b.stage(number, stage.stride):
            spp = backbone.spp and number == len(stages)
            x = _emit_wrapper(b, x, stage, blocks, spp, backbone)
            _count(b, stage, x)
            if shares_next:
                _count(b, stages[number], x)
        outputs.append(x)
    return outputs


def shares_wrapper(stages: tuple[Stage, ...], index: int) -> bool:
    """Whether stage `index` lives in the wrapper of the stage before it. A population must agree on it.

    Raises ValueError for a population in which only some candidates do.
    """
    if index == 0 or stages[index].stride != 1:
        return False
    before, stage = stages[index - 1], stages[index]
    same = np.atleast_1d(
        (before.out_channels == stage.out_channels)
        & (before.hidden_channels == stage.hidden_channels)
        & (before.kernel == stage.kernel)
    )
    if same.any() and not same.all():
        raise ValueError("csp: stages 3 and 4 must be tied in all candidates of a population, or in none")
    return bool(same.all())


def _emit_wrapper(b: Builder, x: Tensor, stage: Stage, blocks: Dim, spp: bool, backbone: Backbone) -> Tensor:
    out = stage.out_channels
    if stage.stride == 2:
        x = b.conv("down", x, out, kernel=3, stride=2, activation=WRAPPER_ACTIVATION, scored=True, counted=False)
    if spp:
        x = emit_spp(b, x)
    shortcut = b.conv("shortcut", x, out // 2, activation=WRAPPER_ACTIVATION)
    y = b.conv("start", x, out // 2, activation=WRAPPER_ACTIVATION, scored=True, counted=False)
    y = b.repeat("block", blocks, y, lambda tensor: _emit_inner(b, tensor, stage, backbone))
    joined = b.concat("concat", [y, shortcut])
    return b.conv("fuse", joined, out, activation=WRAPPER_ACTIVATION, scored=True, counted=False)


def _emit_inner(b: Builder, x: Tensor, stage: Stage, backbone: Backbone) -> Tensor:
    y = b.conv(
        "conv1",
        x,
        stage.hidden_channels,
        kernel=stage.kernel,
        activation=backbone.activation,
        scored=True,
        counted=False,
    )
    y = b.conv("conv2", y, x.channels, kernel=stage.kernel, reparam=backbone.reparam, scored=True, counted=False)
    return b.add("add", x, y, activation=backbone.activation)


def _count(b: Builder, stage: Stage, output: Tensor) -> None:
    """The main path as the public search counts it: `depth` blocks k x k in->hidden, k x k hidden->out.

    These are not the convs that are built (a strided stage has one inner block less, all work on half the width, and the
    wrapper has convs of its own); the op that closes the wrapper (`fuse`) stands for them. The layers of a published name
    (L35, L45) are counted so.
    """
    area, shape = stage.kernel**2, output.shape
    b.published_conv("fuse", stage.in_channels * area, stage.hidden_channels, shape, 1)
    b.published_conv("fuse", stage.out_channels * area, stage.hidden_channels, shape, stage.depth - 1)
    b.published_conv("fuse", stage.hidden_channels * area, stage.out_channels, shape, stage.depth)

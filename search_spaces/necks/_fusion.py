"""How a neck's node fuses its inputs (report, 2.2 and table 5).

`conv`: one 3x3 conv over the joined inputs. `csp`: two 1x1 convs to half the width, one of them through the blocks, both
joined and closed by a 1x1 conv. `csp_reparam`: the blocks' first conv is re-parameterised. `csp_reparam_elan`: the output
of every block reaches the closing conv, not that of the last alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.blocks.mob import emit_inverted_bottleneck
from search_spaces.builder import Builder, Tensor, scaled, to_multiple_of_8
from search_spaces.graph import Dim
from search_spaces.structure import Neck

MOB_RATIO = 3.0
MOB_KERNEL = 5


def fuse(b: Builder, inputs: Sequence[Tensor], out: Dim, neck: Neck) -> Tensor:
    """The inputs (one map size) joined and fused to `out` channels."""
    joined = b.concat("join", inputs)
    if neck.fusion == "conv":
        return _conv(b, joined, out, neck)
    bypass = b.conv("bypass", joined, out // 2, activation=neck.activation)
    x = b.conv("entry", joined, out // 2, activation=neck.activation)
    # With no blocks the entry conv itself is what the close conv sees beside the bypass.
    chain = [x]
    for number in range(1, blocks_per_fusion(neck) + 1):
        with b.scope(f"block{number}"):
            chain.append(_block(b, chain[-1], neck))
    if neck.fusion != "csp_reparam_elan":
        closing = [bypass, chain[-1]]
        return b.conv("close", b.concat("csp", closing), out, activation=neck.activation)
    closing = [bypass, *(chain[1:] or chain)]
    return b.conv("close", b.concat("elan", closing), out, activation=neck.activation)


def blocks_per_fusion(neck: Neck) -> int:
    """3 x depth, half rounded to even (4.5 -> 4)."""
    return round(3 * neck.depth)


def _conv(b: Builder, x: Tensor, out: Dim, neck: Neck) -> Tensor:
    if not neck.depthwise:
        return b.conv("fuse", x, out, kernel=3, activation=neck.activation)
    with b.scope("fuse"):
        y = b.conv("depthwise", x, x.channels, kernel=3, depthwise=True, activation=neck.activation)
        return b.conv("pointwise", y, out, activation=neck.activation)


def _block(b: Builder, x: Tensor, neck: Neck) -> Tensor:
    if neck.depthwise:
        expansion = to_multiple_of_8(x.channels, MOB_RATIO)
        y = emit_inverted_bottleneck(b, x, x.channels, expansion, MOB_KERNEL, 1, neck.activation)
    else:
        hidden = scaled(x.channels, neck.hidden_ratio)
        y = b.conv("conv1", x, hidden, kernel=3, activation=neck.activation, reparam=neck.fusion != "csp")
        y = b.conv("conv2", y, x.channels, kernel=3, activation=neck.activation)
    return b.add("add", x, y)

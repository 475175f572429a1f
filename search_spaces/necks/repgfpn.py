"""RepGFPN: generalised FPN with queen-fusion's downsampling links, CSP + re-parameterised + ELAN fusion (report, 2.2)."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.blocks.mob import emit_inverted_bottleneck
from search_spaces.builder import Builder, Tensor, scaled, to_multiple_of_8
from search_spaces.graph import Dim
from search_spaces.structure import Neck

MOB_RATIO = 3.0
MOB_KERNEL = 5


def emit(b: Builder, features: Sequence[Tensor], neck: Neck) -> list[Tensor]:
    """Fused features at strides 8, 16, 32."""
    p3, p4, p5 = features
    with b.scope("m3"):
        m3 = _fuse(b, [p5, _down(b, "down_p4", p4, neck)], neck.in_channels[2], neck)
    with b.scope("m4"):
        m4 = _fuse(b, [p4, _down(b, "down_p3", p3, neck), b.upsample("up_m3", m3)], neck.in_channels[1], neck)
    with b.scope("o3"):
        o3 = _fuse(b, [p3, b.upsample("up_m4", m4)], neck.out_channels[0], neck)
    with b.scope("o4"):
        o4 = _fuse(b, [m4, _down(b, "down_o3", o3, neck)], neck.out_channels[1], neck)
    with b.scope("o5"):
        links = [m3, _down(b, "down_m4", m4, neck), _down(b, "down_o4", o4, neck)]
        o5 = _fuse(b, links, neck.out_channels[2], neck)
    return [o3, o4, o5]


def blocks_per_fusion(neck: Neck) -> int:
    """3 x depth, half rounded to even (4.5 -> 4)."""
    return round(3 * neck.depth)


def _down(b: Builder, name: str, x: Tensor, neck: Neck) -> Tensor:
    if not neck.depthwise:
        return b.conv(name, x, x.channels, kernel=3, stride=2, activation=neck.activation)
    with b.scope(name):
        y = b.conv("depthwise", x, x.channels, kernel=3, stride=2, depthwise=True, activation=neck.activation)
        return b.conv("pointwise", y, x.channels, activation=neck.activation)


def _fuse(b: Builder, inputs: Sequence[Tensor], out: Dim, neck: Neck) -> Tensor:
    joined = b.concat("join", inputs)
    half = out // 2
    bypass = b.conv("bypass", joined, half, activation=neck.activation)
    x = b.conv("entry", joined, half, activation=neck.activation)
    outputs = [bypass]
    for number in range(1, blocks_per_fusion(neck) + 1):
        with b.scope(f"block{number}"):
            x = _block(b, x, neck)
        outputs.append(x)
    # With no blocks the entry conv itself is what the close conv sees beside the bypass.
    if len(outputs) == 1:
        outputs.append(x)
    return b.conv("close", b.concat("elan", outputs), out, activation=neck.activation)


def _block(b: Builder, x: Tensor, neck: Neck) -> Tensor:
    if neck.depthwise:
        expansion = to_multiple_of_8(x.channels, MOB_RATIO)
        y = emit_inverted_bottleneck(b, x, x.channels, expansion, MOB_KERNEL, 1, neck.activation)
    else:
        hidden = scaled(x.channels, neck.hidden_ratio)
        y = b.conv("conv1", x, hidden, kernel=3, activation=neck.activation, reparam=True)
        y = b.conv("conv2", y, x.channels, kernel=3, activation=neck.activation)
    return b.add("add", x, y)

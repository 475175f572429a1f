"""RepGFPN: generalised FPN with queen-fusion's extra links between two passes over strides 8, 16, 32 (report, 2.2).

A top-down pass makes m3 (stride 32), m4 and m5, a bottom-up pass o3 (stride 8), o4 and o5. A node with one input is
that input. Without extra links m3 is P5 and o3 is m5, a path-aggregation network; `down` gives m3 and m4 the finer
input and o5 the finer m4; `up` gives m4 and m5 the coarser input, o3 and o4 the coarser node of the top-down pass (with
`up` alone P5 enters m4 twice, as the published GFLOPs have it). With this reading every row of the report's table 4 has
the published GFLOPs to 0.2 %.
"""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.builder import Builder, Tensor
from search_spaces.necks._fusion import fuse
from search_spaces.structure import Neck


def emit(b: Builder, features: Sequence[Tensor], neck: Neck) -> list[Tensor]:
    """Fused features at strides 8, 16, 32."""
    finer, coarser = neck.links in ("down", "both"), neck.links in ("up", "both")
    p3, p4, p5 = features
    m3 = p5
    if finer:
        with b.scope("m3"):
            m3 = fuse(b, [p5, _down(b, "down_p4", p4, neck)], neck.in_channels[2], neck)
    with b.scope("m4"):
        links = [p4]
        if finer:
            links.append(_down(b, "down_p3", p3, neck))
        links.append(b.upsample("up_m3", m3))
        if coarser:
            links.append(b.upsample("up_p5", p5))
        m4 = fuse(b, links, neck.in_channels[1], neck)
    o3, m5 = _finest(b, p3, p4, m4, neck, coarser)
    with b.scope("o4"):
        links = [m4, _down(b, "down_o3", o3, neck)]
        if coarser and finer:
            links.append(_down(b, "down_m5", m5, neck))
        if coarser:
            links.append(b.upsample("up_m3", m3))
        o4 = fuse(b, links, neck.out_channels[1], neck)
    with b.scope("o5"):
        links = [m3]
        if finer:
            links.append(_down(b, "down_m4", m4, neck))
        links.append(_down(b, "down_o4", o4, neck))
        o5 = fuse(b, links, neck.out_channels[2], neck)
    return [o3, o4, o5]


def _finest(b: Builder, p3: Tensor, p4: Tensor, m4: Tensor, neck: Neck, coarser: bool) -> tuple[Tensor, Tensor]:
    """o3 and m5: one node unless upward links give o3 an input of its own."""
    if not coarser:
        with b.scope("o3"):
            o3 = fuse(b, [p3, b.upsample("up_m4", m4)], neck.out_channels[0], neck)
        return o3, o3
    with b.scope("m5"):
        up_m4 = b.upsample("up_m4", m4)
        m5 = fuse(b, [p3, up_m4, b.upsample("up_p4", p4)], neck.in_channels[0], neck)
    with b.scope("o3"):
        return fuse(b, [m5, up_m4], neck.out_channels[0], neck), m5


def _down(b: Builder, name: str, x: Tensor, neck: Neck) -> Tensor:
    if not neck.depthwise:
        return b.conv(name, x, x.channels, kernel=3, stride=2, activation=neck.activation)
    with b.scope(name):
        y = b.conv("depthwise", x, x.channels, kernel=3, stride=2, depthwise=True, activation=neck.activation)
        return b.conv("pointwise", y, x.channels, activation=neck.activation)

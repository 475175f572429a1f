"""A detector's structure: what the emission functions read and what a structure file holds.

Widths, depths and kernels are ints for one detector, or arrays of shape (P,) for a population (search_spaces.graph.Dim).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.graph import Dim

TAP_STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True, eq=True)
class Stem:
    """`focus`: space-to-depth by 2, then a stride-1 conv. `conv`: one stride-2 conv."""

    kind: str
    out_channels: Dim
    kernel: int = 3


@dataclass(frozen=True, slots=True, eq=True, kw_only=True)
class Stage:
    """`depth` blocks, the first at `stride`. `hidden_channels`: the bottleneck (res, csp) or the expansion (mob)."""

    in_channels: Dim
    out_channels: Dim
    hidden_channels: Dim
    depth: Dim
    stride: int
    kernel: Dim = 3


@dataclass(frozen=True, slots=True, eq=True, kw_only=True)
class Backbone:
    """`space` names the block plug-in. Taps are taken after the last stage at strides 8, 16 and 32."""

    space: str
    stem: Stem
    stages: tuple[Stage, ...]
    activation: str = "relu"
    spp: bool = True
    reparam: bool = True


@dataclass(frozen=True, slots=True, eq=True, kw_only=True)
class Neck:
    """Feature fusion. `depth` x 3 (rounded) blocks in each fusion; 0 leaves none.

    `links`: queen-fusion's extra links, `down` (released), `up`, `both` or `none` (report, table 4). `fusion`: how
    joined features are fused, `csp_reparam_elan` (released), `csp_reparam`, `csp` or `conv` (report, table 5).
    """

    kind: str
    depth: float
    hidden_ratio: float
    in_channels: tuple[Dim, ...]
    out_channels: tuple[Dim, ...]
    activation: str = "relu"
    depthwise: bool = False
    links: str = "down"
    fusion: str = "csp_reparam_elan"


@dataclass(frozen=True, slots=True, eq=True, kw_only=True)
class Head:
    """Task projections. `reg_max` + 1 bins per box side.

    `depth` convs of the feature's width (with `activation`) precede the projection of each task (report, table 6); the
    released heads have none.
    """

    kind: str
    reg_max: int
    kernel: int
    num_classes: int = 80
    depth: int = 0
    activation: str = "relu"


@dataclass(frozen=True, slots=True, eq=True, kw_only=True)
class Structure:
    """A whole detector. `search`: where it came from (free-form; never read by emission)."""

    image_size: tuple[int, int]
    backbone: Backbone
    neck: Neck
    head: Head
    search: Mapping[str, Any] | None = None

    def with_image_size(self, height: int, width: int) -> Structure:
        return replace(self, image_size=(height, width))

    def with_classes(self, num_classes: int) -> Structure:
        return replace(self, head=replace(self.head, num_classes=num_classes))

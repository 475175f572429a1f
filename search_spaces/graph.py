"""Networks as data: a small graph of ops, built without torch.

A dimension (channels, kernel, repeat count) is a plain int for one network, or an int64 array of shape (P,) for P
networks with the same skeleton. What exists only for some of the P networks carries a `count` of 0 for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Dim = int | npt.NDArray[np.int64]
Kind = Literal["input", "space_to_depth", "conv", "add", "concat", "max_pool", "upsample", "detect"]
IMAGE_PATH = "input"
PARTS = ("backbone", "neck", "head")


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Output of one op for one image: `channels` x `height` x `width`."""

    channels: Dim
    height: int
    width: int

    @property
    def elements(self) -> Dim:
        return self.channels * (self.height * self.width)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Op:
    """One operation with one output.

    `path` is scoped (`backbone.stage2.block1.conv2`). `inputs` are indices of earlier ops. `count` says how often the
    op stands in the network: a repeat count, or 0 / 1 for an op that only some candidates have; where it is 0, the
    output of op `bypass` stands in for this op's. The remaining fields belong to kinds:

    - conv: `kernel`, `stride`, `depthwise`, `norm` (BatchNorm follows), `bias`, `reparam` (training form has a parallel
      1x1 branch, each branch with its own norm), `activation`.
    - add: `activation`. max_pool: `kernel` (stride 1, same size). upsample: nearest, x2.
    - detect: inputs (cls, reg) per level, `strides`, `reg_max`, `num_classes`; one learned scalar per level.
    """

    path: str
    kind: Kind
    inputs: tuple[int, ...]
    shape: Shape
    count: Dim = 1
    bypass: int | None = None
    kernel: Dim = 1
    stride: int = 1
    depthwise: bool = False
    norm: bool = False
    bias: bool = False
    reparam: bool = False
    activation: str | None = None
    strides: tuple[int, ...] = ()
    reg_max: int = 0
    num_classes: int = 0

    @property
    def part(self) -> str:
        """The first word of the path: `backbone`, `neck` or `head`; an input is its own part."""
        return self.path.split(".", 1)[0]

    @property
    def main_inputs(self) -> tuple[int, ...]:
        """The inputs along the main branch: all of them, but of an `add` the second, as the first is the shortcut."""
        return self.inputs[1:] if self.kind == "add" else self.inputs

    @property
    def scope(self) -> str:
        return self.path.rpartition(".")[0]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MainConv:
    """One conv of the main path that the maximum-entropy score is computed on.

    `fan_in` = in_channels x kernel^2 (kernel^2 for a depthwise conv); `level` = log2 of the stride of the stage's
    output: convs of one level form a group.
    """

    path: str
    fan_in: Dim
    out_channels: Dim
    count: Dim
    level: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Graph:
    """Ops in emission order, named outputs (op indices), the main path of the score, and the blocks of each stage.

    `published_path`: the main path as the public search counts it, which in csp is not what is built; `layers` counts its
    convs, as the names of the published detectors do.
    """

    image_size: tuple[int, int]
    ops: tuple[Op, ...]
    outputs: Mapping[str, int]
    main_path: tuple[MainConv, ...] = ()
    published_path: tuple[MainConv, ...] = ()
    stage_depths: tuple[Dim, ...] = ()
    consumers: tuple[tuple[int, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        consumers: list[list[int]] = [[] for _ in self.ops]
        for index, op in enumerate(self.ops):
            for source in dict.fromkeys(op.inputs):
                consumers[source].append(index)
        object.__setattr__(self, "consumers", tuple(tuple(items) for items in consumers))

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    def __len__(self) -> int:
        return len(self.ops)

    def in_channels(self, op: Op) -> Dim:
        """Channels of the op's first input."""
        return self.ops[op.inputs[0]].shape.channels

    def in_shape(self, op: Op) -> Shape:
        return self.ops[op.inputs[0]].shape


def is_array(value: object) -> bool:
    """True for a population dimension, an array of shape (P,)."""
    return isinstance(value, np.ndarray)

"""What a runtime executes: kernels, one key shared by profiler, tables and predictor. `fusion` makes them from ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from search_spaces.graph import Dim

KINDS = (
    "stem", "conv", "depthwise", "add", "concat", "max_pool", "upsample", "space_to_depth", "detect", "reordered_concat",
)  # fmt: skip
TWO_CHANNEL_KINDS = ("stem", "conv", "detect")
"""Kinds whose in and out channels vary independently; the others have one channel axis, `in_channels`."""

TAILED_KINDS = ("stem", "conv", "depthwise")
"""Kinds whose cost steps up where the last block of channels is part-filled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One fused kernel. Channels and `kernel` may be arrays of shape (P,); height and width are the *input* map's.

    - stem: a conv that reads the image, or its space-to-depth. conv, depthwise: conv + bias + activation [+ add].
    - concat: `in_channels` = `out_channels` = the joined channels. reordered_concat: the same with the changes of layout
      that a runtime with blocks of channels needs for parts that are not whole blocks.
    - detect: decoding of all levels; `in_channels` = 4 x (reg_max + 1), `out_channels` = classes, `height` = priors of
      all levels, `width` = 1.
    """

    kind: str
    in_channels: Dim
    out_channels: Dim
    height: int
    width: int
    kernel: Dim = 1
    stride: int = 1
    activation: str = "none"
    fused_add: bool = False

    @classmethod
    def of_values(cls, values: Sequence[Any]) -> Kernel:
        """From the values of all fields in their order, as kits hold them."""
        return cls(**dict(zip((field.name for field in fields(cls)), values, strict=True)))

    @classmethod
    def square(
        cls, kind: str, in_channels: Dim, out_channels: Dim, side: int, *, kernel: Dim = 1, stride: int = 1,
        activation: str = "none", fused_add: bool = False,
    ) -> Kernel:  # fmt: skip
        """One that reads a map of `side` x `side`."""
        return cls(
            kind=kind, in_channels=in_channels, out_channels=out_channels, height=side, width=side, kernel=kernel,
            stride=stride, activation=activation, fused_add=fused_add,
        )  # fmt: skip

    @property
    def area(self) -> int:
        """Elements per channel of the input map."""
        return self.height * self.width


class Group(NamedTuple):
    """What kernels of one grid share."""

    kind: str
    kernel: int
    stride: int
    activation: str
    fused_add: bool

    def __str__(self) -> str:
        size = f" {self.kernel}x{self.kernel}" if self.kernel > 1 or self.kind in ("conv", "stem") else ""
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        activation = f" + {self.activation}" if self.activation not in ("none", "any") else ""
        return f"{self.kind}{size}{stride}{activation}{' + add' if self.fused_add else ''}"

    @classmethod
    def of(cls, kernel: Kernel, size: int | None = None) -> Group:
        """The group that a kernel belongs to; `size`: of one member, where the kernel is a population's."""
        side = int(kernel.kernel) if size is None else size
        return cls(kernel.kind, side, kernel.stride, kernel.activation, kernel.fused_add)

    def member(self, in_channels: int, out_channels: int, height: int, width: int) -> Kernel:
        """A kernel of this group."""
        return Kernel(
            kind=self.kind, in_channels=in_channels, out_channels=out_channels, height=height, width=width,
            kernel=self.kernel, stride=self.stride, activation=self.activation, fused_add=self.fused_add,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSite:
    """A kernel at its place: `path` and `part` of the op it is named after, how often it runs (`count`), and the
    indices of all graph ops that it stands for."""

    kernel: Kernel
    path: str
    part: str
    count: Dim
    ops: tuple[int, ...]


def in_tail(
    kind: str, inputs: npt.NDArray[np.float64], outputs: npt.NDArray[np.float64], block: int
) -> npt.NDArray[np.bool_]:
    """Which kernels leave their last block of channels part-filled (convs by out channels; nothing where block is 1)."""
    if kind not in TAILED_KINDS:
        return np.zeros(np.shape(inputs), dtype=np.bool_)
    widths = outputs if kind in TWO_CHANNEL_KINDS else inputs
    return np.asarray(widths % block > 0)


def kernel_in_tail(kernel: Kernel, block: int) -> bool:
    """`in_tail` of one kernel."""
    inputs, outputs = (np.array([float(channels)]) for channels in (kernel.in_channels, kernel.out_channels))
    return bool(in_tail(kernel.kind, inputs, outputs, block)[0])

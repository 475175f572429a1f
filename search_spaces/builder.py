"""Emission: blocks, necks and heads write their ops into a graph through a Builder.

Emission code never branches on a dimension (it may be an array): it uses `when=` masks and `repeat`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from search_spaces.graph import IMAGE_PATH, Dim, Graph, MainConv, Op, Shape, is_array

Condition = bool | np.bool_ | npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A handle on one op's output."""

    index: int
    shape: Shape

    @property
    def channels(self) -> Dim:
        return self.shape.channels


def scaled(value: Dim, ratio: float) -> Dim:
    """`value` x `ratio`, rounded down, for an int or an array."""
    if isinstance(value, np.ndarray):
        scaled_down: npt.NDArray[np.int64] = np.floor(value * ratio + 1e-9).astype(np.int64)
        return scaled_down
    return int(np.floor(value * ratio + 1e-9))


def to_multiple_of_8(value: Dim, ratio: float) -> Dim:
    """`value` x `ratio` rounded up, then to the nearest multiple of 8 (ties up), never more than 10 % below."""
    wanted = np.ceil(np.asarray(value) * ratio - 1e-9).astype(np.int64)
    nearest = np.maximum((wanted + 4) // 8 * 8, 8)
    rounded: npt.NDArray[np.int64] = np.where(nearest < 0.9 * wanted, nearest + 8, nearest)
    return rounded if is_array(value) else int(rounded)


class Builder:
    """Collects ops under scoped names. One Builder builds one Graph."""

    def __init__(self, image_size: tuple[int, int]) -> None:
        self._image_size = image_size
        self._ops: list[Op] = []
        self._main: list[MainConv] = []
        self._published: list[MainConv] = []
        self._outputs: dict[str, int] = {}
        self._stage_depths: tuple[Dim, ...] = ()
        self._scope: list[str] = []
        self._count: Dim = 1
        self._level = 1
        self._names: set[str] = set()

    # ---- structure -------------------------------------------------------------------------------------------------

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Ops emitted inside get `name.` before theirs."""
        self._scope.append(name)
        try:
            yield
        finally:
            self._scope.pop()

    @contextmanager
    def stage(self, number: int, stride: int) -> Iterator[None]:
        """Scope `stage{number}`. A stride of 2 begins a new group of the score, whatever its first convs' resolution."""
        self._level += stride == 2
        with self.scope(f"stage{number}"):
            yield

    def repeat(self, name: str, count: Dim, x: Tensor, body: Callable[[Tensor], Tensor], first: int = 1) -> Tensor:
        """Apply `body` `count` times in a chain; scopes are `name{first}`, `name{first + 1}`, ...

        With an array, `body` is emitted once and its ops carry `count`; where that is 0, `x` passes through.
        `body` must keep the shape. Population repeats do not nest.
        """
        if not isinstance(count, np.ndarray):
            for number in range(first, first + count):
                with self.scope(f"{name}{number}"):
                    x = body(x)
            return x
        if is_array(self._count):
            raise ValueError("a repeat over a population cannot stand inside another")
        self._count = count
        with self.scope(f"{name}{first}"):
            y = body(x)
        self._count = 1
        self._ops[y.index] = replace(self._ops[y.index], bypass=x.index)
        return y

    def output(self, name: str, x: Tensor) -> None:
        """Name an output (a tap for the neck or for distillation)."""
        self._outputs[name] = x.index

    def stage_depths(self, depths: Sequence[Dim]) -> None:
        """Record how many blocks each stage of the backbone has; ops cannot tell where two stages share a wrapper."""
        self._stage_depths = tuple(depths)

    def graph(self) -> Graph:
        return Graph(
            image_size=self._image_size,
            ops=tuple(self._ops),
            outputs=dict(self._outputs),
            main_path=tuple(self._main),
            published_path=tuple(self._published),
            stage_depths=self._stage_depths,
        )

    # ---- ops -------------------------------------------------------------------------------------------------------

    def input(self, name: str = IMAGE_PATH, shape: Shape | None = None) -> Tensor:
        """The image, 3 x H x W, RGB 0..255; or an input of another shape."""
        return self._emit(
            Op(path=name, kind="input", inputs=(), shape=shape or Shape(3, *self._image_size)), at_root=True
        )

    def space_to_depth(self, x: Tensor, name: str = "space_to_depth") -> Tensor:
        """Rows and columns folded by 2 into channels: (even, even), (odd, even), (even, odd), (odd, odd)."""
        shape = Shape(x.channels * 4, x.shape.height // 2, x.shape.width // 2)
        return self._emit(Op(path=name, kind="space_to_depth", inputs=(x.index,), shape=shape, stride=2))

    def conv(
        self,
        name: str,
        x: Tensor,
        out_channels: Dim,
        *,
        kernel: Dim = 1,
        stride: int = 1,
        depthwise: bool = False,
        activation: str | None = None,
        reparam: bool = False,
        bias_only: bool = False,
        scored: bool = False,
        counted: bool = True,
        when: Condition = True,
    ) -> Tensor:
        """Conv + BatchNorm + activation, "same" padding; `bias_only`: a bias and no norm.

        `scored`: the conv is on the main path of the maximum-entropy score; `counted`: the public search counts it there
        too. `when`: where false, `x` passes through
        (shapes must then agree for the candidates that lack the conv).
        """
        present = _mask(when)
        if present is False:
            return x
        shape = Shape(out_channels, -(-x.shape.height // stride), -(-x.shape.width // stride))
        op = Op(
            path=name, kind="conv", inputs=(x.index,), shape=shape, kernel=kernel, stride=stride, depthwise=depthwise,
            norm=not bias_only, bias=bias_only, reparam=reparam, activation=activation,
        )  # fmt: skip
        if scored:
            fan_in = (1 if depthwise else x.channels) * kernel**2
            self._main.append(self._scored(name, fan_in, out_channels, shape, self._count))
            if counted:
                self.published_conv(name, fan_in, out_channels, shape, self._count)
        return self._emit(op, present, x)

    def published_conv(self, name: str, fan_in: Dim, out_channels: Dim, shape: Shape, count: Dim) -> None:
        """Put `count` convs on the main path as the public search counts it, whether or not they are built."""
        self._published.append(self._scored(name, fan_in, out_channels, shape, count))

    def _scored(self, name: str, fan_in: Dim, out_channels: Dim, shape: Shape, count: Dim) -> MainConv:
        return MainConv(
            path=self._path(name), fan_in=fan_in, out_channels=out_channels, count=count, level=self._level,
            height=shape.height, width=shape.width,
        )  # fmt: skip

    def add(self, name: str, x: Tensor, y: Tensor, activation: str | None = None, when: Condition = True) -> Tensor:
        """x + y, then the activation; where `when` is false, y passes through."""
        present = _mask(when)
        if present is False:
            return y
        return self._emit(
            Op(path=name, kind="add", inputs=(x.index, y.index), shape=y.shape, activation=activation), present, y
        )

    def concat(self, name: str, xs: Sequence[Tensor]) -> Tensor:
        channels = xs[0].channels
        for x in xs[1:]:
            channels = channels + x.channels
        shape = Shape(channels, xs[0].shape.height, xs[0].shape.width)
        return self._emit(Op(path=name, kind="concat", inputs=tuple(x.index for x in xs), shape=shape))

    def max_pool(self, name: str, x: Tensor, kernel: int) -> Tensor:
        return self._emit(Op(path=name, kind="max_pool", inputs=(x.index,), shape=x.shape, kernel=kernel))

    def upsample(self, name: str, x: Tensor) -> Tensor:
        shape = Shape(x.channels, x.shape.height * 2, x.shape.width * 2)
        return self._emit(Op(path=name, kind="upsample", inputs=(x.index,), shape=shape))

    def detect(self, name: str, levels: Sequence[tuple[Tensor, Tensor]], reg_max: int, num_classes: int) -> Tensor:
        """Decode (classification, regression) maps of all levels into boxes and scores, A priors in all.

        Shape: (4 + num_classes) x A x 1.
        """
        priors = sum(cls.shape.height * cls.shape.width for cls, _ in levels)
        strides = tuple(self._image_size[0] // cls.shape.height for cls, _ in levels)
        inputs = tuple(tensor.index for level in levels for tensor in level)
        shape = Shape(4 + num_classes, priors, 1)
        return self._emit(
            Op(
                path=name,
                kind="detect",
                inputs=inputs,
                shape=shape,
                strides=strides,
                reg_max=reg_max,
                num_classes=num_classes,
            )
        )

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return ".".join([*self._scope, name])

    def _emit(self, op: Op, present: Condition = True, bypass: Tensor | None = None, at_root: bool = False) -> Tensor:
        path = op.path if at_root else self._path(op.path)
        if path in self._names:
            raise ValueError(f"two ops named {path}")
        self._names.add(path)
        count = self._count
        if isinstance(present, np.ndarray):
            if is_array(self._count):
                raise ValueError(f"{path}: a mask that differs between candidates cannot stand inside a repeat")
            count = present.astype(np.int64)
        self._ops.append(
            replace(op, path=path, count=count, bypass=bypass.index if bypass and is_array(present) else None)
        )
        return Tensor(len(self._ops) - 1, op.shape)


def _mask(when: Condition) -> bool | npt.NDArray[np.bool_]:
    """A plain bool where the condition is the same for all candidates, else the array."""
    if isinstance(when, np.ndarray):
        if when.all():
            return True
        return when if when.any() else False
    return bool(when)

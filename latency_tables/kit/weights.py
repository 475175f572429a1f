"""ONNX models that share their weights: a few files of random numbers, and slices of them as the models' external data.

Random weights hardly compress, and a kit holds hundreds of convs. Latency does not depend on which random numbers they
are, as long as they are neither zeros nor denormals and keep activations in range; so all models read the same ones, in
the precision of bf16 (half of the bytes are 0 and compress away). A conv takes the slice behind the one before it, so
that within a network every conv has its own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from latency_tables.runtimes._onnx_models import OnnxWriter

PAGE = 4096
"""Slices start on whole pages, as ONNX asks for so that they can be mapped."""
SECTION = 4 * 2**20
"""Bytes of a file before slices start from its beginning again; files are longer only where a single slice is."""
WRAPS = 64
"""After a wrap slices start a page later, so many times: two convs of one network do not share their bytes' address."""
BIAS = -1
"""The file of biases; the others are named after the power of 4 that the fan-in of their convs comes up to."""
BIAS_SCALE, GAIN = 0.1, 1.4
SMALLEST = 2.0**-7


class SharedWeights:
    """Which slices of which files models use."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = defaultdict(int)
        self._wraps: dict[int, int] = defaultdict(int)
        self._lengths: dict[int, int] = defaultdict(int)

    def slice(self, size: int, fan_in: int | None) -> tuple[str, int]:
        """File and offset of `size` bytes for a conv's weights (`fan_in` None: for its bias)."""
        number = BIAS if fan_in is None else math.ceil(math.log(fan_in, 4) - 1e-9)
        start = self._ends[number]
        if start + size > SECTION:
            start = PAGE * (self._wraps[number] % WRAPS)
            self._wraps[number] += 1
        self._ends[number] = -(-(start + size) // PAGE) * PAGE
        self._lengths[number] = max(self._lengths[number], start + size)
        return _file(number), start

    def files(self) -> dict[str, bytes]:
        """All files by name."""
        return {_file(number): _numbers(number, length) for number, length in sorted(self._lengths.items())}


class KitWriter(OnnxWriter):
    """Writes one onnx.ModelProto whose conv weights are slices of shared files.

    `bias_apart`: a conv's bias is an add behind it. OpenVINO makes this of a conv with a bias while it reads a model, and
    gives the conv a name of its own; said this way, the conv keeps the name by which it is told in the counters.
    """

    def __init__(self, shared: SharedWeights, *, bias_apart: bool) -> None:
        super().__init__()
        self._shared, self._bias_apart = shared, bias_apart

    def conv(
        self, x: str, in_channels: int, out_channels: int, *, kernel: int, stride: int, depthwise: bool,
        activation: str | None, name: str,
    ) -> str:  # fmt: skip
        if not self._bias_apart:
            return super().conv(
                x,
                in_channels,
                out_channels,
                kernel=kernel,
                stride=stride,
                depthwise=depthwise,
                activation=activation,
                name=name,
            )
        weights, bias = self._conv_constants(in_channels, out_channels, kernel, depthwise, name)
        node = self._node(
            "Conv", [x, weights], name, kernel_shape=[kernel, kernel], strides=[stride, stride],
            pads=[kernel // 2] * 4, group=in_channels if depthwise else 1,
        )  # fmt: skip
        return self._activate(self._node("Add", [node, bias], f"{name}.bias"), activation, name)

    def _conv_constants(
        self, in_channels: int, out_channels: int, kernel: int, depthwise: bool, name: str
    ) -> tuple[str, str]:
        shape = (out_channels, 1 if depthwise else in_channels, kernel, kernel)
        bias = (1, out_channels, 1, 1) if self._bias_apart else (out_channels,)
        return (
            self._external(f"{name}.weight", shape, int(np.prod(shape[1:]))),
            self._external(f"{name}.bias", bias, None),
        )

    def _external(self, name: str, shape: tuple[int, ...], fan_in: int | None) -> str:
        import onnx

        size = 4 * int(np.prod(shape))
        file, offset = self._shared.slice(size, fan_in)
        tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", file), ("offset", offset), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        self._constants[name] = tensor
        return name


def _file(number: int) -> str:
    return "bias.bin" if number == BIAS else f"weights{4**number}.bin"


def _numbers(number: int, length: int) -> bytes:
    """Random numbers as float32 whose last 16 bits are 0; for weights of a size that keeps activations in range."""
    scale = BIAS_SCALE if number == BIAS else GAIN / math.sqrt(4**number / 2)
    drawn = np.random.default_rng([0, number + 1]).standard_normal(-(-length // 4)).astype(np.float32)
    drawn = np.where(np.abs(drawn) < SMALLEST, np.copysign(SMALLEST, drawn), drawn) * np.float32(scale)
    bits: npt.NDArray[Any] = drawn.astype("<f4").view("<u4") & np.uint32(0xFFFF0000)
    return bits.tobytes()

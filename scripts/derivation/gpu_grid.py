"""The kernels that the computed GPU tables (T4, V100) have rows for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from latency_tables.kernels import Kernel

INPUTS = (8, 16, 32, 64, 128, 192, 256, 384, 512, 1024, 2048)
OUTPUTS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
CHANNELS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SIDES = (5, 10, 20, 40, 80, 160, 320, 640)
STEM_SIDES = (64, 160, 320, 640, 1280)
PRIORS = (84, 336, 1344, 5376, 21504, 86016)


def grid_kernels() -> Iterator[Kernel]:
    """Every kernel: images of 320 to 1280 px, any class count."""
    for (size, stride, add), side in product(
        [
            (1, 1, False),
            (1, 1, True),
            (3, 1, False),
            (3, 1, True),
            (3, 2, False),
            (5, 1, False),
            (5, 1, True),
            (5, 2, False),
        ],
        SIDES,
    ):
        for inputs, outputs in product(INPUTS, OUTPUTS):
            yield Kernel(
                kind="conv",
                in_channels=inputs,
                out_channels=outputs,
                height=side,
                width=side,
                kernel=size,
                stride=stride,
                activation="any",
                fused_add=add,
            )
    for size, (inputs, stride), outputs, side in product((3, 5), ((12, 1), (3, 2)), OUTPUTS[1:6], STEM_SIDES):
        yield Kernel(
            kind="stem",
            in_channels=inputs,
            out_channels=outputs,
            height=side,
            width=side,
            kernel=size,
            stride=stride,
            activation="any",
        )
    for size, stride, channels, side in product((3, 5), (1, 2), CHANNELS, SIDES):
        yield Kernel(
            kind="depthwise",
            in_channels=channels,
            out_channels=channels,
            height=side,
            width=side,
            kernel=size,
            stride=stride,
            activation="any",
        )
    for channels, side in product(CHANNELS, SIDES):
        yield Kernel(kind="add", in_channels=channels, out_channels=channels, height=side, width=side, activation="any")
        yield Kernel(kind="upsample", in_channels=channels, out_channels=channels, height=side, width=side)
        for size in (5, 9, 13):
            yield Kernel(
                kind="max_pool", in_channels=channels, out_channels=channels, height=side, width=side, kernel=size
            )
    for side in STEM_SIDES:
        yield Kernel(kind="space_to_depth", in_channels=3, out_channels=12, height=side, width=side)
    for bins, classes, priors in product((4, 32, 68, 260), (1, 8, 80, 1024), PRIORS):
        yield Kernel(kind="detect", in_channels=bins, out_channels=classes, height=priors, width=1)

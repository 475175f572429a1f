"""The kernels that the computed GPU tables (T4, V100) have rows for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from latency_tables.kernels import Kernel

CONVS = (
    (1, 1, False), (1, 1, True), (3, 1, False), (3, 1, True), (3, 2, False), (5, 1, False), (5, 1, True), (5, 2, False)
)  # fmt: skip
"""(kernel, stride, fused add)."""
INPUTS = (8, 16, 32, 64, 128, 192, 256, 384, 512, 1024, 2048)
OUTPUTS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
CHANNELS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SIDES = (5, 10, 20, 40, 80, 160, 320, 640)
STEM_SIDES = (64, 160, 320, 640, 1280)
PRIORS = (84, 336, 1344, 5376, 21504, 86016)


def grid_kernels() -> Iterator[Kernel]:
    """Every kernel: images of 320 to 1280 px, any class count."""
    for (size, stride, add), side in product(CONVS, SIDES):
        for inputs, outputs in product(INPUTS, OUTPUTS):
            yield Kernel.square(
                "conv", inputs, outputs, side, kernel=size, stride=stride, activation="any", fused_add=add
            )
    for size, (inputs, stride), outputs, side in product((3, 5), ((12, 1), (3, 2)), OUTPUTS[1:6], STEM_SIDES):
        yield Kernel.square("stem", inputs, outputs, side, kernel=size, stride=stride, activation="any")
    for size, stride, channels, side in product((3, 5), (1, 2), CHANNELS, SIDES):
        yield Kernel.square("depthwise", channels, channels, side, kernel=size, stride=stride, activation="any")
    for channels, side in product(CHANNELS, SIDES):
        yield Kernel.square("add", channels, channels, side, activation="any")
        yield Kernel.square("upsample", channels, channels, side)
        for size in (5, 9, 13):
            yield Kernel.square("max_pool", channels, channels, side, kernel=size)
    for side in STEM_SIDES:
        yield Kernel.square("space_to_depth", 3, 12, side)
    for bins, classes, priors in product((4, 32, 68, 260), (1, 8, 80, 1024), PRIORS):
        yield Kernel(kind="detect", in_channels=bins, out_channels=classes, height=priors, width=1)

"""Detectors that are trained in a moment: one block a stage, a thin neck."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.structure import Backbone, Head, Neck, Stage, Stem, Structure

Rows = Sequence[tuple[int, int, int, int]]


def tiny_res(rows: Rows, size: tuple[int, int], neck_out: tuple[int, int, int] | None = None) -> Structure:
    """A res detector for `size` (height, width). `rows`: in, out and hidden channels and stride of the five stages;
    `neck_out`: widths of the neck's levels, by default the taps'."""
    stages = tuple(
        Stage(in_channels=i, out_channels=o, hidden_channels=hidden, depth=1, stride=stride)
        for i, o, hidden, stride in rows
    )
    taps = rows[1][1], rows[3][1], rows[4][1]
    return Structure(
        image_size=size,
        backbone=Backbone(space="res", stem=Stem("focus", rows[0][0]), stages=stages),
        neck=Neck(kind="repgfpn", depth=0.34, hidden_ratio=0.5, in_channels=taps, out_channels=neck_out or taps),
        head=Head(kind="zero", reg_max=7, kernel=1, num_classes=80),
    )


def tiny_mob(rows: Rows, size: tuple[int, int], kernel: int) -> Structure:
    """A mob detector with depthwise convs of `kernel`; the rest as `tiny_res`."""
    stages = tuple(
        Stage(in_channels=i, out_channels=o, hidden_channels=hidden, depth=1, stride=stride, kernel=kernel)
        for i, o, hidden, stride in rows
    )
    stem = Stem("conv", rows[0][0])
    taps = rows[1][1], rows[3][1], rows[4][1]
    return Structure(
        image_size=size,
        backbone=Backbone(space="mob", stem=stem, stages=stages, activation="silu", reparam=False),
        neck=Neck(
            kind="repgfpn", depth=0.34, hidden_ratio=0.5, in_channels=taps, out_channels=taps, activation="silu",
            depthwise=True,
        ),
        head=Head(kind="zero", reg_max=7, kernel=1, num_classes=80),
    )  # fmt: skip

"""Tables small enough to reason about, and graphs to price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables.kernels import Kernel, KernelSite
from latency_tables.metadata import TableMetadata, parse_metadata
from latency_tables.tables import Row, Table, read_table, write_table
from search_spaces.graph import Dim
from search_spaces.structure import Stage, Structure
from search_spaces.text import resolve_structure

METADATA = """
id: toy-tensorrt-fp16-b1
short_names: [toy]
kind: gpu
device: Toy
runtime: tensorrt
runtime_version: "1"
precision: fp16
batch: 1
date: "2024-01-01"
overhead_ms: 0.25
measured: {method: none, statistic: none, warm_up: 0, repeats: 1}
"""


@pytest.fixture
def metadata() -> TableMetadata:
    return parse_metadata(METADATA, "toy")


@pytest.fixture
def make_table(tmp_path: Path, metadata: TableMetadata) -> Callable[[list[Row]], Table]:
    def make(rows: list[Row]) -> Table:
        return read_table(write_table(tmp_path, metadata, rows))

    return make


def conv(in_channels: int, out_channels: int, side: int, kernel: int = 1) -> Kernel:
    """A conv of any activation on a map of side x side."""
    return Kernel.square("conv", in_channels, out_channels, side, kernel=kernel, activation="any")


def site_of(kernel: Kernel, part: str = "backbone", count: Dim = 1) -> KernelSite:
    """A kernel at a place of its own in `part`, run `count` times."""
    return KernelSite(kernel=kernel, path=f"{part}.x", part=part, count=count, ops=(1,))


@pytest.fixture
def conv_rows() -> list[Row]:
    """1x1 convs on a 3 x 3 x 2 grid, the latency rising in every direction."""
    rng = np.random.default_rng(3)
    rows = []
    for i, inputs in enumerate((8, 32, 64)):
        for j, outputs in enumerate((8, 24, 128)):
            for k, side in enumerate((10, 40)):
                latency = 0.01 * (1 + i) * (1 + j) * (1 + 3 * k) * (1 + 0.1 * rng.random())
                rows.append(Row(conv(inputs, outputs, side), latency, 0.02))
    return rows


def random_population(
    rng: np.random.Generator, space: str, number: int, *, step: int = 8, kernels: bool = True
) -> Structure:
    """`number` structures of a space as one, widths in multiples of `step`."""

    def width(low: int, high: int) -> np.ndarray:
        return rng.integers(low // step, high // step + 1, number) * step

    base = resolve_structure({"res": "S", "mob": "Ns", "csp": "M"}[space])
    outs = [width(24, 64), width(48, 128), width(96, 192), width(96, 256), width(128, 384)]
    hidden = [width(16, 96) for _ in outs]
    depths = [rng.integers(1, 4, number) for _ in outs]
    kernel: int | np.ndarray = rng.choice([3, 5], number) if kernels and space != "csp" else 3
    if space == "csp":
        outs[3], hidden[3] = outs[2], hidden[2]
        depths = [depth + 1 for depth in depths]
    stem = width(16, 32)
    previous, stages = stem, []
    for out, inner, depth, stage in zip(outs, hidden, depths, base.backbone.stages):
        stages.append(
            Stage(
                in_channels=previous,
                out_channels=out,
                hidden_channels=inner,
                depth=depth,
                stride=stage.stride,
                kernel=kernel,
            )
        )
        previous = out
    widths = (outs[1], outs[3], outs[4])
    backbone = replace(base.backbone, stem=replace(base.backbone.stem, out_channels=stem), stages=tuple(stages))
    return replace(base, backbone=backbone, neck=replace(base.neck, in_channels=widths, out_channels=widths))


def member(population: Structure, index: int) -> Structure:
    """One structure of a population."""

    def pick(value: object) -> int:
        return int(value[index]) if isinstance(value, np.ndarray) else int(value)  # type: ignore[call-overload]

    backbone, neck = population.backbone, population.neck
    stages = tuple(
        Stage(
            in_channels=pick(s.in_channels),
            out_channels=pick(s.out_channels),
            hidden_channels=pick(s.hidden_channels),
            depth=pick(s.depth),
            stride=s.stride,
            kernel=pick(s.kernel),
        )
        for s in backbone.stages
    )
    stem = replace(backbone.stem, out_channels=pick(backbone.stem.out_channels))
    return replace(
        population,
        backbone=replace(backbone, stem=stem, stages=stages),
        neck=replace(
            neck, in_channels=tuple(map(pick, neck.in_channels)), out_channels=tuple(map(pick, neck.out_channels))
        ),
    )

"""Rows and provenance of the shipped T4 table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np

from latency_tables.derive import (
    CARRY,
    T4_BANDWIDTH,
    V100_BANDWIDTH,
    V100_RATE,
    Calibration,
    calibrate,
    kernel_work,
    latency_ms,
    published_structures,
)
from latency_tables.kernels import Kernel
from latency_tables.metadata import Derived, TableMetadata
from latency_tables.tables import Row, write_table
from latency_tables.v100 import read_v100

INPUTS = (8, 16, 32, 64, 128, 192, 256, 384, 512, 1024, 2048)
OUTPUTS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
CHANNELS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SIDES = (5, 10, 20, 40, 80, 160, 320, 640)
STEM_SIDES = (64, 160, 320, 640, 1280)
PRIORS = (84, 336, 1344, 5376, 21504, 86016)


def build_t4_table(v100_csv: Path, published_csv: Path, folder: Path, today: date | None = None) -> Calibration:
    """Derive, calibrate and write `t4-tensorrt-fp16-b1` into `folder`."""
    v100 = read_v100(v100_csv)
    structures = published_structures(published_csv)
    calibration = calibrate(structures, v100)
    kernels = list(grid_kernels())
    latencies = latency_ms(kernel_work(kernels, v100), calibration.launch_ms, calibration.rate)
    rows = [Row(kernel, float(ms), source="derived") for kernel, ms in zip(kernels, latencies)]
    write_table(folder, t4_metadata(calibration, today or date.today()), rows)
    return calibration


def grid_kernels() -> Iterator[Kernel]:
    """Every kernel of the table: images of 320 to 1280 px, any class count."""
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
            yield Kernel("conv", inputs, outputs, side, side, size, stride, "any", add)
    for size, (inputs, stride), outputs, side in product((3, 5), ((12, 1), (3, 2)), OUTPUTS[1:6], STEM_SIDES):
        yield Kernel("stem", inputs, outputs, side, side, size, stride, activation="any")
    for size, stride, channels, side in product((3, 5), (1, 2), CHANNELS, SIDES):
        yield Kernel("depthwise", channels, channels, side, side, size, stride, activation="any")
    for channels, side in product(CHANNELS, SIDES):
        yield Kernel("add", channels, channels, side, side, activation="any")
        yield Kernel("upsample", channels, channels, side, side)
        for size in (5, 9, 13):
            yield Kernel("max_pool", channels, channels, side, side, size)
    for side in STEM_SIDES:
        yield Kernel("space_to_depth", 3, 12, side, side)
    for bins, classes, priors in product((4, 32, 68, 260), (1, 8, 80, 1024), PRIORS):
        yield Kernel("detect", bins, classes, priors, 1)


def t4_metadata(calibration: Calibration, today: date) -> TableMetadata:
    def percent(errors: dict[str, float]) -> dict[str, float]:
        return {name: round(100 * error, 2) for name, error in errors.items()}

    def mean(errors: dict[str, float]) -> float:
        return round(100 * float(np.mean(np.abs(list(errors.values())))), 2)

    return TableMetadata(
        id="t4-tensorrt-fp16-b1",
        short_names=["t4"],
        kind="gpu",
        device="NVIDIA T4",
        runtime="tensorrt",
        runtime_version="as published (DAMO-YOLO report); V100 measurements: TensorRT of 2022",
        precision="fp16",
        batch=1,
        date=today.isoformat(),
        overhead_ms=0.0,
        derived=Derived(
            sources=[
                "single convolutions measured on a V100 (alibaba/lightweight-neural-architecture-search, Apache-2.0)",
                "whole detectors' T4 latencies in the DAMO-YOLO report (tables 3 and 9)",
            ],
            method=(
                "No T4 was at hand. Per kernel: launch + max(MACs / rate, bytes / bandwidth) x inefficiency^carry, the "
                "inefficiency being the V100's measured time over its roofline (1 for what is no convolution: pooling, "
                "upsampling, space-to-depth, add and decoding are bytes over bandwidth plus launch). launch and rate are "
                "fitted to the published latencies, the other parameters, and this "
                "form out of some 70 tried, were chosen by looking at the same leave-one-out errors, which are therefore "
                "optimistic (neighbouring choices gave means of 2.1 to 2.9 %). Two of the eight structures are rebuilt "
                "from incomplete descriptions (both equal-width necks). Activations are taken as "
                "free, concats as elided."
            ),
            parameters={
                "launch_ms": round(calibration.launch_ms, 6),
                "rate_macs_per_ms": float(f"{calibration.rate:.5g}"),
                "bandwidth_bytes_per_ms": T4_BANDWIDTH,
                "carry": CARRY,
                "v100_rate_macs_per_ms": V100_RATE,
                "v100_bandwidth_bytes_per_ms": V100_BANDWIDTH,
            },
        ),
        error={
            "unit": "percent of the published latency",
            "mean_leave_one_structure_out": mean(calibration.left_out),
            "mean_leave_one_structure_out_gflops_line": mean(calibration.left_out_line),
            "worst_leave_one_structure_out": round(100 * max(map(abs, calibration.left_out.values())), 2),
            "worst_leave_one_structure_out_gflops_line": round(
                100 * max(map(abs, calibration.left_out_line.values())), 2
            ),
            "fitted": percent(calibration.fitted),
            "leave_one_structure_out": percent(calibration.left_out),
            "leave_one_structure_out_gflops_line": percent(calibration.left_out_line),
        },
    )

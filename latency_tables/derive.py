"""The T4 table: V100 measurements carried over by rooflines, calibrated on published whole-detector latencies.

    t = launch + max(MACs / rate, bytes / bandwidth) x inefficiency^CARRY

per kernel. `launch` and `rate` are calibrated; the T4's bandwidth is its data sheet's times a usual efficiency. The
inefficiency of a convolution is its measured V100 time over the V100's roofline; of that, half (in log) is taken to come
from the kernel and half from the V100 being the wider chip (batch 1 fills its 80 multiprocessors badly).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latency_tables.kernels import Kernel, fuse, fusion_rules
from latency_tables.v100 import CONV_KINDS, V100Convs, conv_type, work
from search_spaces.costs import conv_macs
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure

Floats = npt.NDArray[np.float64]
T4_BANDWIDTH = 250e6
"""Bytes per ms: 78 % of the data sheet's 320 GB/s."""
V100_BANDWIDTH = 750e6
V100_RATE = 40e9
"""MACs per ms: 64 % of the data sheet's 125 TFLOPS."""
V100_LAUNCH_MS = 0.003
CARRY = 0.5
GFLOPS_TOLERANCE = 0.015
MAC_ONLY_GFLOPS = 1.0035
"""The report's GFLOPs are 2 x MACs plus 0.2 to 0.5 %."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published latency and the structure it belongs to, rebuilt."""

    name: str
    structure: Structure
    latency_ms: float
    gflops: float


@dataclass(frozen=True, slots=True)
class Work:
    """What the kernels of one network cost, but for the calibrated parameters."""

    macs: Floats
    moved: Floats
    inefficiency: Floats


@dataclass(frozen=True, slots=True)
class Calibration:
    """`rate` in MACs per ms. Errors are signed and relative, one per structure, each from a fit without it."""

    launch_ms: float
    rate: float
    fitted: dict[str, float]
    left_out: dict[str, float]
    left_out_line: dict[str, float]


def published_structures(path: Path) -> list[Published]:
    """Rows of `t4_published.csv` that can be rebuilt to 1.5 % of the published GFLOPs, S once.

    The released four, and variants of S with another neck depth, hidden ratio or widths (report, table 3).
    """
    with path.open() as file:
        rows = {(row["source"], row["model"]): row for row in csv.DictReader(file)}
    found = []
    for (source, model), structure in _rebuilt().items():
        row = rows.get((source, model))
        if row is None:
            raise UserError(f"{path}: the row {source}, {model} is missing")
        gflops = 2e-9 * float(conv_macs(emit_detector(structure))) * MAC_ONLY_GFLOPS
        if abs(gflops / float(row["gflops"]) - 1) <= GFLOPS_TOLERANCE:
            found.append(Published(model, structure, float(row["t4_trt_fp16_ms"]), float(row["gflops"])))
    return found


def _rebuilt() -> dict[tuple[str, str], Structure]:
    small = resolve_structure("S")
    structures = {("Table 9", name): resolve_structure(name) for name in "TSML"}
    for name, depth, ratio, out in (
        ("neck depth 2 width 192-192-192", 2 / 3, 0.75, (192, 192, 192)),
        ("neck depth 2 width 128-256-512", 2 / 3, 1.0, (128, 256, 512)),
        ("neck depth 3 width 160-160-160", 1.0, 1.0, (160, 160, 160)),
        ("neck depth 4 width 64-128-256", 4 / 3, 0.5, (128, 256, 512)),
    ):
        neck = replace(small.neck, depth=depth, hidden_ratio=ratio, out_channels=out)
        structures["Table 3", name] = replace(small, neck=neck)
    return structures


def network_kernels(structure: Structure) -> list[Kernel]:
    """The kernels of a network under TensorRT, repeats written out."""
    sites = fuse(emit_detector(structure), fusion_rules("tensorrt"))
    return [site.kernel for site in sites for _ in range(int(site.count))]


def kernel_work(kernels: Sequence[Kernel], v100: V100Convs) -> Work:
    macs, moved = np.array([work(kernel) for kernel in kernels]).T
    inefficiency = np.ones(len(kernels))
    convs = [index for index, kernel in enumerate(kernels) if kernel.kind in CONV_KINDS]
    if convs:
        chosen = [kernels[index] for index in convs]
        floor = np.array([v100.floor_ms[conv_type(kernel)] for kernel in chosen])
        busy = np.maximum(v100.latency_ms(chosen) - floor + V100_LAUNCH_MS, V100_LAUNCH_MS / 2)
        roofline = np.maximum(macs[convs] / V100_RATE, moved[convs] / V100_BANDWIDTH)
        inefficiency[convs] = busy / (V100_LAUNCH_MS + roofline)
    return Work(macs, moved, inefficiency)


def latency_ms(work: Work, launch_ms: float, rate: float) -> Floats:
    """T4 latency per kernel."""
    result: Floats = launch_ms + np.maximum(work.macs / rate, work.moved / T4_BANDWIDTH) * work.inefficiency**CARRY
    return result


def calibrate(structures: Sequence[Published], v100: V100Convs) -> Calibration:
    """Fit launch and rate on relative errors; leave each structure out once, beside a straight line in GFLOPs."""
    works = [kernel_work(network_kernels(item.structure), v100) for item in structures]
    target = np.array([item.latency_ms for item in structures])
    gflops = np.array([item.gflops for item in structures])
    everything = list(range(len(structures)))
    launch, rate = _fit(works, target, everything)
    left_out, line, fitted = {}, {}, {}
    for index, item in enumerate(structures):
        rest = [other for other in everything if other != index]
        fitted[item.name] = float(latency_ms(works[index], launch, rate).sum() / target[index] - 1)
        left_out[item.name] = float(latency_ms(works[index], *_fit(works, target, rest)).sum() / target[index] - 1)
        design = np.column_stack([np.ones(len(rest)), gflops[rest]]) / target[rest, None]
        constant, slope = np.linalg.lstsq(design, np.ones(len(rest)), rcond=None)[0]
        line[item.name] = float((constant + slope * gflops[index]) / target[index] - 1)
    return Calibration(launch, rate, fitted, left_out, line)


def _fit(works: Sequence[Work], target: Floats, chosen: Sequence[int]) -> tuple[float, float]:
    from scipy.optimize import least_squares

    def errors(logs: Floats) -> Floats:
        launch, rate = np.exp(logs)
        return np.array([latency_ms(works[index], launch, rate).sum() / target[index] - 1 for index in chosen])

    launch, rate = np.exp(least_squares(errors, np.log([0.015, 10e9])).x)
    return float(launch), float(rate)

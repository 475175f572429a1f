"""Public measurements of single convolutions on a V100 under TensorRT, as a smooth function of the kernel.

The rows cover channel ratios of 1/4 to 4 only; between and beyond them a launch + roofline curve fitted per kernel type
carries on, corrected by the interpolated residuals of the nearest measurements.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latency_tables.kernels import Kernel
from search_spaces.errors import UserError

Floats = npt.NDArray[np.float64]
ConvType = tuple[str, int, int, bool]
NEIGHBOURS = 16
SMOOTHING = 0.3
BELOW, ABOVE = np.array([2, 4, 4, 0.4]), np.array([2, 4, 4, 1.5])
"""How far the logs of launch, rate, bandwidth and power may move from their start in a fit."""
CONV_KINDS = ("stem", "conv", "depthwise")


def conv_type(kernel: Kernel) -> ConvType:
    """(kind, kernel, stride, fused add) as the measurements have them."""
    return "depthwise" if kernel.kind == "depthwise" else "conv", int(kernel.kernel), kernel.stride, kernel.fused_add


def work(kernel: Kernel) -> tuple[float, float]:
    """(MACs, bytes moved in fp16) of one kernel; bytes count channels padded to 8, as TensorRT lays them out."""
    side, inputs, outputs = kernel.area**0.5, float(kernel.in_channels), float(kernel.out_channels)
    if kernel.kind == "detect":
        return 0.0, 2.0 * 2 * kernel.area * (inputs + outputs)
    if kernel.kind not in CONV_KINDS:
        factor = {"add": 3, "concat": 2, "max_pool": 2, "upsample": 5, "space_to_depth": 2}[kernel.kind]
        return 0.0, 2.0 * factor * kernel.area * inputs
    macs, moved = _conv_work(conv_type(kernel), np.array([[inputs, outputs, side]]))
    return float(macs[0]), float(moved[0])


@dataclass(frozen=True, slots=True)
class V100Convs:
    """`floor_ms`: what the smallest kernels of a type take (launch and synchronisation of the measuring harness)."""

    curves: dict[ConvType, Floats]
    residuals: dict[ConvType, Any]
    hulls: dict[ConvType, tuple[Floats, Floats]]
    floor_ms: dict[ConvType, float]

    def latency_ms(self, kernels: Sequence[Kernel]) -> Floats:
        """Latency on the V100 of convolutions of any type that was measured."""
        result = np.empty(len(kernels))
        by_type: dict[ConvType, list[int]] = {}
        for index, kernel in enumerate(kernels):
            by_type.setdefault(conv_type(kernel), []).append(index)
        for kind, indices in by_type.items():
            if kind not in self.curves:
                raise UserError(f"the V100 measurements have no {kind} convolutions")
            shapes = np.array([_shape(kernels[index]) for index in indices])
            inside = np.clip(np.log2(shapes), *self.hulls[kind])
            result[indices] = _curve(self.curves[kind], kind, shapes) * np.exp(self.residuals[kind](inside))
        return result


def read_v100(path: Path, precision: str = "fp16", batch: int = 1) -> V100Convs:
    """Read `conv.csv.gz` and fit it. Raises UserError when it holds no rows of this precision and batch."""
    from scipy.interpolate import RBFInterpolator
    from scipy.optimize import least_squares

    measured: dict[ConvType, list[tuple[float, ...]]] = {}
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            if row["precision"] == precision and int(row["batch"]) == batch:
                kind = "depthwise" if row["conv_type"] == "depthwise" else "conv"
                key = (kind, int(row["kernel"]), int(row["stride"]), row["fused_add"] == "1")
                values = (row["in_channels"], row["out_channels"], row["in_h"], row["latency_ms"])
                measured.setdefault(key, []).append(tuple(float(value) for value in values))
    if not measured:
        raise UserError(f"{path}: no rows of {precision}, batch {batch}")
    curves, residuals, hulls, floors = {}, {}, {}, {}
    for key, rows in sorted(measured.items()):
        table = np.array(rows)
        shapes, latency = table[:, :3], table[:, 3]
        start = np.log([latency.min(), 50e9, 600e6, 1.5])
        fit = least_squares(
            lambda p, s=shapes, t=latency, k=key: np.log(_curve(p, k, s) / t), start,
            bounds=(start - BELOW, start + ABOVE),
        )  # fmt: skip
        curves[key] = fit.x
        logs = np.log2(shapes)
        rest = np.log(latency / _curve(fit.x, key, shapes))
        residuals[key] = RBFInterpolator(logs, rest, neighbors=NEIGHBOURS, kernel="linear", smoothing=SMOOTHING)
        hulls[key] = (logs.min(axis=0), logs.max(axis=0))
        floors[key] = float(np.quantile(latency, 0.05))
    return V100Convs(curves, residuals, hulls, floors)


def _shape(kernel: Kernel) -> tuple[float, float, float]:
    return float(kernel.in_channels), float(kernel.out_channels), kernel.area**0.5


def _conv_work(kind: ConvType, shapes: Floats) -> tuple[Floats, Floats]:
    name, size, stride, add = kind
    inputs, outputs, side = shapes.T
    out_area = np.ceil(side / stride) ** 2
    weights = outputs * size**2 * (1.0 if name == "depthwise" else inputs)
    padded_in, padded_out = np.ceil(inputs / 8) * 8, np.ceil(outputs / 8) * 8
    return weights * out_area, 2.0 * (padded_in * side**2 + padded_out * out_area * (2 if add else 1) + weights)


def _curve(parameters: Floats, kind: ConvType, shapes: Floats) -> Floats:
    """launch + ((MACs / rate)^p + (bytes / bandwidth)^p)^(1/p); parameters are logarithms, rates per ms."""
    launch, rate, bandwidth, power = np.exp(parameters)
    macs, moved = _conv_work(kind, shapes)
    result: Floats = launch + ((macs / rate) ** power + (moved / bandwidth) ** power) ** (1 / power)
    return result

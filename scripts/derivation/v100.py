"""Public measurements of single convolutions on a V100 under TensorRT, as a smooth function of the kernel.

The rows cover channel ratios of 1/4 to 4 only; between and beyond them a launch + roofline curve fitted per kernel type
carries on, corrected by the interpolated residuals of the nearest measurements.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Setting:
    """What the measurements of one table share. `padding`: channels are laid out in multiples of it."""

    precision: str
    batch: int

    @property
    def element_bytes(self) -> int:
        return {"fp32": 4, "fp16": 2, "int8": 1}[self.precision]

    @property
    def padding(self) -> int:
        return {"fp32": 1, "fp16": 8, "int8": 4}[self.precision]


FP16_B1 = Setting("fp16", 1)


def work(kernel: Kernel, setting: Setting = FP16_B1) -> tuple[float, float]:
    """(MACs, bytes moved) of one kernel for the whole batch; convs' bytes count channels padded as TensorRT lays them
    out."""
    side, inputs, outputs = kernel.area**0.5, float(kernel.in_channels), float(kernel.out_channels)
    map_bytes = setting.batch * setting.element_bytes * kernel.area
    if kernel.kind == "detect":
        return 0.0, 2 * map_bytes * (inputs + outputs)
    if kernel.kind not in CONV_KINDS:
        factor = {"add": 3, "concat": 2, "max_pool": 2, "upsample": 5, "space_to_depth": 2}[kernel.kind]
        return 0.0, factor * map_bytes * inputs
    macs, moved = _conv_work(conv_type(kernel), np.array([[inputs, outputs, side]]), setting)
    return float(macs[0]), float(moved[0])


@dataclass(frozen=True, slots=True)
class V100Convs:
    """`floor_ms`: what the smallest kernels of a type take (launch and synchronisation of the measuring harness)."""

    curves: dict[ConvType, Floats]
    residuals: dict[ConvType, Any]
    hulls: dict[ConvType, tuple[Floats, Floats]]
    floor_ms: dict[ConvType, float]
    setting: Setting = FP16_B1

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
            result[indices] = _curve(self.curves[kind], kind, shapes, self.setting) * np.exp(
                self.residuals[kind](inside)
            )
        return result


def read_v100(path: Path, precision: str = "fp16", batch: int = 1) -> V100Convs:
    """Read `conv.csv.gz` and fit it. Raises UserError when it holds no rows of this precision and batch."""
    setting = Setting(precision, batch)
    measured = read_measured(path).get(setting)
    if measured is None:
        raise UserError(f"{path}: no rows of {precision}, batch {batch}")
    return fit_v100(measured, setting)


def read_measured(path: Path) -> dict[Setting, dict[ConvType, Floats]]:
    """The measurements of `conv.csv.gz`: arrays (rows, 4) of in channels, out channels, side in px, ms for the batch."""
    measured: dict[Setting, dict[ConvType, list[tuple[float, ...]]]] = {}
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            kind = "depthwise" if row["conv_type"] == "depthwise" else "conv"
            key = (kind, int(row["kernel"]), int(row["stride"]), row["fused_add"] == "1")
            values = (row["in_channels"], row["out_channels"], row["in_h"], row["latency_ms"])
            rows = measured.setdefault(Setting(row["precision"], int(row["batch"])), {}).setdefault(key, [])
            rows.append(tuple(float(value) for value in values))
    return {
        setting: {key: np.array(rows) for key, rows in sorted(types.items())} for setting, types in measured.items()
    }


def fit_v100(measured: Mapping[ConvType, Floats], setting: Setting) -> V100Convs:
    """Curves and residuals from measured rows (see `read_measured`)."""
    from scipy.interpolate import RBFInterpolator
    from scipy.optimize import least_squares

    curves, residuals, hulls, floors = {}, {}, {}, {}
    for key, table in measured.items():
        shapes, latency = table[:, :3], table[:, 3]
        start = np.log([latency.min(), 50e9, 600e6, 1.5])
        fit = least_squares(
            lambda p, s=shapes, t=latency, k=key: np.log(_curve(p, k, s, setting) / t), start,
            bounds=(start - BELOW, start + ABOVE),
        )  # fmt: skip
        curves[key] = fit.x
        logs = np.log2(shapes)
        rest = np.log(latency / _curve(fit.x, key, shapes, setting))
        residuals[key] = RBFInterpolator(logs, rest, neighbors=NEIGHBOURS, kernel="linear", smoothing=SMOOTHING)
        hulls[key] = (logs.min(axis=0), logs.max(axis=0))
        floors[key] = float(np.quantile(latency, 0.05))
    return V100Convs(curves, residuals, hulls, floors, setting)


def _shape(kernel: Kernel) -> tuple[float, float, float]:
    return float(kernel.in_channels), float(kernel.out_channels), kernel.area**0.5


def _conv_work(kind: ConvType, shapes: Floats, setting: Setting) -> tuple[Floats, Floats]:
    name, size, stride, add = kind
    inputs, outputs, side = shapes.T
    out_area = np.ceil(side / stride) ** 2
    weights = outputs * size**2 * (1.0 if name == "depthwise" else inputs)
    step = setting.padding
    padded_in, padded_out = np.ceil(inputs / step) * step, np.ceil(outputs / step) * step
    maps = setting.batch * (padded_in * side**2 + padded_out * out_area * (2 if add else 1))
    return setting.batch * weights * out_area, setting.element_bytes * (maps + weights)


def _curve(parameters: Floats, kind: ConvType, shapes: Floats, setting: Setting) -> Floats:
    """launch + ((MACs / rate)^p + (bytes / bandwidth)^p)^(1/p); parameters are logarithms, rates per ms."""
    launch, rate, bandwidth, power = np.exp(parameters)
    macs, moved = _conv_work(kind, shapes, setting)
    result: Floats = launch + ((macs / rate) ** power + (moved / bandwidth) ** power) ** (1 / power)
    return result

"""Multilinear interpolation of log latency over log channels and log map area, exact on the grid's points.

Beyond the grid the last cell's slope goes on (an axis of one point: proportional); callers report it as extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latency_tables.tables import Floats, Grid


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One group's log latency at one map area, over (in channels, out channels), and the same for the share of
    measured points behind it. `outside`: the area lies beyond the grid. `on_grid`: it is one of the grid's."""

    inputs: Floats
    outputs: Floats
    log_ms: Floats
    measured: Floats
    outside: bool
    on_grid: bool

    def covers(self, low_in: int, high_in: int, low_out: int, high_out: int) -> bool:
        """Whether a range of channels lies in the grid."""
        return (
            not self.outside
            and within(self.inputs, low_in, high_in)
            and ((len(self.outputs) == 1 and self.outputs[0] == 1) or within(self.outputs, low_out, high_out))
        )

    def latency(self, inputs: Floats, outputs: Floats) -> Floats:
        """Latency in ms on the outer product of two channel lists: (len(inputs), len(outputs))."""
        over_in = blend(self.inputs, inputs, self.log_ms)
        return np.exp(blend(self.outputs, outputs, over_in.T).T)

    def measured_share(self, inputs: float, outputs: float) -> float:
        """Weight of measured points in the interpolation at one pair of channels."""
        over_in = blend(self.inputs, np.array([inputs]), self.measured, slope=0.0)
        return float(np.clip(blend(self.outputs, np.array([outputs]), over_in.T, slope=0.0), 0, 1).item())


def plane(grid: Grid, area: int) -> Plane:
    """A grid cut at one map area."""
    inputs, outputs, areas = grid.axes
    where = np.array([float(area)])
    cut = blend(areas, where, np.moveaxis(grid.log_ms, 2, 0))[0]
    measured = blend(areas, where, np.moveaxis(grid.measured.astype(np.float64), 2, 0), slope=0.0)[0]
    return Plane(inputs, outputs, cut, measured, not within(areas, area, area), bool((areas == area).any()))


def within(axis: Floats, low: float, high: float) -> bool:
    return bool(axis[0] <= low and high <= axis[-1])


def blend(axis: Floats, wanted: Floats, values: Floats, slope: float = 1.0) -> Floats:
    """`values` (len(axis), ...) interpolated along their first axis at `wanted`, linearly in log `axis`.

    `slope`: d log value / d log coordinate where the axis has one point only.
    """
    log_wanted = np.log(np.maximum(wanted, 1.0))
    tail = (1,) * (values.ndim - 1)
    if len(axis) == 1:
        shift = slope * (log_wanted - np.log(axis[0])) if axis[0] != 1 else np.zeros(len(wanted))
        return values + shift.reshape(-1, *tail)
    knots = np.log(axis)
    left = np.clip(np.searchsorted(knots, log_wanted, side="right") - 1, 0, len(axis) - 2)
    weight: npt.NDArray[np.float64] = (log_wanted - knots[left]) / (knots[left + 1] - knots[left])
    weight = weight.reshape(-1, *tail)
    # On a knot one weight is exactly 0 and the other 1, so the table's figure comes back unchanged.
    return values[left] * (1 - weight) + values[left + 1] * weight

"""Multilinear interpolation of log latency over log channels and log map area, exact on the grid's points.

Beyond the grid the last cell's slope goes on (an axis of one point: proportional); callers report it as extrapolated.
A device that works on channels in blocks (16 on AVX-512) is slower on a part-filled last block: widths that fill their
blocks and widths that do not are grids of their own, so that neither is interpolated from the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from latency_tables.tables import HOLE, SOURCES, Floats, Grid

Shares = tuple[float, float, float, float, float, float]


class Latencies(NamedTuple):
    """Latencies in `ms`, and which of them lie `beyond` what the table covers; two arrays of one shape."""

    ms: Floats
    beyond: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """One grid's log latency at one map area, over (in channels, out channels). `origins` (in, out, 5): which share of a
    point is measured, fitted, derived, adapted and a hole. `outside`: the area lies beyond the grid. `on_grid`: it is one
    of the grid's."""

    inputs: Floats
    outputs: Floats
    log_ms: Floats
    origins: Floats
    outside: bool
    on_grid: bool

    def latency(self, inputs: Floats, outputs: Floats) -> Latencies:
        """On the outer product of two channel lists: (len(inputs), len(outputs))."""
        over_in = blend(self.inputs, inputs, self.log_ms)
        latency: Floats = np.exp(blend(self.outputs, outputs, over_in.T).T)
        return Latencies(latency, self._beyond(inputs, outputs))

    def shares(self, inputs: float, outputs: float) -> Shares:
        """Shares of measured, interpolated, fitted, derived, adapted and extrapolated at one pair of channels."""
        where_in, where_out = np.array([inputs]), np.array([outputs])
        if self._beyond(where_in, where_out)[0, 0]:
            return 0.0, 0.0, 0.0, 0.0, 0.0, 1.0
        over_in = blend(self.inputs, where_in, self.origins, slope=0.0)
        found = blend(self.outputs, where_out, np.moveaxis(over_in, 1, 0), slope=0.0)[0, 0]
        measured, fitted, derived, adapted = (float(np.clip(share, 0, 1)) for share in found[:HOLE])
        exact = self.on_grid and inputs in self.inputs and outputs in self.outputs
        known = (measured, 0.0) if exact else (0.0, measured)
        return (*known, fitted, derived, adapted, 0.0)

    def _beyond(self, inputs: Floats, outputs: Floats) -> npt.NDArray[np.bool_]:
        if self.outside:
            return np.ones((len(inputs), len(outputs)), dtype=np.bool_)
        off_in, off_out = ~_inside(self.inputs, inputs), ~_inside(self.outputs, outputs)
        beyond = off_in[:, None] | off_out
        holes = self.origins[..., HOLE]
        if holes.any():
            over_in = blend(self.inputs, inputs, holes, slope=0.0)
            beyond = beyond | (blend(self.outputs, outputs, over_in.T, slope=0.0).T > 1e-9)
        return np.broadcast_to(beyond, (len(inputs), len(outputs)))


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Planes of a group at one map area: `full` for widths in whole blocks, `tail` for the others (None: all widths are
    one plane). `by_inputs`: the width that counts is the in channels (kinds with one channel axis)."""

    full: Plane
    tail: Plane | None
    block: int
    by_inputs: bool

    def latency(self, inputs: Floats, outputs: Floats) -> Latencies:
        """As `Plane.latency`."""
        full = self.full.latency(inputs, outputs)
        if self.tail is None:
            return full
        part_filled = (inputs[:, None] if self.by_inputs else outputs[None, :]) % self.block > 0
        tail = self.tail.latency(inputs, outputs)
        return Latencies(np.where(part_filled, tail.ms, full.ms), np.where(part_filled, tail.beyond, full.beyond))

    def shares(self, inputs: float, outputs: float) -> Shares:
        """As `Plane.shares`."""
        tail = self.tail is not None and (inputs if self.by_inputs else outputs) % self.block > 0
        return (self.tail if tail and self.tail is not None else self.full).shares(inputs, outputs)


def plane(grid: Grid, area: int) -> Plane:
    """A grid cut at one map area."""
    inputs, outputs, areas = grid.axes
    where = np.array([float(area)])
    cut = blend(areas, where, np.moveaxis(grid.log_ms, 2, 0))[0]
    indicators = (grid.origin[..., None] == np.arange(len(SOURCES) + 1)).astype(np.float64)
    origins = blend(areas, where, np.moveaxis(indicators, 2, 0), slope=0.0)[0]
    return Plane(
        inputs=inputs,
        outputs=outputs,
        log_ms=cut,
        origins=origins,
        outside=not within(areas, area, area),
        on_grid=bool((areas == area).any()),
    )


def within(axis: Floats, low: float, high: float) -> bool:
    """Whether a range lies between an axis's ends."""
    return bool(axis[0] <= low and high <= axis[-1])


def _inside(axis: Floats, values: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray((values >= axis[0]) & (values <= axis[-1]))


def blend(axis: Floats, wanted: Floats, values: Floats, slope: float = 1.0) -> Floats:
    """`values` (len(axis), ...) interpolated along their first axis at `wanted`, linearly in log `axis`.

    `slope`: d log value / d log coordinate where the axis has one point only.
    """
    log_wanted = np.log(np.maximum(wanted, 1.0))
    tail = (1,) * (values.ndim - 1)
    if len(axis) == 1:
        shift: Floats = slope * (log_wanted - np.log(axis[0]))
        return values + shift.reshape(-1, *tail)
    knots = np.log(axis)
    left = np.clip(np.searchsorted(knots, log_wanted, side="right") - 1, 0, len(axis) - 2)
    weight: npt.NDArray[np.float64] = (log_wanted - knots[left]) / (knots[left + 1] - knots[left])
    weight = weight.reshape(-1, *tail)
    # On a knot one weight is exactly 0 and the other 1, so the table's figure comes back unchanged.
    return values[left] * (1 - weight) + values[left + 1] * weight

"""From what was measured to a whole table: cells of a grid that nobody measured are fitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from latency_tables.kernels import TWO_CHANNEL_KINDS, Kernel
from latency_tables.tables import Floats, Group, Row, row_key
from search_spaces.errors import UserError

STEEPEST = 1.2
"""Largest slope of log latency over the log of a dimension that a fit continues with."""


def complete(cells: Iterable[Kernel], measured: Sequence[Row]) -> list[Row]:
    """The measured rows, and `fitted` ones for the cells of their grids that were not measured.

    A hole is filled from its neighbours along each axis: log latency goes on with the slope of the nearest two on that
    axis, averaged over the axes, nearest holes first. Groups with nothing measured are left out.
    """
    rows = {row_key(row.kernel): row for row in measured}
    by_group: dict[Group, list[Kernel]] = {}
    for kernel in cells:
        key = Group(kernel.kind, int(kernel.kernel), kernel.stride, kernel.activation, kernel.fused_add)
        by_group.setdefault(key, []).append(kernel)
    result: list[Row] = []
    for group, kernels in by_group.items():
        if not any(row_key(kernel) in rows for kernel in kernels):
            continue
        places, shape = _places(group, kernels)
        logs = np.full(shape, np.nan)
        coordinates = [np.log([_axes(group, kernel)[axis] for kernel in kernels]) for axis in range(3)]
        knots = [np.unique(column) for column in coordinates]
        for kernel, place in zip(kernels, places):
            if row_key(kernel) in rows:
                logs[place] = np.log(rows[row_key(kernel)].latency_ms)
        filled = fill(logs, knots)
        for kernel, place in zip(kernels, places):
            known = rows.get(row_key(kernel))
            result.append(known or Row(kernel, float(np.exp(filled[place])), source="fitted"))
    return result


def fill(logs: Floats, knots: Sequence[Floats]) -> Floats:
    """A grid with its NaNs filled by continuing along the axes, nearest first (an axis with one point: in proportion)."""
    filled = logs.copy()
    while np.isnan(filled).any():
        holes = np.argwhere(np.isnan(filled))
        guesses = {tuple(hole): _guess(filled, tuple(hole), knots) for hole in holes}
        ready = {hole: guess for hole, guess in guesses.items() if guess is not None}
        if not ready:
            raise UserError("too few kernels were measured to complete the table; give the profile more time")
        for hole, guess in ready.items():
            filled[hole] = guess
    return filled


def _guess(filled: Floats, hole: tuple[int, ...], knots: Sequence[Floats]) -> float | None:
    continued, proportional = [], []
    for axis, coordinates in enumerate(knots):
        line = np.moveaxis(filled, axis, -1)[hole[:axis] + hole[axis + 1 :]]
        known = np.flatnonzero(~np.isnan(line))
        if len(known) == 0 or int(np.abs(known - hole[axis]).min()) > 1:
            continue
        nearest = known[np.argsort(np.abs(coordinates[known] - coordinates[hole[axis]]), kind="stable")[:2]]
        step = coordinates[hole[axis]] - coordinates[nearest[0]]
        if len(nearest) == 2:
            rise = line[nearest[1]] - line[nearest[0]]
            slope = float(np.clip(rise / (coordinates[nearest[1]] - coordinates[nearest[0]]), 0.0, STEEPEST))
            continued.append(float(line[nearest[0]] + slope * step))
        else:
            proportional.append(float(line[nearest[0]] + step))
    guesses = continued or proportional
    return float(np.mean(guesses)) if guesses else None


def _axes(group: Group, kernel: Kernel) -> tuple[float, float, float]:
    outputs = float(kernel.out_channels) if group.kind in TWO_CHANNEL_KINDS else 1.0
    return float(kernel.in_channels), outputs, float(kernel.area)


def _places(group: Group, kernels: Sequence[Kernel]) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    columns = np.array([_axes(group, kernel) for kernel in kernels]).T
    inverse = [np.unique(column, return_inverse=True) for column in columns]
    shape = tuple(len(values) for values, _ in inverse)
    return [tuple(int(index[1][row]) for index in inverse) for row in range(len(kernels))], shape

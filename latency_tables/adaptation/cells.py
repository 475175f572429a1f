"""The grids of a table under adaptation: the source's own where it covers what networks run, else those in their reach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from latency_tables.adaptation.source import group_of
from latency_tables.kernels import TWO_CHANNEL_KINDS, FusionRules, Kernel
from latency_tables.reach import Cells, reach
from latency_tables.tables import Group, kernel_in_tail
from search_spaces.graph import Graph


def cells_of(kernels: Iterable[Kernel], rules: FusionRules) -> list[Cells]:
    """The grids that a table's kernels are, one per group and tail class, without visits."""
    found: dict[tuple[Group, bool], list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        found[group_of(kernel), kernel_in_tail(kernel, rules.tail_block)].append(kernel)
    return [_grid(group, members) for (group, _), members in sorted(found.items(), key=lambda item: str(item[0]))]


def cells_for(graphs: Sequence[Graph], rules: FusionRules, kernels: Sequence[Kernel]) -> list[Cells]:
    """Grids that hold `kernels`, and the networks' kernels beyond them: a grid that the networks leave on any side gets
    the points of what is in their reach."""
    known = {_name(grid, rules): grid for grid in cells_of(kernels, rules)}
    for grid in reach(graphs, rules):
        name = _name(grid, rules)
        if name not in known or not _holds(known[name], grid):
            known[name] = grid if name not in known else _joined(known[name], grid)
    return [known[name] for name in sorted(known, key=str)]


def _name(grid: Cells, rules: FusionRules) -> tuple[Group, bool]:
    return grid.group, kernel_in_tail(grid.kernels[0], rules.tail_block)


def _holds(known: Cells, wanted: Cells) -> bool:
    """Whether every cell that the networks visit lies within the ends of a grid's axes."""
    visited = wanted.places[wanted.visits > 0]
    return all(
        len(visited) == 0 or (axis[0] <= other[column].min() and other[column].max() <= axis[-1])
        for axis, other, column in zip(known.axes, wanted.axes, visited.T)
    )


def _joined(first: Cells, second: Cells) -> Cells:
    """The first grid, and the second's channels and maps that lie beyond its ends."""
    maps = {kernel.area: (kernel.height, kernel.width) for kernel in (*second.kernels, *first.kernels)}
    expand = float(first.kernels[0].out_channels) / float(first.kernels[0].in_channels)
    two = first.group.kind in TWO_CHANNEL_KINDS
    axes = [np.union1d(a, b[(b < a[0]) | (b > a[-1])]) for a, b in zip(first.axes, second.axes)]
    kernels = []
    for point in product(*axes):
        if not any(
            all(axis[0] <= value <= axis[-1] for axis, value in zip(grid.axes, point)) for grid in (first, second)
        ):
            continue
        inputs, outputs, area = (int(value) for value in point)
        height, width = maps[area]
        kernels.append(replace(
            first.kernels[0], in_channels=inputs, out_channels=outputs if two else round(inputs * expand), height=height,
            width=width,
        ))  # fmt: skip
    return _grid(first.group, kernels)


def _grid(group: Group, kernels: Sequence[Kernel]) -> Cells:
    two = group.kind in TWO_CHANNEL_KINDS
    points = np.array([[k.in_channels, k.out_channels if two else 1, k.area] for k in kernels], dtype=np.float64)
    axes, places = [], []
    for column in points.T:
        values, inverse = np.unique(column, return_inverse=True)
        axes.append(values)
        places.append(inverse)
    return Cells(group, (axes[0], axes[1], axes[2]), np.stack(places, axis=1), np.zeros(len(kernels)), tuple(kernels))

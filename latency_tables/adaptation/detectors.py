"""Which cells of a table detectors read, detector by detector: what the error of a whole detector is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from latency_tables.fusion import FusionRules, fuse
from latency_tables.kernels import TWO_CHANNEL_KINDS, Group, Kernel, in_tail, kernel_in_tail
from latency_tables.reach import Cells, corners
from latency_tables.tables import Floats
from search_spaces.graph import Graph


def runs_of_cells(graphs: Iterable[Graph], rules: FusionRules, grids: Sequence[Cells]) -> Floats:
    """(D, N): how often each detector runs each cell when its kernels are interpolated; N cells, grid after grid.

    A population counts as one detector per member. Kernels that no grid holds are left out.
    """
    firsts = np.cumsum([0, *(len(grid.kernels) for grid in grids)])
    lookup: Lookup = {}
    for grid, first in zip(grids, firsts):
        lookup[grid.group, kernel_in_tail(grid.kernels[0], rules.tail_block)] = (grid, _places(grid), int(first))
    found = []
    for graph in graphs:
        sites = fuse(graph, rules)
        members = max(np.size(part) for site in sites for part in (site.kernel.out_channels, site.count))
        runs = np.zeros((members, firsts[-1]))
        for site in sites:
            _add(runs, site.kernel, np.broadcast_to(site.count, members), rules, lookup)
        found.append(runs)
    return np.concatenate(found)


Lookup = dict[tuple[Group, bool], tuple[Cells, npt.NDArray[np.intp], int]]


def _add(runs: Floats, kernel: Kernel, counts: npt.NDArray[np.int64], rules: FusionRules, lookup: Lookup) -> None:
    """Add one site's runs, (D, N) in place."""
    members = len(runs)
    inputs, outputs, sizes = (
        np.broadcast_to(np.asarray(column, dtype=np.float64), members)
        for column in (kernel.in_channels, kernel.out_channels, kernel.kernel)
    )
    tails = np.broadcast_to(in_tail(kernel.kind, inputs, outputs, rules.tail_block), members)
    wide = outputs if kernel.kind in TWO_CHANNEL_KINDS else np.ones(members)
    for size in np.unique(sizes[counts > 0]):
        group = Group.of(kernel, int(size))
        for tail in (False, True):
            chosen = np.flatnonzero((counts > 0) & (sizes == size) & (tails == tail))
            # a table whose widths are all of one class has but one grid for both
            entry = lookup.get((group, tail)) or lookup.get((group, not tail))
            if not len(chosen) or entry is None:
                continue
            grid, places, first = entry
            samples = np.stack([inputs[chosen], wide[chosen], np.full(len(chosen), kernel.area)], axis=1)
            flat, shares = corners(samples, grid.axes)
            cells = places[flat]
            held = (cells >= 0) & (shares > 0)
            owners = np.broadcast_to(chosen, cells.shape)
            np.add.at(runs, (owners[held], first + cells[held]), (shares * counts[chosen])[held])


def _places(grid: Cells) -> npt.NDArray[np.intp]:
    """Cell by flat place on the grid's axes; -1 where there is none."""
    shape = tuple(len(axis) for axis in grid.axes)
    places = np.full(int(np.prod(shape)), -1, dtype=np.intp)
    places[np.ravel_multi_index(tuple(grid.places.T), shape)] = np.arange(len(grid.kernels))
    return places

"""Which kernels the networks of given spaces run: grids of cells, and how often networks visit each cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from latency_tables.fusion import FusionRules, fuse
from latency_tables.kernels import TWO_CHANNEL_KINDS, Group, Kernel, in_tail, kernel_in_tail
from latency_tables.tables import Floats
from search_spaces.graph import Graph

CHANNEL_RATIO = 1.5
AREA_RATIO = 2.0
"""Largest steps of a grid's axes, where the networks have anything in between."""
Sizes = dict[tuple[bool, int], tuple[int, int]]
"""(Whether it is decoding, area) -> height and width that kernels of this area are measured at. The priors that are
decoded are no map, even where they are as many as the elements of one."""
ALONE = ("stem", "space_to_depth", "detect")
"""Kinds that runtimes measure in models of their own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """One grid: its kernels, their places (n, 3) on `axes`, and how often an average network of one megapixel runs each
    (`visits`; 0 for cells that only surround visited ones)."""

    group: Group
    axes: tuple[Floats, Floats, Floats]
    places: npt.NDArray[np.intp]
    visits: Floats
    kernels: tuple[Kernel, ...]


def reach(graphs: Iterable[Graph], rules: FusionRules, known: Iterable[Kernel] = ()) -> list[Cells]:
    """Grids that hold every kernel of the networks (populations or single ones), one per group and tail class.

    A cell is needed when interpolating a network's kernel reads it; the cells around needed ones come along. `known`:
    kernels of a table that the grids shall go on from: its cells stay, and its axes get new points beyond their ends only.
    """
    # by group, samples (n, 4): in channels, out channels, area of the map, and runs of a network per megapixel of its image
    found: dict[Group, list[Floats]] = {}
    sizes: Sizes = {}
    before = _by_grid(known, rules, sizes)
    expand: dict[str, float] = {}
    number = 0
    for graph in graphs:
        number += 1
        megapixels = graph.image_size[0] * graph.image_size[1] / 1e6
        for site in fuse(graph, rules):
            kernel = site.kernel
            sizes.setdefault((kernel.kind == "detect", kernel.area), (kernel.height, kernel.width))
            columns = (kernel.in_channels, kernel.out_channels, kernel.kernel, site.count)
            inputs, outputs, kernels, counts = np.broadcast_arrays(*(np.atleast_1d(column) for column in columns))
            members = len(inputs)
            expand.setdefault(kernel.kind, float(outputs[0] / inputs[0]))
            if kernel.kind not in TWO_CHANNEL_KINDS:
                outputs = np.ones_like(inputs)
            for size in np.unique(kernels[counts > 0]):
                chosen = (kernels == size) & (counts > 0)
                group = Group.of(kernel, int(size))
                weights = counts[chosen] / (members * megapixels)
                areas = np.full(len(weights), kernel.area)
                found.setdefault(group, []).append(np.stack([inputs[chosen], outputs[chosen], areas, weights], axis=1))
    areas = _shared_areas(found, sizes)
    grids = []
    for group in sorted({*found, *(group for group, _ in before)}, key=str):
        samples = np.concatenate(found[group]) if group in found else np.empty((0, 4))
        tails = in_tail(group.kind, samples[:, 0], samples[:, 1], rules.tail_block)
        for tail in (False, True):
            held = before.get((group, tail), [])
            if (tails == tail).any():
                grids.append(
                    _cells(group, samples[tails == tail], areas, sizes, expand[group.kind], max(number, 1), held)
                )  # fmt: skip
            elif held:
                grids.append(_grid_of(group, held))
    return grids


def _by_grid(known: Iterable[Kernel], rules: FusionRules, sizes: Sizes) -> dict[tuple[Group, bool], list[Kernel]]:
    """Kernels of a table by group and tail class; their maps are noted in `sizes`."""
    found: dict[tuple[Group, bool], list[Kernel]] = {}
    for kernel in known:
        sizes.setdefault((kernel.kind == "detect", kernel.area), (kernel.height, kernel.width))
        group = Group.of(kernel)
        found.setdefault((group, kernel_in_tail(kernel, rules.tail_block)), []).append(kernel)
    return found


def _grid_of(group: Group, kernels: Sequence[Kernel]) -> Cells:
    """The grid that a table's kernels are, without visits."""
    points = _points(group, kernels)
    axes, places = [], []
    for column in points.T:
        values, inverse = np.unique(column, return_inverse=True)
        axes.append(values)
        places.append(inverse)
    return Cells(
        group=group,
        axes=(axes[0], axes[1], axes[2]),
        places=np.stack(places, axis=1),
        visits=np.zeros(len(kernels)),
        kernels=tuple(kernels),
    )


def _points(group: Group, kernels: Sequence[Kernel]) -> Floats:
    """Coordinates (n, 3) of kernels on a grid's axes."""
    two = group.kind in TWO_CHANNEL_KINDS
    return np.array([[k.in_channels, k.out_channels if two else 1, k.area] for k in kernels], dtype=np.float64)


def knots(values: Floats, ratio: float) -> Floats:
    """Ends and some of `values` between them, no two farther apart than `ratio` if there is a value between."""
    ordered = np.unique(values)
    chosen = [ordered[0]]
    while chosen[-1] < ordered[-1]:
        later = ordered[ordered > chosen[-1]]
        near = later[later <= chosen[-1] * ratio]
        chosen.append(near[-1] if len(near) else later[0])
    return np.array(chosen, dtype=np.float64)


def _shared_areas(found: dict[Group, list[Floats]], sizes: Sizes) -> Floats:
    """One list of map areas for all groups, so that kernels of many groups can share a model. Even sides are preferred:
    a kernel of stride 2 then has exactly a quarter of the area to write."""
    areas = np.unique([samples[0, 2] for group, many in found.items() if group.kind not in ALONE for samples in many])
    if not len(areas):
        return areas
    even = [area for area in areas if all(side % 2 == 0 for side in sizes[False, int(area)])]
    return knots(np.unique([*even, areas[0], areas[-1]]), AREA_RATIO)


def _cells(
    group: Group, samples: Floats, areas: Floats, sizes: Sizes, expand: float, graphs: int, held: Sequence[Kernel]
) -> Cells:  # fmt: skip
    """One grid of a group: axes through the samples (n, 4) of all graphs (their number), or beyond those of the kernels that
    are `held`; its cells are those that the samples read, what surrounds them, and the held ones. `expand`: out channels
    over in channels, of kinds whose kernels have one number of channels."""
    low, high = samples[:, 2].min(), samples[:, 2].max()
    if group.kind in ALONE:
        third = knots(samples[:, 2], AREA_RATIO)
    else:
        third = areas[np.searchsorted(areas, low, side="right") - 1 : np.searchsorted(areas, high) + 1]
    axes = (knots(samples[:, 0], CHANNEL_RATIO), knots(samples[:, 1], CHANNEL_RATIO), third)
    kept = np.empty((0, 3), dtype=np.intp)
    if held:
        points = _points(group, held)
        one, two, three = (_beyond_the_ends(np.unique(column), axis) for column, axis in zip(points.T, axes))
        axes = (one, two, three)
        kept = np.stack([np.searchsorted(axis, column) for axis, column in zip(axes, points.T)], axis=1)
    visits = _visits(samples, axes) / graphs
    needed = _grown(visits > 0)
    needed[tuple(kept.T)] = True
    places = np.argwhere(needed)
    kernels = []
    for inputs, outputs, area in ([axis[place] for axis, place in zip(axes, row)] for row in places):
        height, width = sizes[group.kind == "detect", int(area)]
        wide = int(outputs) if group.kind in TWO_CHANNEL_KINDS else round(inputs * expand)
        kernels.append(group.member(int(inputs), wide, height, width))
    return Cells(group=group, axes=axes, places=places, visits=visits[tuple(places.T)], kernels=tuple(kernels))


def _beyond_the_ends(axis: Floats, other: Floats) -> Floats:
    """An axis, and those of the other's points that lie beyond its ends."""
    return np.union1d(axis, other[(other < axis[0]) | (other > axis[-1])])


def corners(samples: Floats, axes: tuple[Floats, Floats, Floats]) -> tuple[npt.NDArray[np.intp], Floats]:
    """The cells that interpolating at `samples` (n, 3 or more: in channels, out channels, area) reads: their flat places
    on the axes (8, n), and the share of each (8, n). Samples beyond an axis read its end."""
    left, weight = [], []
    for column, axis in zip(samples.T, axes):
        place = np.clip(np.searchsorted(axis, column, side="right") - 1, 0, max(len(axis) - 2, 0))
        logs = np.log(axis)
        right = np.minimum(place + 1, len(axis) - 1)
        span = np.where(right > place, logs[right] - logs[place], 1.0)
        left.append(place)
        weight.append(np.clip((np.log(column) - logs[place]) / span, 0.0, 1.0))
    shape = tuple(len(axis) for axis in axes)
    flat, shares = [], []
    for corner in product((0, 1), repeat=3):
        share = np.ones(len(samples))
        for step, part in zip(corner, weight):
            share = share * (part if step else 1 - part)
        index = [np.minimum(place + step, size - 1) for place, step, size in zip(left, corner, shape)]
        flat.append(np.ravel_multi_index(tuple(index), shape))
        shares.append(share)
    return np.stack(flat), np.stack(shares)


def _visits(samples: Floats, axes: tuple[Floats, Floats, Floats]) -> Floats:
    """How much each cell counts when the samples (n, 4), whose last column counts them, are interpolated."""
    shape = tuple(len(axis) for axis in axes)
    flat, shares = corners(samples, axes)
    counted = shares * samples[:, 3]
    kept = counted > 1e-12
    total: Floats = np.bincount(flat[kept], counted[kept], minlength=int(np.prod(shape))).astype(np.float64)
    return total.reshape(shape)


def _grown(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A mask and its neighbours along each axis."""
    grown = mask.copy()
    for axis in range(mask.ndim):
        for source, target in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            before = np.moveaxis(mask, axis, 0)[source]
            np.moveaxis(grown, axis, 0)[target] |= before
    return grown

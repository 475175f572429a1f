"""Latency of a graph from a table: one network with a full account, or a population in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latency_tables.fusion import fuse
from latency_tables.interpolation import Latencies, Shares, Surface, plane
from latency_tables.kernels import TWO_CHANNEL_KINDS, Group, Kernel, KernelSite
from latency_tables.tables import Floats, Table
from search_spaces.errors import UserError
from search_spaces.graph import PARTS, Dim, Graph

MAX_EXTRAPOLATED = 0.1
"""Largest share of a latency that may come from beyond a table's grid."""
ORIGINS = ("measured", "interpolated", "fitted", "derived", "adapted", "extrapolated")
"""Where latency comes from: a measured row; between measured rows; rows that a fit to measured ones gave; rows computed
from bytes, MACs and launches; another device's rows times a fitted ratio; beyond the table's rows."""
Milliseconds = float | Floats


@dataclass(frozen=True, slots=True)
class SitePrediction:
    """`latency_ms` of all runs of a site's kernel, and its shares by origin (in the order of ORIGINS; they sum to 1)."""

    site: KernelSite
    latency_ms: float
    origins: Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One network's latency. `total_ms` = sum of `parts` + `overhead_ms`. `shares` of the total without overhead."""

    table_id: str
    total_ms: float
    overhead_ms: float
    parts: dict[str, float]
    shares: dict[str, float]
    sites: tuple[SitePrediction, ...]

    def by_op(self) -> dict[int, float]:
        """Latency by op index; a fused kernel's stands with its first op, the others have 0."""
        latency: dict[int, float] = {}
        for item in self.sites:
            for op in item.site.ops:
                latency.setdefault(op, 0.0)
            latency[item.site.ops[0]] += item.latency_ms
        return latency


def predict(graph: Graph, table: Table, *, max_extrapolated: float = MAX_EXTRAPOLATED) -> Prediction:
    """Latency of one network, with every kernel's share and origin.

    Raises UserError when a kernel has no data, or when more than `max_extrapolated` of the latency lies beyond the
    table's grid.
    """
    pricer = Pricer(table, max_extrapolated=max_extrapolated)
    sites = [pricer.site(site) for site in pricer.sites(graph) if np.any(site.count)]
    parts = dict.fromkeys(PARTS, 0.0)
    for item in sites:
        parts[item.site.part] += item.latency_ms
    parts = {part: ms for part, ms in parts.items() if any(item.site.part == part for item in sites)}
    busy = sum(parts.values())
    shares = {
        origin: sum(item.latency_ms * item.origins[index] for item in sites) / busy if busy else 0.0
        for index, origin in enumerate(ORIGINS)
    }
    if shares["extrapolated"] > max_extrapolated:
        worst = max(sites, key=lambda item: item.latency_ms * item.origins[-1])
        raise _too_far(table, shares["extrapolated"], max_extrapolated, worst.site.kernel)
    return Prediction(
        table_id=table.id,
        total_ms=busy + pricer.overhead_ms,
        overhead_ms=pricer.overhead_ms,
        parts=parts,
        shares=shares,
        sites=tuple(sites),
    )


class Pricer:
    """Prices graphs from one table. Keep it between calls: what it compiled for one population serves the next.

    For each kernel group and map area it holds a dense array of latencies over channels, so that a population's kernel
    is priced by one gather.
    """

    def __init__(self, table: Table, *, max_extrapolated: float = MAX_EXTRAPOLATED) -> None:
        self.table = table
        self.rules = table.metadata.rules
        self.overhead_ms = table.metadata.overhead_ms
        self._limit = max_extrapolated
        self._surfaces: dict[tuple[Group, int], Surface] = {}
        self._dense: dict[tuple[object, ...], Latencies] = {}

    def sites(self, graph: Graph) -> list[KernelSite]:
        """The graph's kernels as this table's runtime runs them."""
        return fuse(graph, self.rules)

    def price(self, graph: Graph, parts: Sequence[str] | None = None) -> dict[str, Milliseconds]:
        """Latency in ms by part (`backbone`, `neck`, `head`), without `overhead_ms`.

        Floats for one network, arrays of shape (P,) for a population. Raises UserError as `predict` does.
        """
        spans: dict[int, _Span] = {}
        totals: dict[str, Milliseconds] = {}
        beyond: Any = 0.0
        worst: Kernel | None = None
        worst_ms = 0.0
        for site in self.sites(graph):
            if (parts is not None and site.part not in parts) or not np.any(site.count):
                continue
            latency: Any
            latency, outside = self._kernel_ms(site.kernel, spans)
            if not (isinstance(site.count, int) and site.count == 1):
                latency = latency * site.count
            totals[site.part] = totals.get(site.part, 0.0) + latency
            if outside is not None:
                beyond = beyond + latency * outside
                most = float(np.max(latency * outside))
                if worst is None or most > worst_ms:
                    worst, worst_ms = site.kernel, most
        if worst is not None:
            share = float(np.max(beyond / np.maximum(sum(totals.values()), 1e-12)))
            if share > self._limit:
                raise _too_far(self.table, share, self._limit, worst)
        return {part: ms if isinstance(ms, np.ndarray) else float(ms) for part, ms in totals.items()}

    def total(self, graph: Graph) -> Milliseconds:
        """Latency in ms of the whole graph, overhead included: a float, or an array of shape (P,)."""
        return sum(self.price(graph).values()) + self.overhead_ms

    def site_ms(self, site: KernelSite) -> Milliseconds:
        """Latency in ms of all runs of one kernel site: a float, or an array of shape (P,)."""
        latency: Any = self._kernel_ms(site.kernel, {})[0] if np.any(site.count) else 0.0
        found: Milliseconds = latency * site.count
        return found

    def site(self, site: KernelSite) -> SitePrediction:
        """One kernel site of one network (no populations)."""
        kernel, count = site.kernel, site.count
        if any(isinstance(dim, np.ndarray) for dim in (kernel.in_channels, kernel.out_channels, kernel.kernel, count)):
            raise ValueError("predict is for one network; price a population with Pricer.price")
        latency, _ = self._kernel_ms(kernel, {})
        surface = self._surface(kernel, int(kernel.kernel))
        outputs = float(kernel.out_channels) if kernel.kind in TWO_CHANNEL_KINDS else 1.0
        return SitePrediction(site, float(latency) * int(count), surface.shares(float(kernel.in_channels), outputs))

    def _surface(self, kernel: Kernel, size: int) -> Surface:
        group = Group.of(kernel, size)
        key = (group, kernel.area)
        if key not in self._surfaces:
            full, tail = self.table.grids(group)
            self._surfaces[key] = Surface(
                plane(full, kernel.area), plane(tail, kernel.area) if tail is not None else None,
                self.table.metadata.tail_block, kernel.kind not in TWO_CHANNEL_KINDS,
            )  # fmt: skip
        return self._surfaces[key]

    def _kernel_ms(self, kernel: Kernel, spans: dict[int, _Span]) -> tuple[Milliseconds, Milliseconds | None]:
        """Latency in ms of one run, and which candidates lie beyond the grid (1.0 or a 0 / 1 array; None: none do)."""
        inputs, outputs = _span(kernel.in_channels, spans), _span(kernel.out_channels, spans)
        if kernel.kind not in TWO_CHANNEL_KINDS:
            outputs = _ONE
        sizes = _kernel_sizes(kernel.kernel)
        key = (
            kernel.kind, sizes, kernel.stride, kernel.activation, kernel.fused_add, kernel.area, inputs.grid, outputs.grid,
        )  # fmt: skip
        dense = self._dense.get(key)
        if dense is None:
            surfaces = [self._surface(kernel, size) for size in sizes]
            found = [surface.latency(inputs.values(), outputs.values()) for surface in surfaces]
            ms, beyond = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*found, strict=True))
            dense = self._dense[key] = Latencies(ms, beyond)
        index: Dim = inputs.index * outputs.grid[1] + outputs.index
        if len(sizes) > 1:
            place = np.zeros(max(sizes) + 1, dtype=np.int64)
            place[list(sizes)] = np.arange(len(sizes)) * (inputs.grid[1] * outputs.grid[1])
            index = index + place[kernel.kernel]
        if not isinstance(index, np.ndarray):
            return float(dense.ms[index]), 1.0 if dense.beyond[index] else None
        outside = dense.beyond.take(index)
        return dense.ms.take(index), outside.astype(np.float64) if outside.any() else None


@dataclass(frozen=True, slots=True)
class _Span:
    """A channel dimension as an index into a dense axis: `grid` is (step, length), `index` = channels // step."""

    low: int
    high: int
    grid: tuple[int, int]
    index: Dim

    def values(self) -> Floats:
        step, length = self.grid
        return np.maximum(np.arange(length, dtype=np.float64) * step, 1.0)


_ONE = _Span(1, 1, (1, 1), 0)
_WIDEST_STEP = 8


def _span(channels: Dim, spans: dict[int, _Span]) -> _Span:
    """Channels are mostly multiples of 8: the step is the largest power of two (at most 8) that divides them all."""
    if not isinstance(channels, np.ndarray):
        # One width: a dense axis of just that value, at index 1.
        return _Span(int(channels), int(channels), (int(channels), 2), 1)
    known = spans.get(id(channels))
    if known is None:
        bits = int(np.bitwise_or.reduce(channels)) | _WIDEST_STEP
        shift = (bits & -bits).bit_length() - 1
        low, high = int(channels.min()), int(channels.max())
        # Lengths in powers of two, so that populations with other widest members share the compiled axis.
        length = 1 << max((high >> shift).bit_length(), 4)
        known = spans[id(channels)] = _Span(low, high, (1 << shift, length), channels >> shift)
    return known


def _kernel_sizes(kernel: Dim) -> tuple[int, ...]:
    if isinstance(kernel, np.ndarray):
        return tuple(int(size) for size in np.flatnonzero(np.bincount(kernel)))
    return (int(kernel),)


def _too_far(table: Table, share: float, limit: float, kernel: Kernel) -> UserError:
    group = Group.of(kernel, int(np.max(kernel.kernel)))
    inputs, outputs, areas = table.grid(group).axes
    return UserError(
        f"table {table.id}: {share:.0%} of the latency lies beyond what it covers (at most {limit:.0%} may); {group} is "
        f"known for {inputs[0]:.0f}..{inputs[-1]:.0f} -> {outputs[0]:.0f}..{outputs[-1]:.0f} channels on maps of "
        f"{areas[0] ** 0.5:.0f}..{areas[-1] ** 0.5:.0f} px; take another image size or profile the table further"
    )

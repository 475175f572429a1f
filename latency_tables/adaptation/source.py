"""What another device's table says of kernels: the figures that a table of this host is adapted from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latency_tables.completion import rough_ms
from latency_tables.interpolation import Surface, plane
from latency_tables.kernels import TWO_CHANNEL_KINDS, Group, Kernel
from latency_tables.tables import SOURCES, Floats, Table

MEASURED, FITTED = 0.03, 0.05
"""Standard deviations, in log latency, of what a source's rows hold that is not the kernel's: noise, and its fit's error."""
EXTRAPOLATED, ANOTHER_GROUP, ROUGH = 0.15, 0.25, 0.45
"""The same where the source says less: beyond its rows; by a group that differs in activation, add, stride or size; by
MACs and bytes alone."""

RESOLUTION_MS = 5e-4
"""What a figure of a few microseconds is uncertain by: runtimes count whole ones."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceFigures:
    """Per kernel, (n,): the source's log latency in ms, and the standard deviation of its own error."""

    log_ms: Floats
    deviation: Floats


def source_figures(table: Table, kernels: Sequence[Kernel]) -> SourceFigures:
    """What `table` says of `kernels`: its row, or what a prediction would read between its rows.

    A group that the table lacks is read from the nearest one of its kind, and a kind that it lacks from MACs and bytes at
    the rate of its other kernels.
    """
    table = table.bare()
    known = {
        (group, inputs, outputs, area): (latency_ms, MEASURED if SOURCES[int(code)] == "measured" else FITTED)
        for group, rows in table.rows.items()
        for inputs, outputs, area, latency_ms, code in rows.tolist()
    }
    latency_ms, own = np.empty(len(kernels)), np.empty(len(kernels))
    others = []
    for index, kernel in enumerate(kernels):
        row = known.get((Group.of(kernel), float(kernel.in_channels), float(kernel.out_channels), float(kernel.area)))
        if row is None:
            others.append(index)
        else:
            latency_ms[index], own[index] = row
    if others:
        latency_ms[others], own[others] = _between(table, [kernels[index] for index in others])
    return SourceFigures(np.log(latency_ms), np.hypot(own, RESOLUTION_MS / latency_ms))


def _between(table: Table, kernels: Sequence[Kernel]) -> tuple[Floats, Floats]:
    """A table read where it has no row: latency in ms (n,), and its deviation in log latency (n,)."""
    latency_ms, own = np.empty(len(kernels)), np.empty(len(kernels))
    rough = np.exp(_rough_level(table))
    together: dict[tuple[Group, int], list[int]] = defaultdict(list)
    nearest: dict[Group, Group | None] = {}
    for index, kernel in enumerate(kernels):
        wanted = Group.of(kernel)
        if wanted not in nearest:
            nearest[wanted] = wanted if wanted in table.rows else _nearest_group(wanted, table.rows)
        group = nearest[wanted]
        if group is None:
            latency_ms[index], own[index] = rough * rough_ms(kernel), ROUGH
            continue
        together[group, kernel.area].append(index)
        if group != wanted:
            latency_ms[index], own[index] = rough_ms(kernel) / rough_ms(_as(kernel, group)), ANOTHER_GROUP
        else:
            latency_ms[index], own[index] = 1.0, FITTED
    for (group, area), chosen in together.items():
        two = group.kind in TWO_CHANNEL_KINDS
        inputs, row = np.unique([float(kernels[i].in_channels) for i in chosen], return_inverse=True)
        outputs, column = np.unique(
            [float(kernels[i].out_channels) if two else 1.0 for i in chosen], return_inverse=True
        )
        figures = _surface(table, group, area).latency(inputs, outputs)
        latency_ms[chosen] *= figures.ms[row, column]
        beyond = figures.beyond[row, column]
        own[chosen] = np.where(beyond, np.maximum(own[chosen], EXTRAPOLATED), own[chosen])
    return latency_ms, own


def _nearest_group(wanted: Group, known: Iterable[Group]) -> Group | None:
    """The group of the same kind that differs least: in stride, then in size, then in the add, then in the activation."""
    alike = [group for group in known if group.kind == wanted.kind]
    if not alike:
        return None

    def difference(group: Group) -> tuple[object, ...]:
        return (
            abs(group.stride - wanted.stride), abs(group.kernel - wanted.kernel), group.fused_add != wanted.fused_add,
            group.activation != wanted.activation, str(group),
        )  # fmt: skip

    return min(alike, key=difference)


def _as(kernel: Kernel, group: Group) -> Kernel:
    return replace(
        kernel, kernel=group.kernel, stride=group.stride, activation=group.activation, fused_add=group.fused_add
    )


def _rough_level(table: Table) -> float:
    """Median log ratio of a table's rows to the rough estimate of their kernels."""
    ratios = []
    for group, rows in table.rows.items():
        for inputs, outputs, area, latency_ms, _ in rows[:: max(1, len(rows) // 50)]:
            kernel = group.member(int(inputs), int(outputs), int(area), 1)
            ratios.append(np.log(latency_ms / rough_ms(kernel)))
    return float(np.median(ratios))


def _surface(table: Table, group: Group, area: int) -> Surface:
    full, tail = table.grids(group)
    return Surface(
        plane(full, area), plane(tail, area) if tail is not None else None, table.metadata.tail_block,
        group.kind not in TWO_CHANNEL_KINDS,
    )  # fmt: skip

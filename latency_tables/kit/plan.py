"""Which kernels a kit holds, and in which order: a profile played through on another device's figures.

The rounds of a profile choose cells by what the fit does not know yet, and nothing can be fitted on a device without
tinynas. What the fit does not know depends on where was measured, not on what came out, but for the size of each grid's
surprises: those, and which kernels carry the latency, are taken from another device of the same runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from latency_tables.completion import Fit, expected_error, fit, rough_ms
from latency_tables.kernels import Kernel, KernelSite
from latency_tables.predictor import Pricer
from latency_tables.profiler import coarse, fine
from latency_tables.reach import Cells
from latency_tables.tables import Row, Table, row_key
from search_spaces.errors import UserError

MOST_KERNELS = 2560
"""More than a device measures in five minutes: what is left when time is up matters least."""
GOOD_ENOUGH = 0.002
WINDOW = 600
"""Kernels chosen together after the first round: more of them fit into models of one map each. Measured sooner or later is
all that the order decides here, so rounds need not be as short as a profile's."""
Estimate = Callable[[Kernel], float]


def planned(grids: Sequence[Cells], estimate: Estimate, most: int = MOST_KERNELS) -> list[list[Kernel]]:
    """Kernels to measure, in rounds; those first that improve predictions most. `estimate`: ms on another device."""
    rows: dict[tuple[object, ...], Row] = {}
    fits: list[Fit | None] = [None] * len(grids)
    rounds: list[list[Kernel]] = []
    while len(rows) < most:
        known = [fit(grid, rows, before) for grid, before in zip(grids, fits)]
        fits = list(known)
        chosen = coarse(known)
        if not chosen and expected_error(known) > GOOD_ENOUGH:
            chosen = fine(known, len(rows))
        chosen = chosen[: most - len(rows)] if rows else chosen
        if not chosen:
            break
        if len(rounds) > 1 and len(rounds[-1]) < WINDOW:
            rounds[-1] += chosen
        else:
            rounds.append(chosen)
        rows.update({row_key(kernel): Row(kernel, estimate(kernel)) for kernel in chosen})
    return rounds


def estimate_from(table: Table | None) -> Estimate:
    """Latency by another device's table, and by MACs and bytes at its pace where it has no such kernel (None: by those
    alone)."""
    if table is None:
        return rough_ms
    pricer = Pricer(table)
    paces: list[float] = []

    def estimate(kernel: Kernel) -> float:
        try:
            found = float(np.asarray(pricer.site_ms(KernelSite(kernel=kernel, path="", part="", count=1, ops=()))))
        except UserError:
            return rough_ms(kernel) * (float(np.median(paces)) if paces else 1.0)
        paces.append(found / rough_ms(kernel))
        return found

    return estimate


def ordered(batches: Sequence[list[Kernel]], grids: Sequence[Cells], estimate: Estimate) -> list[list[Kernel]]:
    """The batches of a round, those first whose kernels carry most latency; the first of a grid stands for all of it, so
    that no grid that matters stays empty when time is up early."""
    carried = {
        row_key(kernel): (index, float(visits) * estimate(kernel))
        for index, grid in enumerate(grids)
        for kernel, visits in zip(grid.kernels, grid.visits)
    }
    whole = np.zeros(len(grids))
    for index, latency in carried.values():
        whole[index] += latency
    left, result = list(batches), []
    while left:
        scores = []
        for batch in left:
            places = [carried[row_key(kernel)] for kernel in batch]
            scores.append(sum(latency for _, latency in places) + sum(whole[index] for index in {i for i, _ in places}))
        result.append(left.pop(int(np.argmax(scores))))
        whole[[carried[row_key(kernel)][0] for kernel in result[-1]]] = 0.0
    return result

"""Which kernels to measure next: those that lower the doubt about whole detectors most, per second that they take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latency_tables.adaptation.ratio import NOISE, Points, Prior, RatioFit, shape
from latency_tables.tables import Floats

CANDIDATES = 1500
"""Cells that choices are made among: those with the largest share of detectors' latency (90 % of it on a CPU table)."""
FIXED_S, PER_MS = 0.04, 0.04
"""What measuring a kernel takes: its model, and the runs for each millisecond of its latency."""


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """Cells (C,) by place among all, each detector's share of latency in them, `shares` (D, C), rows summing to 1, and the
    prior covariance of their ratios but for the level, `prior_shape` (C, C)."""

    cells: npt.NDArray[np.intp]
    shares: Floats
    prior_shape: Floats


def doubt(runs: Floats, log_ms: Floats, points: Points, prior: Prior, before: Doubt | None = None) -> Doubt:
    """From how often detectors run cells (D, N) and the cells' log latency (N,). `before`: keep its cells."""
    spent = runs * np.exp(log_ms)
    shares = spent / spent.sum(axis=1, keepdims=True)
    if before is None:
        mean = shares.mean(axis=0)
        order = np.argsort(-mean, kind="stable")[:CANDIDATES]
        cells = np.sort(order[mean[order] > 0])
        prior_shape = shape(points.at(cells), points.at(cells), prior)
    else:
        cells, prior_shape = before.cells, before.prior_shape
    chosen = shares[:, cells]
    return Doubt(cells, chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1e-12), prior_shape)


def expected_error(about: Doubt, fit: RatioFit) -> float:
    """Relative error of a whole detector's latency that the process expects: root mean square over the detectors."""
    shared = ((about.shares @ fit.posterior(about.cells, about.prior_shape)) * about.shares).sum(axis=1)
    variances = np.maximum(shared, 0.0) + (about.shares**2 * fit.own_variance(about.cells)).sum(axis=1)
    return float(np.sqrt(variances.mean()))


def next_cells(about: Doubt, fit: RatioFit, log_ms: Floats, number: int) -> list[int]:
    """`number` cells, by place among all, that are not measured yet: each the one that lowers the sum of the detectors'
    variances most per second of measuring, given those before it. `log_ms` (N,): latencies as far as they are known."""
    cells, shares = about.cells, about.shares
    matrix = fit.posterior(cells, about.prior_shape)
    own = fit.own_variance(cells)
    free = ~np.isin(cells, fit.known)
    seconds = FIXED_S + PER_MS * np.exp(log_ms[cells])
    # (D, C): covariance of each detector's log latency with each cell's shared terms
    cover = shares @ matrix
    variance = np.diag(matrix).copy()
    columns = np.zeros((0, len(cells)))
    chosen: list[int] = []
    for _ in range(min(number, int(free.sum()))):
        total = variance + own + NOISE**2
        worth = np.where(free, ((cover + shares * own) ** 2).sum(axis=0) / total / seconds, -1.0)
        best = int(np.argmax(worth))
        if worth[best] <= 0:
            break
        chosen.append(int(cells[best]))
        free[best] = False
        column = (matrix[best] - columns[:, best] @ columns) / np.sqrt(total[best])
        cover -= np.outer(shares @ column, column)
        variance -= column**2
        columns = np.vstack([columns, column])
    return chosen

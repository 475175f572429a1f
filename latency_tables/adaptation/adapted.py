"""One table under adaptation: a source, the cells to fill, and what measured kernels make of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latency_tables.adaptation.choice import Doubt, doubt, expected_error, next_cells
from latency_tables.adaptation.detectors import runs_of_cells
from latency_tables.adaptation.ratio import Points, Prior, RatioFit, fit_ratio, points
from latency_tables.adaptation.source import source_figures
from latency_tables.fusion import FusionRules
from latency_tables.kernels import Kernel
from latency_tables.reach import Cells
from latency_tables.tables import Floats, Row, Table, row_key
from search_spaces.graph import Graph

Rows = Mapping[tuple[object, ...], Row]
PRIOR = Prior()


def likelihood(source: Table, rows: Rows, tail_block: int) -> float:
    """How well a source's figures explain measured rows: a log likelihood, larger is nearer."""
    kernels = [row.kernel for row in rows.values()]
    figures = source_figures(source, kernels)
    ratios = np.log([row.latency_ms for row in rows.values()]) - figures.log_ms
    return fit_ratio(points(kernels, figures, tail_block), np.arange(len(kernels)), ratios, PRIOR).likelihood


@dataclass(slots=True, kw_only=True, eq=False)
class AdaptedFigures:
    """The cells' latencies as far as they are known. `log_ms` (N,) and `error`, the relative error of a whole detector that
    is expected, are those of the last `learn`."""

    kernels: list[Kernel]
    log_ms: Floats
    error: float
    _source_log_ms: Floats
    _points: Points
    _runs: Floats
    _doubt: Doubt
    _fit: RatioFit

    def learn(self, rows: Rows) -> None:
        """Fit to measured rows; those of other kernels than the cells' are left out."""
        found = [(place, row) for place, kernel in enumerate(self.kernels) if (row := rows.get(row_key(kernel)))]
        known = np.array([place for place, _ in found], dtype=np.intp)
        measured = np.log([row.latency_ms for _, row in found]) if found else np.empty(0)
        self._fit = fit_ratio(self._points, known, measured - self._source_log_ms[known], PRIOR)
        self.log_ms = self._source_log_ms + self._fit.mean()
        self.log_ms[known] = measured
        self._doubt = doubt(self._runs, self.log_ms, self._points, PRIOR, self._doubt)
        self.error = expected_error(self._doubt, self._fit)

    @property
    def learnt(self) -> bool:
        """Whether anything was measured."""
        return len(self._fit.known) > 0

    def next(self, number: int) -> list[Kernel]:
        """Kernels to measure next, those first that whole detectors gain most by."""
        return [self.kernels[place] for place in next_cells(self._doubt, self._fit, self.log_ms, number)]

    def rows(self, measured: Rows) -> list[Row]:
        """Rows of all cells: the measured ones as they are, the others `adapted`."""
        return [
            measured.get(row_key(kernel)) or Row(kernel, float(np.exp(log_ms)), source="adapted")
            for kernel, log_ms in zip(self.kernels, self.log_ms)
        ]


def begin(source: Table, grids: Sequence[Cells], graphs: Iterable[Graph], rules: FusionRules) -> AdaptedFigures:
    """Nothing measured yet: the source's figures as they are. `graphs`: the detectors whose latency is to be right."""
    kernels = [kernel for grid in grids for kernel in grid.kernels]
    figures = source_figures(source, kernels)
    every = points(kernels, figures, rules.tail_block)
    runs = runs_of_cells(graphs, rules, grids)
    about = doubt(runs, figures.log_ms, every, PRIOR)
    fit = fit_ratio(every, np.empty(0, dtype=np.intp), np.empty(0), PRIOR)
    return AdaptedFigures(
        kernels=kernels, log_ms=figures.log_ms.copy(), error=expected_error(about, fit), _source_log_ms=figures.log_ms,
        _points=every, _runs=runs, _doubt=about, _fit=fit,
    )  # fmt: skip

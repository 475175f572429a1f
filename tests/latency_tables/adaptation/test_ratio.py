"""The Gaussian process against its definition, and what it makes of other devices' figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables.adaptation import ratio
from latency_tables.adaptation.adapted import PRIOR, begin, likelihood
from latency_tables.adaptation.detectors import runs_of_cells
from latency_tables.adaptation.ratio import NOISE, Points, fit_ratio, points, shape
from latency_tables.adaptation.source import ANOTHER_GROUP, EXTRAPOLATED, FITTED, ROUGH, source_figures
from latency_tables.fusion import fusion_rules
from latency_tables.kernels import Kernel
from latency_tables.predictor import Pricer
from latency_tables.reach import reach
from latency_tables.tables import Row, Table, read_rows, row_key
from tests.latency_tables.adaptation.conftest import detectors, slower
from tests.latency_tables.fake_runtime import fake_ms

RULES = fusion_rules("openvino")


def some_points(own: Table, source: Table, number: int) -> tuple[Points, np.ndarray]:
    rows = read_rows(Path(own.source))
    chosen = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))[:number]]
    figures = source_figures(source, [row.kernel for row in chosen])
    every = points([row.kernel for row in chosen], figures, 16)
    return every, np.log([row.latency_ms for row in chosen]) - figures.log_ms


def test_mean_and_posterior_are_those_of_the_textbook(own: Table, source: Table) -> None:
    every, ratios = some_points(own, source, 40)
    known, rest = np.arange(25), np.arange(25, 40)
    fitted = fit_ratio(every, known, ratios[known], PRIOR)
    assert fitted.scale in ratio.SCALES
    full = PRIOR.level**2 + fitted.scale**2 * shape(every, every, PRIOR)
    noise = (fitted.scale * PRIOR.own) ** 2 * every.own[known] + NOISE**2
    inverse = np.linalg.inv(full[np.ix_(known, known)] + np.diag(noise))
    assert fitted.mean() == pytest.approx(full[:, known] @ inverse @ ratios[known], abs=1e-6)
    cross = full[np.ix_(rest, known)]
    wanted = full[np.ix_(rest, rest)] - cross @ inverse @ cross.T
    some = every.at(rest)
    assert fitted.posterior(rest, shape(some, some, PRIOR)) == pytest.approx(wanted, abs=1e-6)
    assert np.linalg.eigvalsh(full).min() > -1e-9
    assert (fitted.own_variance(known) == 0).all()
    assert (fitted.own_variance(rest) > 0).all()


def test_the_most_likely_scale_is_taken(own: Table, source: Table) -> None:
    every, ratios = some_points(own, source, 40)
    known = np.arange(40)
    calm = fit_ratio(every, known, np.full(40, -0.5), PRIOR)
    wild = fit_ratio(every, known, np.random.default_rng(0).normal(-0.5, 1.0, 40), PRIOR)
    assert (calm.scale, wild.scale) == (min(ratio.SCALES), max(ratio.SCALES))
    assert fit_ratio(every, known[:4], ratios[:4], PRIOR).scale == 1.0


def test_a_few_dozen_kernels_set_detectors_right(own: Table, source: Table) -> None:
    graphs = detectors()
    rows = {row_key(row.kernel): row for row in read_rows(Path(own.source))}
    adapted = begin(source, reach(graphs, RULES, [row.kernel for row in rows.values()]), graphs, RULES)
    known: dict[tuple[object, ...], Row] = {}
    right = []

    def errors() -> np.ndarray:
        runs = runs_of_cells(graphs, RULES, reach(graphs, RULES, adapted.kernels))
        true = runs @ np.exp([np.log(rows[row_key(kernel)].latency_ms) for kernel in adapted.kernels])
        return np.abs(runs @ np.exp(adapted.log_ms) / true - 1)

    assert np.median(errors()) > 0.5
    for _ in range(4):
        for kernel in adapted.next(10):
            assert row_key(kernel) not in known
            known[row_key(kernel)] = rows[row_key(kernel)]
        adapted.learn(known)
        right.append(float(np.median(errors())))
    assert right[0] < 0.05
    assert right[-1] < 0.02
    assert adapted.error < 0.05
    marked = {row_key(row.kernel): row for row in adapted.rows(known)}
    assert all(marked[key] == row for key, row in known.items())
    assert {row.source for key, row in marked.items() if key not in known} == {"adapted"}


def test_chosen_kernels_beat_random_ones(own: Table, source: Table) -> None:
    graphs = detectors()
    rows = {row_key(row.kernel): row for row in read_rows(Path(own.source))}
    grids = reach(graphs, RULES, [row.kernel for row in rows.values()])

    def expected(pick: bool, seed: int = 0) -> float:
        adapted = begin(source, grids, graphs, RULES)
        rng = np.random.default_rng(seed)
        places = rng.permutation(len(adapted.kernels))[:12]
        kernels = adapted.next(12) if pick else [adapted.kernels[place] for place in places]
        adapted.learn({row_key(kernel): rows[row_key(kernel)] for kernel in kernels})
        return adapted.error

    assert expected(True) < min(expected(False, seed) for seed in range(5))


def test_the_nearest_source_is_the_likeliest(own: Table, source: Table, tmp_path: Path) -> None:
    far = slower(tmp_path / "far", own, "far", spread=0.6, factor=5.0)
    measured = {row_key(row.kernel): row for row in read_rows(Path(own.source))[::40]}
    assert likelihood(source, measured, 16) > likelihood(far, measured, 16)


def test_rows_are_read_as_they_are_and_between_them_as_a_prediction_does(own: Table) -> None:
    rows = read_rows(Path(own.source))[::25]
    scaled = own.with_fit(factors={"conv": 1.5, "add": 0.5}, overhead_ms=0.1)
    figures = source_figures(scaled, [row.kernel for row in rows])
    assert np.exp(figures.log_ms) == pytest.approx([row.latency_ms for row in rows], rel=1e-4)
    some = next(row.kernel for row in rows if row.kernel.kind == "conv" and row.kernel.stride == 1)
    kernels = [replace(some, width=some.width + 1), replace(some, in_channels=4096), replace(some, kernel=7)]
    found = source_figures(own, kernels)
    priced = Pricer(own, max_extrapolated=1.0)
    for kernel, log_ms, least in zip(kernels[:2], found.log_ms, (FITTED, EXTRAPOLATED)):
        assert log_ms == pytest.approx(np.log(float(np.asarray(priced._kernel_ms(kernel, {})[0]))))
        assert least <= found.deviation[kernels.index(kernel)] <= EXTRAPOLATED + 0.02
    assert found.deviation[2] == pytest.approx(ANOTHER_GROUP, abs=0.01)


def test_a_kind_that_the_source_lacks_is_estimated_from_its_size(own: Table) -> None:
    few = {group: rows for group, rows in own.rows.items() if group.kind != "depthwise"}
    table = Table(metadata=own.metadata, rows=few, source=own.source, hash=own.hash)
    kernels = [
        Kernel.square("depthwise", 64, 64, 16, kernel=3, activation="silu"),
        Kernel.square("depthwise", 128, 128, 16, kernel=3, activation="silu"),
    ]
    found = source_figures(table, kernels)
    assert found.deviation == pytest.approx([ROUGH, ROUGH], abs=0.01)
    assert 0.5 < np.exp(found.log_ms[1] - found.log_ms[0]) / (fake_ms(kernels[1]) / fake_ms(kernels[0])) < 2

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_tables.completion import complete, expected_error, fit
from latency_tables.fusion import fuse, fusion_rules
from latency_tables.reach import Cells, knots, reach
from latency_tables.tables import Row, row_key
from search_spaces.emit import emit_detector
from tests.latency_tables.conftest import random_population
from tests.latency_tables.fake_runtime import fake_ms

RULES = fusion_rules("openvino")


@pytest.fixture(scope="module")
def grids() -> list[Cells]:
    population = random_population(np.random.default_rng(0), "mob", 8)
    return reach([emit_detector(population.with_image_size(side, side)) for side in (64, 128)], RULES)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.integers(1, 500), min_size=1), ratio=st.floats(1.1, 4))
def test_knots_are_values_and_close_together(values: list[int], ratio: float) -> None:
    found = knots(np.array(values, dtype=float), ratio)
    assert set(found) <= set(values)
    assert (found[0], found[-1]) == (min(values), max(values))
    for low, high in itertools.pairwise(found):
        between = [value for value in values if low < value < high]
        assert high <= low * ratio or not between


def test_every_kernel_lies_between_visited_cells(grids: list[Cells]) -> None:
    population = random_population(np.random.default_rng(0), "mob", 8)
    runs = 0.0
    for side in (64, 128):
        for site in fuse(emit_detector(population.with_image_size(side, side)), RULES):
            runs += float(np.broadcast_to(site.count, 8).mean()) / (side * side / 1e6) / 2
    assert sum(float(grid.visits.sum()) for grid in grids) == pytest.approx(runs)
    for grid in grids:
        for kernel, place in zip(grid.kernels, grid.places):
            assert kernel.in_channels == grid.axes[0][place[0]]
            assert kernel.area == grid.axes[2][place[2]]
            assert kernel.kind == grid.group.kind
        assert len({row_key(kernel) for kernel in grid.kernels}) == len(grid.kernels)


@pytest.mark.parametrize("sizes", [((256, 256), (224, 384)), ((224, 384), (256, 256))])
def test_priors_are_no_map_of_as_many_elements(sizes: tuple[tuple[int, int], ...]) -> None:
    """Decoding at 256 x 256 has 1344 priors; at 224 x 384 there are maps of 28 x 48 = 1344."""
    population = random_population(np.random.default_rng(0), "mob", 2)
    found = reach([emit_detector(population.with_image_size(*size)) for size in sizes], RULES)
    areas = {kernel.kind: kernel.height for grid in found for kernel in grid.kernels if kernel.area == 1344}
    assert areas["detect"] == 1344
    for grid in found:
        for kernel in grid.kernels:
            assert (kernel.width == 1) == (kernel.kind == "detect")


def test_part_filled_blocks_are_apart(grids: list[Cells]) -> None:
    for grid in grids:
        if grid.group.kind == "conv":
            assert len({int(kernel.out_channels) % 16 > 0 for kernel in grid.kernels}) == 1


def test_the_fit_goes_through_what_was_measured_and_tells_its_error(grids: list[Cells]) -> None:
    grid = max(grids, key=lambda item: len(item.kernels))
    rng = np.random.default_rng(1)
    nothing = fit(grid, {})
    assert np.isfinite(nothing.log_ms).all()
    assert (nothing.deviation > 0.5).all()
    truth = np.array([fake_ms(kernel) for kernel in grid.kernels])
    chosen = rng.choice(len(truth), len(truth) // 3, replace=False)
    rows = {row_key(grid.kernels[i]): Row(grid.kernels[i], truth[i]) for i in chosen}
    result = fit(grid, rows)
    np.testing.assert_allclose(np.exp(result.log_ms[chosen]), truth[chosen], rtol=1e-9)
    errors = np.abs(result.log_ms - np.log(truth))
    assert (result.deviation[chosen] == 0).all()
    assert np.median(errors) < 0.05
    assert (errors <= 4 * result.deviation + 1e-9).mean() > 0.95
    assert fit(grid, rows, result) is result
    assert expected_error([result]) < expected_error([nothing])
    completed = complete([result, fit(grids[0], {})], rows)
    assert len(completed) == len(grid.kernels)
    assert {row.source for row in completed} == {"measured", "fitted"}


def test_leave_one_out_surprise_finds_the_disturbed(grids: list[Cells]) -> None:
    grid = max(grids, key=lambda item: len(item.kernels))
    rows = {row_key(kernel): Row(kernel, fake_ms(kernel)) for kernel in grid.kernels}
    victim = grid.kernels[len(grid.kernels) // 2]
    rows[row_key(victim)] = Row(victim, 2 * fake_ms(victim))
    result = fit(grid, rows)
    assert grid.kernels[int(np.argmax(result.strange))] == victim
    # what a slow reference finds: the fit without that cell
    del rows[row_key(victim)]
    place = grid.kernels.index(victim)
    left_out = np.log(2 * fake_ms(victim)) - fit(grid, rows).log_ms[place]
    assert result.surprise[place] == pytest.approx(left_out, rel=1e-6)


def test_picks_are_spread_and_new(grids: list[Cells]) -> None:
    grid = max(grids, key=lambda item: len(item.kernels))
    weights = np.ones(len(grid.kernels))
    first = [place for _, place in fit(grid, {}).pick(weights, 10)]
    assert len(set(first)) == 10
    rows = {row_key(grid.kernels[i]): Row(grid.kernels[i], fake_ms(grid.kernels[i])) for i in first}
    second = fit(grid, rows).pick(weights, 10)
    assert not {place for _, place in second} & set(first)
    assert all(a >= b for (a, _), (b, _) in itertools.pairwise(second))
    assert fit(grid, rows).pick(np.zeros(len(weights)), 10) == []
    # ten spread cells predict better than ten neighbours
    close = {row_key(k): Row(k, fake_ms(k)) for k in grid.kernels[:10]}
    truth = np.log([fake_ms(kernel) for kernel in grid.kernels])
    spread_error = np.abs(fit(grid, rows).log_ms - truth).mean()
    assert spread_error < np.abs(fit(grid, close).log_ms - truth).mean()

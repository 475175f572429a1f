from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_tables import Pricer, find_table, predict
from latency_tables.interpolation import plane
from latency_tables.kernels import Group, Kernel
from latency_tables.predictor import ORIGINS
from latency_tables.tables import Floats, Grid, Row, Table
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure
from tests.latency_tables.conftest import conv, member, random_population, site_of

MakeTable = Callable[[list[Row]], Table]


@pytest.fixture(scope="module")
def t4() -> Table:
    return find_table("t4-tensorrt-fp16-b1")


def _random_grid(seed: int) -> Grid:
    """Latency rising along every axis."""
    rng = np.random.default_rng(seed)
    axes = tuple(np.sort(rng.choice(np.arange(1, 500), size, replace=False)).astype(float) for size in (4, 3, 3))
    steps = rng.random((4, 3, 3))
    logs: Floats = steps.cumsum(0).cumsum(1).cumsum(2)
    return Grid((axes[0], axes[1], axes[2]), logs, np.zeros(logs.shape, dtype=np.int8))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_exact_on_grid_points(seed: int) -> None:
    grid = _random_grid(seed)
    for k, area in enumerate(grid.axes[2]):
        found = plane(grid, int(area)).latency(grid.axes[0], grid.axes[1])
        np.testing.assert_allclose(found.ms, np.exp(grid.log_ms[:, :, k]), rtol=1e-12)
        assert not found.beyond.any()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), axis=st.integers(0, 2), data=st.data())
def test_monotone_between_points_of_a_monotone_grid(seed: int, axis: int, data: st.DataObject) -> None:
    grid = _random_grid(seed)
    point = [data.draw(st.integers(int(a[0]), int(a[-1]))) for a in grid.axes]
    line = sorted(data.draw(st.lists(st.integers(int(grid.axes[axis][0]), int(grid.axes[axis][-1])), min_size=2)))
    values = []
    for value in line:
        point[axis] = value
        values.append(plane(grid, point[2]).latency(np.array([point[0]]), np.array([point[1]])).ms.item())
    assert all(later >= earlier * (1 - 1e-12) for earlier, later in pairwise(values))


@pytest.mark.parametrize("space", ["res", "csp", "mob"])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.sampled_from([2, 4, 8]))
def test_population_rows_equal_single_networks(space: str, seed: int, step: int) -> None:
    t4 = find_table("t4-tensorrt-fp16-b1")
    pricer = Pricer(t4)
    population = random_population(np.random.default_rng(seed), space, 5, step=step)
    prices = pricer.price(emit_detector(population))
    for index in range(5):
        graph = emit_detector(member(population, index))
        prediction = predict(graph, t4)
        assert list(prediction.parts) == list(prices)
        alone = pricer.price(graph)
        for part, value in prices.items():
            row = np.broadcast_to(value, 5)[index]
            assert math.isclose(prediction.parts[part], row, rel_tol=1e-12)
            assert math.isclose(float(alone[part]), row, rel_tol=1e-12)
        in_sites = sum(item.latency_ms for item in prediction.sites)
        assert math.isclose(in_sites + prediction.overhead_ms, prediction.total_ms, rel_tol=1e-12)
        assert math.isclose(sum(prediction.by_op().values()), in_sites, rel_tol=1e-12)


def test_odd_channels_and_parts(t4: Table) -> None:
    population = random_population(np.random.default_rng(5), "res", 4, step=1)
    stages = population.backbone.stages
    assert any(np.bitwise_or.reduce(np.asarray(stage.hidden_channels)) & 1 for stage in stages)
    from search_spaces.emit import emit_backbone

    prices = Pricer(t4).price(emit_backbone(population))
    assert set(prices) == {"backbone"}
    for index in range(4):
        found = predict(emit_backbone(member(population, index)), t4).parts["backbone"]
        assert math.isclose(found, np.asarray(prices["backbone"])[index], rel_tol=1e-12)
    graph = emit_detector(resolve_structure("S"))
    assert list(Pricer(t4).price(graph, parts=["neck"])) == ["neck"]


def test_total_includes_the_overhead(make_table: MakeTable, conv_rows: list[Row]) -> None:
    table = make_table(conv_rows)
    kernel = conv(32, 24, 40)
    item = Pricer(table).site(site_of(kernel, count=2))
    row = next(row for row in conv_rows if row.kernel == kernel)
    assert item.latency_ms == pytest.approx(2 * row.latency_ms, rel=1e-4)
    assert dict(zip(ORIGINS, item.origins)) == {
        "measured": 1, "interpolated": 0, "fitted": 0, "derived": 0, "adapted": 0, "extrapolated": 0,
    }  # fmt: skip
    between = site_of(conv(33, 24, 40))
    assert Pricer(table).site(between).origins == (0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    beyond = site_of(conv(65, 24, 40))
    assert Pricer(table).site(beyond).origins == (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_more_classes_than_were_measured_are_extrapolated(make_table: MakeTable) -> None:
    rows = [
        Row(Kernel(kind="detect", in_channels=68, out_channels=1, height=priors, width=1), 0.01 * priors)
        for priors in (84, 336)
    ]
    pricer = Pricer(make_table(rows))
    one, many = (
        site_of(Kernel(kind="detect", in_channels=68, out_channels=n, height=84, width=1), "head") for n in (1, 80)
    )
    assert dict(zip(ORIGINS, pricer.site(one).origins))["measured"] == 1
    assert dict(zip(ORIGINS, pricer.site(many).origins))["extrapolated"] == 1
    assert pricer.site(many).latency_ms > pricer.site(one).latency_ms


def test_kernels_that_nobody_runs_need_no_data(
    make_table: MakeTable, conv_rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    pricer = Pricer(make_table(conv_rows))
    known = site_of(conv(8, 8, 10))
    never = site_of(conv(8, 8, 10, kernel=5), count=np.array([0, 0]))
    np.testing.assert_array_equal(pricer.site_ms(never), [0, 0])
    monkeypatch.setattr(pricer, "sites", lambda graph: [known, never])
    graph = emit_detector(resolve_structure("Ns"))
    assert pricer.price(graph) == {"backbone": pricer.site(known).latency_ms}
    monkeypatch.setattr(pricer, "sites", lambda graph: [known, replace(never, count=np.array([0, 1]))])
    with pytest.raises(UserError, match="no kernel conv 5x5"):
        pricer.price(graph)


def test_shares_and_overhead(t4: Table) -> None:
    graph = emit_detector(resolve_structure("S"))
    prediction = predict(graph, t4)
    assert prediction.shares["derived"] + prediction.shares["fitted"] == pytest.approx(1)
    assert Pricer(t4).total(graph) == pytest.approx(prediction.total_ms)
    assert prediction.total_ms == pytest.approx(sum(prediction.parts.values()) + t4.metadata.overhead_ms)


@pytest.mark.parametrize("source", ["fitted", "derived"])
def test_fitted_and_derived_rows_are_shares_of_their_own(
    make_table: MakeTable, conv_rows: list[Row], source: str
) -> None:
    rows = [Row(row.kernel, row.latency_ms, 0, source) if row.kernel.in_channels == 64 else row for row in conv_rows]
    pricer = Pricer(make_table(rows))
    site = site_of(conv(45, 24, 40), "neck")
    shares = dict(zip(ORIGINS, pricer.site(site).origins))
    assert shares.pop(source) == pytest.approx(math.log(45 / 32) / math.log(2))
    assert shares.pop("interpolated") == pytest.approx(1 - math.log(45 / 32) / math.log(2))
    assert set(shares.values()) == {0.0}
    on_point = site_of(conv(64, 24, 40), "neck")
    assert dict(zip(ORIGINS, pricer.site(on_point).origins))[source] == 1


def test_extrapolation_is_refused_above_the_share(t4: Table) -> None:
    graph = emit_detector(resolve_structure("S").with_image_size(5120, 5120))
    with pytest.raises(UserError, match=r"lies beyond what it covers .*take another image size"):
        predict(graph, t4)
    with pytest.raises(UserError, match="lies beyond"):
        Pricer(t4).price(graph)
    prediction = predict(graph, t4, max_extrapolated=1.0)
    assert 0.1 < prediction.shares["extrapolated"] <= 1.0
    assert sum(prediction.shares.values()) == pytest.approx(1)
    inside = predict(emit_detector(resolve_structure("S").with_image_size(1280, 1280)), t4)
    assert prediction.total_ms > 8 * inside.total_ms


def test_population_beyond_the_grid_is_refused(make_table: MakeTable, t4: Table) -> None:
    population = random_population(np.random.default_rng(0), "res", 4)
    wide = population.backbone.stages[4]
    huge = np.array([8, 8, 8, 4096])
    object.__setattr__(wide, "hidden_channels", huge)
    with pytest.raises(UserError, match="lies beyond"):
        Pricer(t4).price(emit_detector(population))
    object.__setattr__(wide, "hidden_channels", np.array([8, 8, 8, 8]))
    Pricer(t4).price(emit_detector(population))


def test_a_kernel_without_data_is_named(make_table: MakeTable, conv_rows: list[Row]) -> None:
    with pytest.raises(UserError, match="no kernel space_to_depth"):
        predict(emit_detector(resolve_structure("S")), make_table(conv_rows))


def test_predict_takes_one_network(t4: Table) -> None:
    with pytest.raises(ValueError, match="one network"):
        predict(emit_detector(random_population(np.random.default_rng(0), "res", 3)), t4)


def test_group_names_read_well() -> None:
    assert str(Group("conv", 3, 2, "silu", True)) == "conv 3x3 stride 2 + silu + add"
    assert str(Group("concat", 1, 1, "none", False)) == "concat"

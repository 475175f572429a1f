"""explain --why: what it says of limits and widths holds against solutions found another way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import find_table
from search_spaces.text import resolve_structure
from tinynas.cli import main
from tinynas.exact.solver import solve
from tinynas.genes.layout import OUT
from tinynas.pricing.objective import Objective
from tinynas.why import plan_of, told, why


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    options = ["--budget", "3ms", "--device", "t4", "--solver", "exact"]
    assert main(["search", *options, "--out", str(folder)]) == 0
    return folder / "structure.txt"


def test_what_binds_and_what_more_would_buy(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(searched), "--why", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["proven"] is True
    assert data["score"] == pytest.approx(data["best"], rel=1e-9)
    plan = plan_of(resolve_structure(searched))
    (target,) = plan.targets
    for limit in data["limits"]:
        raised = [
            replace(budget, limit=budget.limit + limit["more"]) if budget.key == limit["budget"] else budget
            for budget in target.budgets
        ]
        alone = solve(plan.encoding(), raised, plan.tables)
        assert limit["score_with_more"] == pytest.approx(alone.score, rel=1e-8)
        assert limit["used"] <= limit["limit"]


def test_the_search_that_is_explained_is_the_one_that_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--budget", "3ms", "--evaluations", "3000", "--population", "32"]
    given = ["--score-weights", "1,1,1,1,1", "--max-memory", "40MB"]
    assert main(["search", *short, "--device", "t4", *given, "--out", str(tmp_path / "a")]) == 0
    structure = resolve_structure(tmp_path / "a" / "structure.txt")
    assert structure.search is not None
    assert structure.search["score_weights"] == [1, 1, 1, 1, 1]
    capsys.readouterr()
    assert main(["explain", str(tmp_path / "a" / "structure.txt"), "--why"]) == 0
    shown = capsys.readouterr().out
    assert f"score {structure.search['score']:.2f}" in shown
    assert "peak_memory_bytes is no sum over stages" in shown


def test_a_table_by_its_path(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = find_table("t4")
    for suffix in (".csv", ".yaml"):
        path = tmp_path / f"board-tensorrt-fp16-b1{suffix}"
        text = Path(table.source).with_suffix(suffix).read_text()
        path.write_text(text.replace("t4-tensorrt-fp16-b1", path.stem).replace("short_names: [t4]", "short_names: []"))
    board, short = tmp_path / "board-tensorrt-fp16-b1.csv", ["--evaluations", "3000", "--population", "32"]
    assert main(["search", "--budget", "3ms", "--device", str(board), *short, "--out", str(tmp_path / "a")]) == 0
    assert f"structure.txt --device {board}" in capsys.readouterr().out
    found = str(tmp_path / "a" / "structure.txt")
    assert main(["explain", found, "--why", "--device", str(board)]) == 0
    assert main(["explain", str(searched), "--why", "--device", str(board)]) == 2
    assert "not the table that the search went by, t4-tensorrt-fp16-b1" in capsys.readouterr().err


def test_a_network_beyond_the_limits_is_said_to_be(searched: Path) -> None:
    structure = resolve_structure(searched)
    assert structure.search is not None
    tighter = replace(structure, search={**structure.search, "budgets": {"latency_ms": 2.5}})
    found = why(tighter, plan_of(tighter))
    assert found.score > found.best
    assert "beyond the limits as they are priced here (latency 3 ms of 2.5 ms;" in told(found)[0]


@pytest.mark.parametrize("option", ["--image-size=320", "--num-classes=3", "--check=thop"])
def test_options_that_why_would_ignore(searched: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(searched), "--why", option]) == 2
    assert f"{option.partition('=')[0]}: --why explains the search" in capsys.readouterr().err


def test_no_network_of_another_width_is_better_than_what_is_said(searched: Path) -> None:
    structure = resolve_structure(searched)
    plan = plan_of(structure)
    found = why(structure, plan)
    assert set(found.widths) == {1, 2, 3}  # the other taps' widths follow the first one's
    (target,) = plan.targets
    encoding = plan.encoding()
    own = int(structure.backbone.stages[2].out_channels)
    at_home = solve(encoding, target.budgets, plan.tables, width=(3, own))
    assert at_home.score == pytest.approx(found.best, rel=1e-9)
    # networks around the solutions themselves: far ones would not come near
    rng = np.random.default_rng(0)
    for width, score in found.widths[3].items():
        solution = solve(encoding, target.budgets, plan.tables, width=(3, width))
        assert solution.score == score < found.best
        assert encoding.single(solution.genes).backbone.stages[2].out_channels == width
        near = encoding.mutate(np.repeat(solution.genes, 2000, axis=1), rng)
        near = near[:, near[OUT + 2] == width]
        priced = Objective(encoding, [target.budgets], plan.tables).evaluate(near)
        within = priced.excess[0] <= 0
        assert within.any()
        assert priced.score[within].max() <= score * (1 + 1e-9)


def test_a_network_that_is_not_the_best_is_told_by_how_much(searched: Path, tmp_path: Path) -> None:
    text = searched.read_text().replace(
        "depth: 3, stride: 2, kernel: 3}\nactivation", "depth: 2, stride: 2, kernel: 3}\nactivation"
    )
    changed = tmp_path / "structure.txt"
    changed.write_text(text)
    structure = resolve_structure(changed)
    found = why(structure, plan_of(structure))
    assert found.score < found.best


def test_a_structure_of_unknown_origin_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "S", "--why"]) == 2
    assert "--why: the structure does not say which search found it" in capsys.readouterr().err

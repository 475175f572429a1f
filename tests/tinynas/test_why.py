"""explain --why: what it says of limits and widths holds against solutions found another way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search_spaces.text import resolve_structure
from tinynas.cli import main
from tinynas.exact.solver import solve
from tinynas.genes.layout import OUT
from tinynas.pricing.objective import Objective
from tinynas.why import plan_of, why


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

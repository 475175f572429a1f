"""benchmarks/score_correction.py: what ranks networks on a data set that nothing was fitted on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces.emit import emit_detector
from search_spaces.space import load_space
from search_spaces.text import format_structure
from tinynas.account import account
from tinynas.genes.population import Encoding

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import score_correction
import searched_vs_published


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here looks at the intervals, which take the time."""
    monkeypatch.setattr(searched_vs_published, "RESAMPLES", 50)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Eight networks, whose AP grows with the log of their parameters on all sets, whatever their score."""
    encoding = Encoding(load_space("mob"), (192, 192), 3)
    genes, rng = encoding.sample(8, np.random.default_rng(0)), np.random.default_rng(1)
    structures = [encoding.single(genes, place) for place in range(8)]
    gain = [0.05 * float(np.log(account(emit_detector(one)).params)) for one in structures]
    rows = {
        f"n{place}": {"space": "mob", "kind": "random", "structure": format_structure(one), "score": rng.uniform()}
        for place, one in enumerate(structures)
    }
    sets = {
        name: {"Ns": {"aps": {f"n{place}": [base + value, base + value + 1e-4] for place, value in enumerate(gain)}}}
        for name, base in (("bccd", -0.3), ("signs", -0.5))
    }
    return {"networks": {"Ns": {**rows, "none": {"space": "csp", "left_out": "too slow"}}}, "sets": sets}


def called(results: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    (folder / "results.json").write_text(json.dumps(results))
    monkeypatch.setattr(sys, "argv", ["score_correction.py", str(folder / "results.json"), *more])
    score_correction.run_program(score_correction.main)


def test_what_makes_networks_good_ranks_them_on_the_set_left_out(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called(results, tmp_path, monkeypatch)
    found = json.loads(capsys.readouterr().out)
    assert found["networks"] == [f"n{place}" for place in range(8)]
    assert set(found["sets"]) == {"bccd", "signs"}
    for entry in found["sets"].values():
        assert entry["other_sets"]["tau"] == 1.0
        assert entry["size"]["tau"] > 0.8 > entry["score"]["tau"]


def test_nothing_of_the_set_left_out_is_seen(results: dict[str, Any]) -> None:
    """Turned round on one set, the networks are ranked there as the other set has them: exactly the wrong way."""
    rows = score_correction.trained(results["networks"]["Ns"])
    aps = results["sets"]["bccd"]["Ns"]["aps"]
    turned = {name: [-value for value in values] for name, values in aps.items()}
    found = score_correction.held_out(rows, {"bccd": turned, "signs": aps}, ridge=1.0)
    assert found["bccd"]["other_sets"]["tau"] == -1.0
    assert found["bccd"]["size"]["tau"] < -0.8


def test_ridge_regression_is_the_solution_of_its_equations() -> None:
    rng = np.random.default_rng(3)
    features, target = score_correction.standard(rng.normal(size=(9, 2))), rng.normal(size=9)
    weights = np.linalg.lstsq(np.vstack([features, np.sqrt(2.0) * np.eye(2)]), np.concatenate([target, [0, 0]]))[0]
    np.testing.assert_allclose(score_correction.fitted(features, target, 2.0), features @ weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sets": {}}, "8 networks on 0 data sets; a correction needs 4 networks on 2 sets"),
        ({"networks": {}}, "0 networks on 2 data sets"),
    ],
)
def test_too_little_to_fit(
    results: dict[str, Any], change: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(SystemExit):
        called({**results, **change}, tmp_path, monkeypatch)
    assert message in capsys.readouterr().err

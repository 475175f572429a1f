"""What the command line and the page say of a second stage's end."""

from __future__ import annotations

from typing import Any

import pytest

from tinynas.commands.search import _ranked
from tinynas.results.report.ranking import _won, _work

ENDED = {"candidates": [], "learnt": True, "choice": "b", "first_by_score": "a", "gain_points": 2.46}


@pytest.mark.parametrize(
    ("changes", "line", "text"),
    [
        (
            {}, "training chose b, not a, the search's first choice: +2.5 AP points",
            "Training chose b: after the same trainings, 2.5 AP points above a, the search's first choice",
        ),
        (
            {"gain_points": None}, "training chose b, not a, the search's first choice",
            "Training chose b; the search's first choice, a, failed to train.",
        ),
        (
            {"choice": "a", "gain_points": 0.0}, "training chose a, the search's first choice as well",
            "Training chose a, the search's first choice: no AP is won, but your data agree with the search.",
        ),
        (
            {"choice": "a", "learnt": False}, "training could not choose: a, the search's first choice, is kept",
            "Training could not choose, as no candidate learnt: the search's first choice, a, is kept.",
        ),
    ],
)  # fmt: skip
def test_what_training_chose(changes: dict[str, Any], line: str, text: str) -> None:
    ranking = {**ENDED, **changes}
    assert _ranked(ranking) == [line]
    assert _won(ranking).startswith(text)


def test_a_chosen_rival_is_told_with_its_origin() -> None:
    row = {
        "name": "b",
        "title": "b (published S)",
        "rungs": [{"ap": 0.5}],
        "score": 1.0,
        "rank_by_score": 2,
        "rank_by_ap": 1,
    }
    ranking = {**ENDED, "candidates": [row]}
    first, second = _ranked(ranking)
    assert first == "training chose b (published S), not a, the search's first choice: +2.5 AP points"
    assert second == "  1. b (published S): AP 0.500; score 1.0 (2.)"
    assert _won(ranking).startswith("Training chose b (published S): after the same trainings")


@pytest.mark.parametrize(("origin", "told"), [("published S", True), ("score weights 0,0,4,4,8", False), (None, False)])
def test_that_a_published_network_may_be_faster_is_told(origin: str | None, told: bool) -> None:
    rungs = [{"trained": 1, "steps": 6}]
    ranking = {"candidates": [{"origin": origin}], "rungs": rungs, "images": {"train": 9, "val": 3}, "data": "d"}
    assert ("A published network may be faster" in _work({**ranking, "training_seconds": 60.0})) == told

"""Candidates of the second stage: within budget, of one cost, of about the best score, and different."""

from __future__ import annotations

import numpy as np
import pytest

from search_spaces.errors import UserError
from tinynas.genes.layout import DEPTH, OUT
from tinynas.ranking.candidates import APART, BAND, ROOM, distance, draw_candidates, shares
from tinynas.search.options import SearchOptions
from tinynas.search.plan import SearchResult
from tinynas.search.request import build_plan
from tinynas.search.run import run_search

KEY = "latency_ms@t4-tensorrt-fp16-b1"


@pytest.fixture(scope="module")
def results() -> list[SearchResult]:
    common = {"budget": "3ms", "device": "t4", "evaluations": 6000, "population": 64}
    return [run_search(build_plan(SearchOptions(**common, space=space))) for space in ("res", "csp")]


def test_distance_is_in_octaves(results: list[SearchResult]) -> None:
    genes = results[0].members[0].genes
    assert distance(genes[:, 0], genes).tolist() == [0.0]
    deeper, wider = genes.copy(), genes.copy()
    deeper[DEPTH + 2] *= 4
    wider[OUT] *= 2
    found = distance(genes[:, 0], np.concatenate([deeper, wider], axis=1))
    assert found == pytest.approx([np.sqrt(2**2 / 21), np.sqrt(1 / 21)])


def test_candidates_have_one_cost_and_differ(results: list[SearchResult]) -> None:
    found = draw_candidates(results, 7)
    assert [candidate.name for candidate in found] == ["res-1", "res-2", "res-3", "res-4", "csp-1", "csp-2", "csp-3"]
    assert [candidate.search for candidate in found] == [0] * 4 + [1] * 3
    for place, result in enumerate(results):
        mine = [candidate for candidate in found if candidate.search == place]
        best = result.members[0]
        assert mine[0].network is best
        for candidate in mine:
            assert (1 - BAND) * best.costs[KEY] <= candidate.network.costs[KEY] <= 3.0
            assert candidate.network.score >= (1 - ROOM) * best.score
            others = [
                distance(candidate.network.genes[:, 0], other.network.genes)[0]
                for other in mine
                if other is not candidate
            ]
            assert min(others) == pytest.approx(candidate.distance)
            assert min(others) >= APART
        # far from what a search's own survivors differ by
        assert result.state is not None
        pool = result.state.pool(0, 4).genes
        assert min(candidate.distance or 0 for candidate in mine) > 1.5 * distance(best.genes[:, 0], pool)[1:].max()


def test_fewer_candidates_are_the_first_of_more(results: list[SearchResult]) -> None:
    few, many = draw_candidates(results, 4), {candidate.name: candidate for candidate in draw_candidates(results, 6)}
    for candidate in few:
        assert (candidate.network.genes == many[candidate.name].network.genes).all()


def test_shares() -> None:
    assert shares(8, 3) == [3, 3, 2]
    assert shares(2, 3) == [1, 1, 0]


def test_a_space_of_one_network_is_refused(results: list[SearchResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinynas.ranking.candidates.APART", 50.0)
    with pytest.raises(UserError, match="fewer than two different networks are within the budget"):
        draw_candidates(results[:1], 4)

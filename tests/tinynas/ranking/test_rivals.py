"""Rivals of a search's best: the published network of its cost, and the best under other weights."""

from __future__ import annotations

import pytest

from search_spaces.emit import emit_backbone
from search_spaces.text import resolve_structure
from tinynas.genes.membership import genes_of
from tinynas.ranking.candidates import APART, draw_candidates
from tinynas.ranking.rivals import NEAR, OTHER_WEIGHTS, rivals
from tinynas.scores.entropy import WEIGHTS, score
from tinynas.search.options import SearchOptions
from tinynas.search.plan import SearchResult
from tinynas.search.request import build_plan
from tinynas.search.run import run_search

KEY = "latency_ms@t4-tensorrt-fp16-b1"


def searched(budget: str, **more: str) -> SearchResult:
    common = {"device": "t4", "space": "res", "evaluations": 6000, "population": 64}
    return run_search(build_plan(SearchOptions(budget=budget, **common, **more)))


@pytest.fixture(scope="module")
def result() -> SearchResult:
    return searched("4ms")


def test_the_published_network_of_the_latency_is_one(result: SearchResult) -> None:
    published = rivals(result)[0]
    assert published.origin == "published S"
    assert (published.network.genes == genes_of(resolve_structure("S"))).all()
    assert NEAR * result.members[0].costs[KEY] <= published.network.costs[KEY] <= 4.0
    assert published.network.score == pytest.approx(1380.6, abs=0.1)


def test_the_best_under_other_weights_is_one_with_the_searchs_own_score(result: SearchResult) -> None:
    best, other = result.members[0], rivals(result)[1]
    assert other.origin == "score weights 0,0,4,4,8"
    assert other.network.costs[KEY] <= 4.0
    graphs = [emit_backbone(network.structure) for network in (best, other.network)]
    assert score(graphs[1], OTHER_WEIGHTS[0]) > score(graphs[0], OTHER_WEIGHTS[0])
    assert other.network.score == pytest.approx(float(score(graphs[1], WEIGHTS)))
    assert other.network.score < best.score


@pytest.mark.parametrize(
    ("budget", "more", "origins"),
    [
        ("3ms", {}, ["score weights 0,0,4,4,8"]),  # T has another neck, and S costs more
        ("9ms", {}, ["score weights 0,0,4,4,8"]),  # S is of another class
        ("4ms", {"score_weights": "0,0,4,4,8"}, ["published S", "score weights 0,0,1,1,16"]),
        ("4ms", {"score": "random"}, ["published S"]),
    ],
)
def test_what_is_no_rival_is_left_out(budget: str, more: dict[str, str], origins: list[str]) -> None:
    assert [rival.origin for rival in rivals(searched(budget, **more))] == origins


def test_rivals_come_after_the_best_and_count_as_candidates(result: SearchResult) -> None:
    known = rivals(result)
    found = draw_candidates([result], 5, [known])
    assert [candidate.name for candidate in found] == [f"res-{number}" for number in range(1, 6)]
    assert [candidate.network for candidate in found[:3]] == [result.members[0], *(rival.network for rival in known)]
    assert found[1].title == "res-2 (published S)"
    assert [candidate.title for candidate in found[3:]] == ["res-4", "res-5"]
    assert min(candidate.distance or 0 for candidate in found) >= APART
    assert [candidate.title for candidate in draw_candidates([result], 2, [known])] == ["res-1", "res-2 (published S)"]
    twin = draw_candidates([result], 3, [[type(known[0])("twin of the best", result.members[0])]])
    assert [candidate.title for candidate in twin] == ["res-1", "res-2", "res-3"]

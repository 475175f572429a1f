"""Rivals of a search's best: the published network of its cost, and the best under other weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from search_spaces.emit import emit_backbone
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure
from tinynas.evolution.state import SearchState
from tinynas.genes.membership import genes_of
from tinynas.ranking.candidates import APART, draw_candidates
from tinynas.ranking.rivals import NEAR, OTHER_WEIGHTS, rivals
from tinynas.scores.entropy import WEIGHTS, score
from tinynas.search.options import SearchOptions
from tinynas.search.plan import FoundNetwork, SearchResult
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
    published, _ = rivals(result)
    assert published.origin == "published S"
    assert (published.genes == genes_of(resolve_structure("S"))).all()
    assert NEAR * result.members[0].costs[KEY] <= published.costs[KEY] <= 4.0
    assert published.score == pytest.approx(1380.6, abs=0.1)


def test_the_best_under_other_weights_is_one_with_the_searchs_own_score(result: SearchResult) -> None:
    best, (_, other) = result.members[0], rivals(result)
    assert other.origin == "score weights 0,0,4,4,8"
    assert other.costs[KEY] <= 4.0
    graphs = [emit_backbone(network.structure) for network in (best, other)]
    assert score(graphs[1], OTHER_WEIGHTS[0]) > score(graphs[0], OTHER_WEIGHTS[0])
    assert other.score == pytest.approx(float(score(graphs[1], WEIGHTS)))
    assert other.score < best.score


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
    found, (published, other) = draw_candidates([result], 5, rivals), rivals(result)
    assert [candidate.name for candidate in found] == [f"res-{number}" for number in range(1, 6)]
    genes = [candidate.network.genes.tolist() for candidate in found[:3]]
    assert genes == [network.genes.tolist() for network in (result.members[0], published, other)]
    titles = [candidate.title for candidate in found]
    assert titles == ["res-1", "res-2 (published S)", "res-3 (score weights 0,0,4,4,8)", "res-4", "res-5"]
    assert min(candidate.distance or 0 for candidate in found) >= APART
    assert [candidate.title for candidate in draw_candidates([result], 2, rivals)] == ["res-1", "res-2 (published S)"]
    twins = draw_candidates([result], 3, lambda result: [replace(result.members[0], origin="twin")])
    assert [candidate.title for candidate in twins] == ["res-1", "res-2", "res-3"]


def test_rivals_are_looked_for_only_where_there_are_places_for_them(result: SearchResult) -> None:
    def asked(result: SearchResult) -> Iterator[FoundNetwork]:
        yield next(iter(rivals(result)))
        raise AssertionError("one more than there is a place for")

    assert len(draw_candidates([result], 2, asked)) == 2
    assert [candidate.name for candidate in draw_candidates([result, result], 3, asked)] == ["res-1", "res-2", "res-1"]


def test_a_rivals_structure_says_where_it_is_from(result: SearchResult) -> None:
    best, published, other = (found.network.structure.search for found in draw_candidates([result], 3, rivals))
    assert best is not None
    assert published is not None
    assert other is not None
    assert (published["origin"], other["origin"]) == ("published S", "score weights 0,0,4,4,8")
    assert "origin" not in best
    assert best["evaluations"] == 6000
    assert not {"seed", "evaluations"} & (published.keys() | other.keys())


def test_a_rival_that_cannot_be_had_is_done_without(result: SearchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UserError("beyond the table")

    monkeypatch.setattr("tinynas.ranking.rivals.found_network", refuse)
    assert list(rivals(result)) == []


def test_ctrl_c_while_a_rival_is_looked_for_is_one(result: SearchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[SearchState]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("tinynas.search.run.evolve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(rivals(result))

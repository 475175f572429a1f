"""What is written of a second stage: its part of search.json, the candidates' structures, the choice's checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.files import replacing, write_text
from search_spaces.text import format_structure
from tinynas.ranking.candidates import Candidate
from tinynas.ranking.contest import Ranking
from tinynas.ranking.state import Outcome
from tinynas.search.front import short_structure

BY_SCORE, WEIGHTS, CANDIDATES = "structure-by-score.txt", "ranked.pt", "candidates"
OUTPUTS = [BY_SCORE, WEIGHTS, CANDIDATES]


def ranking_data(ranking: Ranking) -> dict[str, Any]:
    """The content of search.json's `ranking`. AP is of the validation split, after the last epoch of a rung."""
    contest, plan = ranking.contest, ranking.contest.plan
    by_score = sorted(contest.candidates, key=lambda candidate: -candidate.network.score)
    ranks = {candidate.name: place for place, candidate in enumerate(by_score, start=1)}
    return {
        "data": str(contest.data),
        "images": {"train": plan.images[0], "val": plan.images[1]},
        "rungs": [
            {
                "candidates": rung.candidates,
                "trained": sum(len(found) > place for found in ranking.outcomes.values()),
                "epochs": rung.epochs,
                "steps": rung.epochs * plan.steps,
            }
            for place, rung in enumerate(plan.rungs)
        ],
        "candidates": [
            _candidate_data(candidate, ranking.outcomes[candidate.name])
            | {"rank_by_score": ranks[candidate.name], "rank_by_ap": ranking.order.index(candidate.name) + 1}
            for candidate in contest.candidates
        ],
        "learnt": ranking.learnt,
        "choice": ranking.choice,
        "first_by_score": ranking.first,
        "gain_points": None if ranking.gain is None else 100 * ranking.gain,
        "tau_of_score_and_ap": ranking.tau,
        "training_seconds": ranking.seconds,
        "planned_seconds": plan.seconds,
    }


def title_of(ranking: Mapping[str, Any], name: str) -> str:
    """A candidate's title from its name, of `ranking_data`."""
    return next((str(row["title"]) for row in ranking["candidates"] if row["name"] == name), name)


def _candidate_data(candidate: Candidate, outcomes: tuple[Outcome, ...]) -> dict[str, Any]:
    network = candidate.network
    structure = network.structure
    return {
        "name": candidate.name,
        "title": candidate.title,
        "origin": network.origin,
        "structure_file": f"{CANDIDATES}/{candidate.name}.txt",
        "space": structure.backbone.space,
        "image_size": list(structure.image_size),
        "structure": short_structure(network.genes[:, 0]),
        "score": network.score,
        "costs": network.costs,
        "measured": network.measured,
        "distance_octaves": candidate.distance,
        "rungs": [
            {"steps": o.steps, "ap": o.ap, "ap50": o.ap50, "seconds": o.seconds, "curve": [list(p) for p in o.curve]}
            for o in outcomes
        ],
        "error": outcomes[-1].error,
    }


def write_ranking(ranking: Ranking, folder: Path) -> None:
    """Write candidates/NAME.txt, ranked.pt (the choice as the last rung left it), and structure-by-score.txt where training
    chose another network than the score."""
    shutil.rmtree(folder / CANDIDATES, ignore_errors=True)
    (folder / CANDIDATES).mkdir()
    for candidate in ranking.contest.candidates:
        text = format_structure(candidate.network.structure)
        write_text(folder / CANDIDATES / f"{candidate.name}.txt", text)
        if candidate.name == ranking.first and ranking.first != ranking.choice:
            write_text(folder / BY_SCORE, text)
    if ranking.weights is not None:
        with replacing(folder / WEIGHTS) as temporary:
            shutil.copyfile(ranking.weights, temporary)

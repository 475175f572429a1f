"""The part of a search's page that tells of its second stage: curves, rank by score against rank by AP, what was won."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinynas.quantities import quantity_of
from tinynas.results.rankings import title_of

COLUMNS = ("params", "conv_macs")
Data = Mapping[str, Any]


def ranking_section(ranking: Data | None) -> dict[str, Any] | None:
    """Texts and rows; None without a second stage. `ranking`: of search.json."""
    if not ranking:
        return None
    candidates = ranking["candidates"]
    tables = [key for key in candidates[0]["costs"] if key.startswith("latency_ms@")]
    rungs = ranking["rungs"]
    return {
        "won": _won(ranking),
        "work": _work(ranking),
        "tau": _tau(ranking),
        "columns": [
            "candidate", "image", "score", *(f"ms on {key.partition('@')[2]}" for key in tables),
            *(quantity_of(key).label for key in COLUMNS),
            *(f"AP, rung {place}" for place in range(1, len(rungs) + 1)), "rank by score", "rank by AP",
        ],
        "rows": [
            _row(candidate, tables, len(rungs), ranking)
            for candidate in sorted(candidates, key=lambda candidate: candidate["rank_by_ap"])
        ],
        "errors": [f"{candidate['name']}: {candidate['error']}" for candidate in candidates if candidate["error"]],
    }  # fmt: skip


def ranking_chart(ranking: Data | None) -> dict[str, Any] | None:
    """What the two pictures are drawn from: by candidate, (steps so far, AP in percent) points and both ranks."""
    if not ranking:
        return None
    lines = []
    for candidate in ranking["candidates"]:
        before, points = 0, []
        for rung in candidate["rungs"]:
            points += [[before + steps, 100 * ap] for steps, ap in rung["curve"]]
            before += rung["steps"]
        lines.append({
            "name": candidate["name"], "points": points, "by_score": candidate["rank_by_score"],
            "by_ap": candidate["rank_by_ap"], "score": candidate["score"],
            "kind": _kind(candidate["name"], ranking),
        })  # fmt: skip
    ends, so_far = [], 0
    for rung in ranking["rungs"][:-1]:
        so_far += rung["steps"]
        ends.append(so_far)
    return {"lines": lines, "ends": ends}


def _kind(name: str, ranking: Data) -> str:
    if name == ranking["choice"]:
        return "choice"
    return "first" if name == ranking["first_by_score"] else "other"


def _won(ranking: Data) -> str:
    choice, first, gain = ranking["choice"], ranking["first_by_score"], ranking["gain_points"]
    chosen = title_of(ranking, choice)
    if not ranking["learnt"]:
        return f"Training could not choose, as no candidate learnt: the search's first choice, {first}, is kept."
    if choice == first:
        return f"Training chose {choice}, the search's first choice: no AP is won, but your data agree with the search."
    if gain is None:
        return f"Training chose {chosen}; the search's first choice, {first}, failed to train."
    return (
        f"Training chose {chosen}: after the same trainings, {gain:.1f} AP points above {first}, the search's first choice. "
        "One training of each: a point or two can be chance."
    )


def _work(ranking: Data) -> str:
    rungs = ", then ".join(f"{rung['trained']} for {rung['steps']:,} steps" for rung in ranking["rungs"])
    images = ranking["images"]
    return (
        f"{len(ranking['candidates'])} candidates of one latency trained on {ranking['data']} ({images['train']} pictures, "
        f"{images['val']} of val; the test split stays unseen): {rungs}; {ranking['training_seconds'] / 60:.1f} minutes of "
        "training in all."
        + (
            " A published network may be faster than the others."
            if any(map(_is_published, ranking["candidates"]))
            else ""
        )
    )


def _is_published(candidate: Data) -> bool:
    return (candidate["origin"] or "").startswith("published")


def _tau(ranking: Data) -> str:
    tau = ranking["tau_of_score_and_ap"]
    if tau is None:
        return "Score and AP cannot be compared here."
    return f"Kendall's tau of score and AP after the first rung, over all candidates: {tau:.2f}."


def _row(candidate: Data, tables: Sequence[str], rungs: int, ranking: Data) -> tuple[str, list[str]]:
    """Kind of the row, and its cells."""
    aps = [rung["ap"] for rung in candidate["rungs"]]
    cells = [
        candidate["title"],
        "x".join(map(str, dict.fromkeys(candidate["image_size"]))) + " px",
        f"{candidate['score']:.1f}",
        *(_latency(candidate, key) for key in tables),
        *(quantity_of(key).brief(candidate["costs"][key]) for key in COLUMNS),
        *("failed" if ap is None else f"{100 * ap:.1f}" for ap in aps),
        *[""] * (rungs - len(aps)),
        str(candidate["rank_by_score"]),
        str(candidate["rank_by_ap"]),
    ]
    return _kind(candidate["name"], ranking), cells


def _latency(candidate: Data, key: str) -> str:
    measured = (candidate["measured"] or {}).get(key.partition("@")[2])
    text = f"{candidate['costs'][key]:.2f}"
    return f"{text}, measured {measured['measured_ms']:.2f}" if measured else text

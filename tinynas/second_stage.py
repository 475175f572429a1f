"""`search --rank-by-training`: from the searches' results to candidates, what their trainings cost, and the choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detector.training.timing.durations import time_option
from search_spaces.cores import available_cores
from search_spaces.saying import Say
from search_spaces.text import format_structure
from tinynas.evolution.engine import Engine
from tinynas.ranking.candidates import Candidate, draw_candidates, shares
from tinynas.ranking.contest import Contest, Ranking, remove_weights, run_contest
from tinynas.ranking.preparation import StageData, base_configs, load_data, measured_pace
from tinynas.ranking.rivals import rivals
from tinynas.ranking.rungs import Costs, Pace, Rung, plan_rungs, total_seconds
from tinynas.ranking.state import StageFolder, StagePlan, total_steps
from tinynas.search.closing import measure_members
from tinynas.search.folder import SearchFolder
from tinynas.search.found import note_provenance
from tinynas.search.plan import SearchPlan, SearchResult
from tinynas.search.run import run_search

FOLDER = "ranking"
FIRST_PART = 100
"""The searches' saved states are numbered from here on: lower numbers are the first search's."""


def _nobody(_: Contest) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRequest:
    """What the second stage was asked for. `others`: searches beside the first one, in other spaces and image sizes;
    `candidates`: None lets the hours decide; `settings`: of the trainings, as `--set`; `watch`: a context that shows the
    standings while the rungs run."""

    data: Path
    hours: float
    others: tuple[SearchPlan, ...] = ()
    candidates: int | None = None
    settings: tuple[str, ...] = ()
    seed: int = 0
    say: Say = print
    watch: Callable[[Contest], AbstractContextManager[None]] = _nobody

    def record(self) -> dict[str, Any]:
        """What a resume must not change; the data are compared by what is in them."""
        return {
            "hours": self.hours, "candidates": self.candidates, "settings": list(self.settings),
            "searches": [[plan.space.name, *plan.image_size] for plan in self.others],
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Ready to train: `results` of all searches, the first one's first."""

    request: RankingRequest
    contest: Contest
    results: tuple[SearchResult, ...]


def prepare(
    request: RankingRequest, result: SearchResult, run: SearchFolder, engine: Engine, *, resume: bool, measure: bool
) -> Stage:
    """Read the data, search the other spaces and sizes, choose the candidates, measure what trainings cost, and say it.

    measure: whether candidates are timed on this machine where a table is of it. Raises UserError for unsound data, for hours
    that are too short, and when a stage to go on with began with other data.
    """
    folder = StageFolder(run.unfinished / FOLDER)
    data, before = load_data(request.data, request.say), folder.plan() if resume else None
    classes = data.splits.train.num_classes
    if result.plan.num_classes != classes:
        request.say(
            f"note: the search prices heads of {result.plan.num_classes} classes, and the data have {classes}, which the "
            f"trainings take; --num-classes {classes} prices these"
        )
    others = (
        run_search(plan, engine, run, resume=resume, part=FIRST_PART + place)
        for place, plan in enumerate(request.others)
    )
    results = (result, *others)
    if any(other.interrupted for other in results):
        raise KeyboardInterrupt
    if before is None:
        plan, candidates = _planned(request, results, data, engine, folder)
        folder.begin(plan)
    else:
        plan, candidates = before, draw_candidates(results, len(before.candidates), rivals)
        folder.check(before, texts_of(candidates), data.mark, request.data)
    if measure:
        _measure(results, candidates)
    contest = Contest(candidates=tuple(candidates), plan=plan, folder=folder, data=request.data)
    return Stage(request=request, contest=contest, results=results)


def run_stage(stage: Stage, engine: Engine) -> tuple[SearchResult, Ranking]:
    """Train, and make the choice the result of the search that it comes from. What is done stays done after Ctrl-C."""
    with stage.request.watch(stage.contest):
        ranking = run_contest(stage.contest, engine, stage.request.say)
    remove_weights(stage.contest, ranking.weights)
    chosen = ranking.chosen
    result = stage.results[chosen.search]
    if chosen.name != ranking.first:
        chosen.network.history = result.members[0].history
    chosen.network.ranked = provenance_of(ranking)
    note_provenance(result.plan, chosen.network, result.evaluated)
    return replace(result, members=[chosen.network], notes=[*result.notes, *ranking.notes]), ranking


def provenance_of(ranking: Ranking) -> dict[str, Any]:
    """What a structure file says of the stage that chose it."""
    plan, last = ranking.contest.plan, ranking.outcomes[ranking.choice][-1]
    first = ranking.outcomes[ranking.first][-1]
    return {
        "data": ranking.contest.data.name,
        "images": list(plan.images),
        "candidates": len(ranking.contest.candidates),
        "epochs": [rung.epochs for rung in plan.rungs],
        "val_ap": None if last.ap is None else round(last.ap, 5),
        "val_ap_of_the_scores_choice": None if first.ap is None else round(first.ap, 5),
    }


def texts_of(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Structure texts by name, without provenance, which holds milliseconds measured now."""
    return {
        candidate.name: format_structure(replace(candidate.network.structure, search=None)) for candidate in candidates
    }


def _planned(
    request: RankingRequest, results: Sequence[SearchResult], data: StageData, engine: Engine, folder: StageFolder
) -> tuple[StagePlan, list[Candidate]]:
    bests = [result.members[0].structure for result in results]
    configs = base_configs(bests, data, request.settings, request.seed)
    threads = max(1, available_cores() // engine.workers) if engine.workers > 1 else None
    request.say(f"timing some training steps of {len(bests)} networks ...")
    measured = [
        measured_pace(structure, data, config, folder.root, threads)
        for structure, config in zip(bests, configs, strict=True)
    ]
    paces = [pace for pace, _, _ in measured]
    steps = measured[0][1]

    def paces_of(number: int) -> list[Pace]:
        counts = shares(number, len(paces))
        return [pace for pace, count in zip(paces, counts, strict=True) for _ in range(count)]

    costs = Costs(paces=paces_of, steps=steps, workers=engine.workers)
    rungs = plan_rungs(request.hours, costs, request.candidates, searches=len(paces))
    candidates = draw_candidates(results, rungs[0].candidates, rivals)
    if len(candidates) < rungs[0].candidates:
        request.say(f"note: the spaces hold only {len(candidates)} networks of this latency that differ")
        rungs = plan_rungs(request.hours, costs, len(candidates))
    seconds = total_seconds(rungs, costs)
    _tell(request, rungs, candidates, paces, seconds, steps)
    plan = StagePlan(
        candidates=texts_of(candidates), rungs=rungs, data=data.mark, images=data.images, steps=steps,
        configs=tuple(config for _, _, config in measured), seconds=round(seconds, 1),
    )  # fmt: skip
    return plan, candidates


def _tell(
    request: RankingRequest, rungs: Sequence[Rung], candidates: Sequence[Candidate], paces: Sequence[Pace],
    seconds: float, steps: int,
) -> None:  # fmt: skip
    """The costs, before they are spent."""
    names = ", ".join(candidate.title for candidate in candidates)
    request.say(f"rank by training: {len(candidates)} candidates within the budget ({names})")
    for number, rung in enumerate(rungs, start=1):
        first = " (the search's first choice stays in, for comparison)" if number > 1 else ""
        up_to = "up to " if number > 1 else ""
        request.say(
            f"  rung {number}: {up_to}{rung.trainings} trainings of {rung.epochs} epochs ({rung.epochs * steps} steps)"
            + first
        )
    pace = min(paces, key=lambda pace: pace.step).step, max(paces, key=lambda pace: pace.step).step
    between = f"{pace[0]:.2g} s" if f"{pace[0]:.2g}" == f"{pace[1]:.2g}" else f"{pace[0]:.2g} to {pace[1]:.2g} s"
    unused = ""
    if seconds < 0.5 * 3600 * request.hours:
        unused = "; longer trainings would gain little, more --candidates may"
    request.say(f"  at most {time_option(seconds)} of {time_option(3600 * request.hours)}, at {between} a step{unused}")
    epochs = total_steps(rungs, 1)
    request.say(
        f"  the last ones train for {epochs} epochs in all; Ctrl-C stops, the same command with --resume goes on"
    )


def _measure(results: Sequence[SearchResult], candidates: Sequence[Candidate]) -> None:
    """Time the candidates of each search together, on tables of this machine; those that were timed already are left."""
    for place, result in enumerate(results):
        networks = [candidate.network for candidate in candidates if candidate.search == place]
        untimed = [network for network in networks if not network.measured]
        if untimed:
            measure_members(replace(result, members=untimed, notes=[]))

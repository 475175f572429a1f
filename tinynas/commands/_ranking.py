"""The second stage on the command line: its options, and the live table of its trainings."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.training.timing.durations import time_option
from search_spaces.errors import UserError
from search_spaces.saying import Say

if TYPE_CHECKING:
    from tinynas.ranking.contest import Contest
    from tinynas.search.options import SearchOptions
    from tinynas.search.plan import SearchPlan
    from tinynas.second_stage import RankingRequest

DEFAULT_HOURS = 1.0
REFRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingOptions:
    """As given on the command line; None or empty where not."""

    data: Path | None
    hours: float | None
    candidates: int | None
    split: float | None
    settings: tuple[str, ...]


def check_ranking_options(options: RankingOptions, *, asked: bool) -> None:
    """Raises UserError for options of a second stage that was not asked for, and for hours that are none."""
    given = {
        "--data": options.data, "--hours": options.hours, "--candidates": options.candidates, "--split": options.split,
        "--set": options.settings or None,
    }  # fmt: skip
    first = next((name for name, value in given.items() if value is not None), None)
    if first is not None and not asked:
        raise UserError(
            f"{first} is for --rank-by-training, which trains candidates on your data; say both, or neither"
        )
    if options.hours is not None and not 0 < options.hours < float("inf"):
        raise UserError(f"--hours {options.hours:g}: expected a time above zero, for example 1 or 0.5")


def ranking_of(options: SearchOptions, training: RankingOptions, *, measure: bool) -> tuple[SearchPlan, RankingRequest]:
    """The first search's plan, and the second stage with those of the others. Settings and data are looked at first."""
    from detector.data.formats import detect
    from detector.data.label_space.document import is_document
    from detector.training.machine.process_settings import let_threads_sleep
    from tinynas.commands import train
    from tinynas.ranking.preparation import check_settings
    from tinynas.search.several import build_plans
    from tinynas.second_stage import RankingRequest

    let_threads_sleep()
    check_settings(training.settings)
    data = train.find_data(training.data)
    if not is_document(data):
        detect(data)
    if training.split is not None:
        train.ensure_split(data, training.split)
    first, *others = build_plans(options, say, measure=measure)
    request = RankingRequest(
        data=data, hours=DEFAULT_HOURS if training.hours is None else training.hours, others=tuple(others),
        candidates=training.candidates, settings=training.settings, seed=options.seed, say=say, watch=watched,
    )  # fmt: skip
    return first, request


def say(text: str) -> None:
    """To the terminal: standard output is search.json's, with --json."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def watched(contest: Contest) -> Iterator[None]:
    """A table of all candidates that follows their trainings, on a terminal; elsewhere a line whenever one has come on."""
    from rich.console import Console
    from rich.live import Live

    # the stream of now: trainings send what they say elsewhere
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        news, stream = News(contest), sys.stderr
        with _followed(lambda: news.tell(lambda text: print(text, file=stream, flush=True))):
            yield
        return
    live = Live(standings_table(contest), console=console, auto_refresh=False, redirect_stdout=False)
    with live, _followed(lambda: live.update(standings_table(contest), refresh=True)):
        yield


@contextlib.contextmanager
def _followed(look: Callable[[], None]) -> Iterator[None]:
    """`look` every second or so, and once more at the end."""
    done = threading.Event()

    def follow() -> None:
        while not done.wait(REFRESH_SECONDS):
            look()

    watcher = threading.Thread(target=follow, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        look()


class News:
    """What has come on since it was last asked: a line a candidate and epoch, for logs."""

    def __init__(self, contest: Contest) -> None:
        self._contest, self._started = contest, time.monotonic()
        self._seen = {standing.name: standing for standing in contest.standings()}

    def tell(self, say: Say) -> None:
        rungs, seconds = self._contest.plan.rungs, self._contest.plan.seconds
        for one in self._contest.standings():
            before, self._seen[one.name] = self._seen[one.name], one
            came_on = (one.rung, one.epochs, one.error) != (before.rung, before.epochs, before.error)
            if not came_on or not (one.epochs or one.error):
                continue
            state = f"failed: {one.error}" if one.error else f"epoch {one.epochs} of {rungs[one.rung].epochs}"
            ap = "" if one.ap is None else f", AP {one.ap:.3f}"
            passed = time_option(time.monotonic() - self._started)
            say(f"  {one.name}, rung {one.rung + 1}: {state}{ap} (after {passed} of at most {time_option(seconds)})")


def standings_table(contest: Contest) -> Any:
    """How all candidates stand, those that are furthest and best first."""
    from rich.table import Table

    rungs = contest.plan.rungs
    scores = {candidate.name: candidate.network.score for candidate in contest.candidates}
    table = Table("candidate", "score", "rung", "epochs", "AP on val", "")
    standings = sorted(contest.standings(), key=lambda one: (-one.rung, -(-1.0 if one.ap is None else one.ap)))
    for one in standings:
        state = "failed" if one.error else "training" if one.running else "done" if one.epochs else "waiting"
        table.add_row(
            one.name, f"{scores[one.name]:.1f}", f"{one.rung + 1} of {len(rungs)}",
            f"{one.epochs} of {rungs[one.rung].epochs}", "" if one.ap is None else f"{one.ap:.3f}", state,
        )  # fmt: skip
    return table

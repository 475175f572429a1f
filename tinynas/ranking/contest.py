"""The rungs run: who trains in each, whose training is done, who goes on; and what it came to."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.training.record.logged import logged_epochs
from search_spaces.cores import available_cores
from search_spaces.saying import Say
from tinynas.evolution.engine import Engine
from tinynas.ranking.candidates import Candidate
from tinynas.ranking.rungs import kendall, order_of, survivors
from tinynas.ranking.state import Outcome, StageFolder, StagePlan
from tinynas.ranking.training import Training, rung_config, train

LEARNT = 0.001
"""AP from which on a network has learnt something: below it, the few hits of a random one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A candidate as it stands while the rungs run. `rung`: from 0, the one that it trains in or ended in; `epochs` of it
    that are done; `ap`: its latest; `running`: whether its training is under way; `error`: of a training that failed."""

    name: str
    rung: int
    epochs: int
    ap: float | None
    running: bool
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """The candidates (the search's first choice first), the plan that they train by, where, and on what."""

    candidates: tuple[Candidate, ...]
    plan: StagePlan
    folder: StageFolder
    data: Path

    @property
    def names(self) -> list[str]:
        return [candidate.name for candidate in self.candidates]

    def standings(self) -> list[Standing]:
        """How all candidates stand, read from the files: for who watches."""
        return [self._standing(name) for name in self.names]

    def _standing(self, name: str) -> Standing:
        done = [self.folder.outcome(name, place) for place in range(len(self.plan.rungs))]
        number = sum(outcome is not None for outcome in done)
        rows = logged_epochs(self.folder.run_folder(name, number))
        if rows:
            ap = next((row["ap"] for row in reversed(rows) if row.get("ap") is not None), None)
            epochs = int(rows[-1]["epoch"])
            return Standing(name=name, rung=number, epochs=epochs, ap=ap, running=True, error=None)
        running = self.folder.run_folder(name, number).is_dir()
        last = done[number - 1] if number else None
        return Standing(
            name=name, rung=number if running else max(number - 1, 0),
            epochs=self.plan.rungs[number - 1].epochs if last and not running else 0, ap=last.ap if last else None,
            running=running, error=last.error if last else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What the second stage found. `outcomes`: of every rung that a candidate trained in, by name; `order`: all names, best
    first; `learnt`: whether any of them learnt something; `choice` and `first`: the one that training chose (the score's
    where nothing was learnt), and the score's; `gain`: AP of the choice over the score's after the last rung, None where
    there is no such pair; `tau`: Kendall's of score and AP after the first rung; `weights`: the choice's checkpoint."""

    contest: Contest
    outcomes: Mapping[str, tuple[Outcome, ...]]
    order: tuple[str, ...]
    learnt: bool
    choice: str
    first: str
    gain: float | None
    tau: float | None
    weights: Path | None
    notes: tuple[str, ...]

    @property
    def chosen(self) -> Candidate:
        return self.contest.candidates[self.contest.names.index(self.choice)]

    @property
    def seconds(self) -> float:
        """Of all trainings together."""
        return sum(outcome.seconds for outcomes in self.outcomes.values() for outcome in outcomes)


def run_contest(contest: Contest, engine: Engine, told: Say) -> Ranking:
    """Train rung after rung; what is done already is read. `told`: hears how each rung ended.

    Raises UserError when something fails that would fail for every candidate; what is done stays done.
    """
    outcomes: dict[str, tuple[Outcome, ...]] = dict.fromkeys(contest.names, ())
    names, rungs = contest.names, contest.plan.rungs
    for place, rung in enumerate(rungs):
        for name, outcome in _trained(contest, place, names, engine).items():
            outcomes[name] = (*outcomes[name], outcome)
        aps = {name: outcomes[name][-1].ap for name in names}
        leader = order_of(aps, names)[0]
        told(f"rung {place + 1} of {len(rungs)}: {len(names)} candidates, {rung.epochs} epochs; {_led(leader, aps)}")
        if place + 1 < len(rungs):
            names = survivors(aps, names, rungs[place + 1], contest.names[0])
            if not names:
                break
    return _concluded(contest, outcomes)


def _led(name: str, aps: Mapping[str, float | None]) -> str:
    ap = aps[name]
    return "all of them failed" if ap is None else f"{name} leads with AP {ap:.3f}"


def _trained(contest: Contest, place: int, names: Sequence[str], engine: Engine) -> dict[str, Outcome]:
    """The outcomes of a rung, by name; trainings that are not done are done now."""
    waiting = [name for name in names if contest.folder.outcome(name, place) is None]
    trainings = [_training(contest, place, name, number, engine) for number, name in enumerate(waiting)]
    places = [place] * len(waiting)
    if engine.workers == 1 or len(waiting) < 2:
        for name, training in zip(waiting, trainings, strict=True):
            _train_and_note(contest.folder, name, place, training)
    else:
        from joblib import Parallel, delayed, parallel_config

        limit: dict[str, Any] = {"inner_max_num_threads": _threads(engine)} if engine.backend == "loky" else {}
        with warnings.catch_warnings(), parallel_config(backend=engine.backend, **limit):
            # loky starts workers anew whose memory has grown, as a training's does
            warnings.filterwarnings("ignore", message="A worker stopped")
            jobs = zip(waiting, places, trainings, strict=True)
            Parallel(n_jobs=engine.workers)(
                delayed(_train_and_note)(contest.folder, name, at, training) for name, at, training in jobs
            )
    found = {name: contest.folder.outcome(name, place) for name in names}
    return {name: outcome for name, outcome in found.items() if outcome is not None}


def _train_and_note(folder: StageFolder, name: str, place: int, training: Training) -> None:
    outcome = train(training)
    folder.note(name, place, outcome)
    if training.weights is not None:  # no later rung starts from them
        training.weights.unlink(missing_ok=True)


def _training(contest: Contest, place: int, name: str, number: int, engine: Engine) -> Training:
    candidate = contest.candidates[contest.names.index(name)]
    config, rung = contest.plan.configs[candidate.search], contest.plan.rungs[place]
    local = engine.workers > 1 and engine.backend == "loky"
    return Training(
        folder=contest.folder.run_folder(name, place), structure=contest.plan.candidates[name], data=contest.data,
        config=rung_config(config, rung) | _device(config, number, engine),
        weights=contest.folder.run_folder(name, place - 1) / "last.pt" if place else None,
        threads=_threads(engine) if engine.workers > 1 else None, parent=os.getpid() if local else None,
    )  # fmt: skip


def _threads(engine: Engine) -> int:
    """Of each worker's training."""
    return max(1, available_cores() // engine.workers)


def _device(config: Mapping[str, Any], number: int, engine: Engine) -> dict[str, str]:
    """With several GPUs and workers on this machine, each training has one."""
    if engine.workers == 1 or engine.backend != "loky" or config["device"] != "auto":
        return {}
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {"device": f"cuda:{number % gpus}"} if gpus > 1 else {}


def _concluded(contest: Contest, outcomes: Mapping[str, tuple[Outcome, ...]]) -> Ranking:
    names, first = contest.names, contest.names[0]
    reached = max(len(found) for found in outcomes.values())
    finals = {name: found[-1].ap for name, found in outcomes.items() if len(found) == reached}
    order = [
        name
        for length in range(reached, 0, -1)
        for name in order_of({name: found[-1].ap for name, found in outcomes.items() if len(found) == length}, names)
    ]
    notes = [f"{name}: {found[-1].error}" for name, found in outcomes.items() if found[-1].error]
    learnt = any(ap is not None and ap >= LEARNT for ap in finals.values())
    if not learnt:
        failed = all(ap is None for ap in finals.values())
        what = "no training of the last rung came to its end" if failed else "no candidate learnt anything (AP 0)"
        notes.append(
            f"{what}: the search's first choice is kept; give more --hours, or see whether one can learn at all: tinynas "
            f"overfit structure.txt --data {contest.data}"
        )
    choice = order[0] if learnt else first
    both = finals.get(choice), finals.get(first)
    pairs = [
        (candidate.network.score, outcome.ap)
        for candidate in contest.candidates
        if (outcome := outcomes[candidate.name][0]).ap is not None
    ]
    weights = contest.folder.run_folder(choice, len(outcomes[choice]) - 1) / "best.pt"
    return Ranking(
        contest=contest, outcomes=outcomes, order=tuple(order), learnt=learnt, choice=choice, first=first,
        gain=None if both[0] is None or both[1] is None else both[0] - both[1],
        tau=kendall([score for score, _ in pairs], [ap for _, ap in pairs]),
        weights=weights if weights.is_file() else None, notes=tuple(notes),
    )  # fmt: skip


def remove_weights(contest: Contest, kept: Path | None) -> None:
    """Delete all checkpoints of the stage but one."""
    for path in contest.folder.root.glob("*/rung-*/*.pt"):
        if path != kept:
            with contextlib.suppress(OSError):
                path.unlink()

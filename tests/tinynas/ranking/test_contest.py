"""Rungs run with trainings that are made up: who goes on, what fails, what is chosen, what is not done twice."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tinynas.commands import _ranking
from tinynas.commands._ranking import News, standings_table
from tinynas.evolution.engine import Engine
from tinynas.ranking import contest as contests
from tinynas.ranking import training as trainings
from tinynas.ranking.contest import Contest, Ranking, run_contest
from tinynas.ranking.rungs import rungs_of
from tinynas.ranking.state import Outcome, StageFolder, StagePlan
from tinynas.ranking.training import Training, train

NAMES = ("a", "b", "c", "d")
APS = {"a": (0.2, 0.25, 0.3), "b": (0.1,), "c": (0.3, 0.4), "d": (0.4, 0.35)}
CONFIG = {"device": "auto", "eval": {"every_epochs": 5}}


def made(folder: Path) -> Contest:
    candidates: Any = tuple(
        SimpleNamespace(name=name, search=0, network=SimpleNamespace(score=10.0 - place))
        for place, name in enumerate(NAMES)
    )
    plan = StagePlan(
        candidates=dict.fromkeys(NAMES, "text"), rungs=rungs_of(4, 2), data="mark", images=(8, 4), steps=3, configs=(CONFIG,),
        seconds=1.0,
    )  # fmt: skip
    return Contest(
        candidates=candidates,
        plan=plan,
        folder=StageFolder(folder / "out" / ".search" / "ranking"),
        data=folder / "data",
    )


def outcome(ap: float | None, error: str | None = None) -> Outcome:
    return Outcome(steps=6, ap=ap, ap50=ap, curve=() if ap is None else ((3, 0.0), (6, ap)), seconds=2.0, error=error)


class Trainer:
    """Stands in for `train`: gives the rung's AP by candidate, and remembers what it was asked."""

    def __init__(self, found: Callable[[str, int], Outcome]) -> None:
        self.found, self.asked = found, []  # type: ignore[var-annotated]

    def __call__(self, training: Training) -> Outcome:
        name, rung = training.folder.parent.name, int(training.folder.name[-1]) - 1
        self.asked.append((name, rung, training.config["epochs"], training.weights))
        training.folder.mkdir(parents=True)
        (training.folder / "last.pt").touch()
        (training.folder / "best.pt").touch()
        return self.found(name, rung)


def run(
    folder: Path, patch: pytest.MonkeyPatch, found: Callable[[str, int], Outcome]
) -> tuple[Ranking, Trainer, list[str]]:
    trainer, said = Trainer(found), []  # type: ignore[var-annotated]
    patch.setattr(contests, "train", trainer)
    return run_contest(made(folder), Engine(), said.append), trainer, said


def test_the_best_train_on_from_their_own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranking, trainer, said = run(tmp_path, monkeypatch, lambda name, rung: outcome(APS[name][rung]))
    assert [asked[:3] for asked in trainer.asked] == [
        ("a", 0, 2), ("b", 0, 2), ("c", 0, 2), ("d", 0, 2), ("a", 1, 4), ("c", 1, 4), ("d", 1, 4),
    ]  # fmt: skip
    root = ranking.contest.folder.root
    assert trainer.asked[5][3] == root / "c" / "rung-1" / "last.pt"
    assert not (root / "c" / "rung-1" / "last.pt").exists()
    assert (ranking.choice, ranking.first, ranking.order) == ("c", "a", ("c", "d", "a", "b"))
    assert ranking.gain == pytest.approx(0.4 - 0.25)
    assert ranking.weights == root / "c" / "rung-2" / "best.pt"
    assert ranking.tau == pytest.approx((1 - 5) / 6)  # of six pairs only a and b are in the score's order
    assert ranking.seconds == 14.0
    assert said[0] == "rung 1 of 2: 4 candidates, 2 epochs; d leads with AP 0.400"


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(name: str, rung: int) -> Outcome:
        if (name, rung) == ("c", 1):
            raise KeyboardInterrupt
        return outcome(APS[name][rung])

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, monkeypatch, killed)
    (tmp_path / "out" / ".search" / "ranking" / "c" / "rung-2" / "last.pt").unlink()
    for path in (tmp_path / "out" / ".search" / "ranking" / "c" / "rung-2").iterdir():
        path.unlink()
    (tmp_path / "out" / ".search" / "ranking" / "c" / "rung-2").rmdir()
    ranking, trainer, _ = run(tmp_path, monkeypatch, lambda name, rung: outcome(APS[name][rung]))
    assert [asked[:2] for asked in trainer.asked] == [("c", 1), ("d", 1)]
    whole, _, _ = run(tmp_path / "whole", monkeypatch, lambda name, rung: outcome(APS[name][rung]))
    assert (ranking.order, ranking.gain, ranking.outcomes) == (whole.order, whole.gain, whole.outcomes)


def test_a_candidate_that_diverges_is_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = {("a", 1), ("d", 0)}
    ranking, _, _ = run(
        tmp_path, monkeypatch,
        lambda name, rung: outcome(None, "not finite") if (name, rung) in fails else outcome((APS[name] * 2)[rung]),
    )  # fmt: skip
    assert (ranking.choice, ranking.gain) == ("c", None)
    assert ranking.order == ("c", "a", "b", "d")
    assert ranking.notes == ("a: not finite", "d: not finite")


@pytest.mark.parametrize(
    ("found", "last_rung", "said"),
    [
        (outcome(0.0), 2, "no candidate learnt anything (AP 0): the search's first choice is kept"),
        (outcome(0.0009), 2, "no candidate learnt anything (AP 0): the search's first choice is kept"),
        (
            outcome(None, "not finite"),
            1,
            "no training of the last rung came to its end: the search's first choice is kept",
        ),
    ],
    ids=["nothing found", "some hits by chance", "all diverge"],
)
def test_when_nothing_is_learnt_the_scores_choice_stays(
    found: Outcome, last_rung: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranking, _, _ = run(tmp_path, monkeypatch, lambda name, rung: found)
    assert ranking.choice == ranking.first == "a"
    assert len(ranking.outcomes["a"]) == last_rung
    assert ranking.notes[-1].startswith(said)
    assert not ranking.learnt
    assert ranking.tau is None


def test_a_training_that_diverges_is_an_outcome_and_a_full_disk_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detector.training.step.bad_steps import Diverged
    from search_spaces.errors import UserError

    training = Training(folder=tmp_path / "run", structure="", data=tmp_path, config={}, weights=None)

    def failing(error: UserError) -> Callable[[Training], None]:
        def fail(_: Training) -> None:
            print("said")
            raise error

        return fail

    monkeypatch.setattr(trainings, "_train", failing(Diverged("not finite 10 steps in a row")))
    found = train(training)
    assert (found.ap, found.error) == (None, "not finite 10 steps in a row")
    assert (tmp_path / "run" / "log.txt").read_text() == "said\n"
    monkeypatch.setattr(trainings, "_train", failing(UserError("no space left")))
    with pytest.raises(UserError, match="no space left"):
        train(training)


def test_a_log_has_a_line_for_every_step_on(tmp_path: Path) -> None:
    contest, said = made(tmp_path), []  # type: ignore[var-annotated]
    news = News(contest)
    folder = contest.folder

    def told() -> list[str]:
        said.clear()
        news.tell(said.append)
        return [line.strip().split(" (after ")[0] for line in said]

    assert told() == []
    run_folder = folder.run_folder("a", 0)
    run_folder.mkdir(parents=True)
    assert told() == []  # has begun, no more
    (run_folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "ap": 0.15}) + "\n")
    assert told() == ["a, rung 1: epoch 1 of 2, AP 0.150"]
    assert told() == []
    (run_folder / "metrics.jsonl").unlink()
    folder.note("a", 0, outcome(0.2))
    folder.root.joinpath("b").mkdir(parents=True)
    folder.note("b", 0, outcome(None, "not finite"))
    assert told() == ["a, rung 1: epoch 2 of 2, AP 0.200", "b, rung 1: failed: not finite"]
    assert told() == []
    assert News(contest).tell(said.append) is None  # a resumed stage tells what is new only
    assert said == []


def test_the_log_is_told_while_a_training_speaks_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contest, elsewhere = made(tmp_path), io.StringIO()
    monkeypatch.setattr(_ranking, "REFRESH_SECONDS", 60.0)  # the last look is at the end
    with monkeypatch.context() as patch, _ranking.watched(contest):
        contest.folder.root.joinpath("a").mkdir(parents=True)
        contest.folder.note("a", 0, outcome(0.2))
        patch.setattr(sys, "stderr", elsewhere)
    assert "a, rung 1: epoch 2 of 2, AP 0.200 (after " in capsys.readouterr().err
    assert elsewhere.getvalue() == ""


def test_the_table_shows_how_everybody_stands(tmp_path: Path) -> None:
    contest = made(tmp_path)
    folder = contest.folder
    for name, aps in APS.items():
        folder.root.joinpath(name).mkdir(parents=True)
        folder.note(name, 0, outcome(None, "not finite") if name == "b" else outcome(aps[0]))
    under_way = folder.run_folder("d", 1)
    under_way.mkdir()
    rows = [{"epoch": 1, "ap": 0.35}, {"epoch": 2}]
    (under_way / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    console = Console(width=100, record=True, file=(tmp_path / "screen").open("w"))
    console.print(standings_table(contest))
    lines = [line.replace("\u2502", " ").split() for line in console.export_text().splitlines()]
    shown = [words for words in lines if words and words[0] in NAMES]
    assert shown == [
        ["d", "7.0", "2", "of", "2", "2", "of", "4", "0.350", "training"],
        ["c", "8.0", "1", "of", "2", "2", "of", "2", "0.300", "done"],
        ["a", "10.0", "1", "of", "2", "2", "of", "2", "0.200", "done"],
        ["b", "9.0", "1", "of", "2", "2", "of", "2", "failed"],
    ]

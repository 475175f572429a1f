"""`--time`: what fits is chosen from measured steps, and is then trained as `--epochs` would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from detector.training.settings.config import build_config
from detector.training.timing import time_budget
from detector.training.timing.durations import parse_minutes, time_option
from detector.training.timing.time_budget import FEW_STEPS, MOST_EPOCHS, MOST_EVALUATIONS, Cost, plan, smaller_side
from search_spaces.errors import UserError
from tinynas.cli import main


@pytest.mark.parametrize(
    ("text", "minutes"), [("30m", 30), ("1h", 60), ("1h30m", 90), ("90s", 1.5), ("45", 45), ("0.5h", 30), (" 2 M", 2)]
)
def test_times_as_people_write_them(text: str, minutes: float) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "soon", "30x", "1h and 3m", "0", "-5m", "0s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UserError, match=r"--time .*(expected)"):
        parse_minutes(text)


@pytest.mark.parametrize("minutes", [2, 5, 30, 240])
@pytest.mark.parametrize("steps", [1, 20, 700])
@pytest.mark.parametrize("evaluation", [0.05, 2.0, 15.0])
def test_a_plan_fills_the_time_and_keeps_within_it(minutes: float, steps: int, evaluation: float) -> None:
    cost = Cost(step=0.04, evaluation=evaluation, reading=1.0)
    chosen = plan(minutes, steps, cost)
    assert chosen.seconds <= 60 * minutes
    evaluations = -(-chosen.epochs // chosen.every_epochs)
    assert 1 <= evaluations <= MOST_EVALUATIONS
    full = chosen.epochs >= MOST_EPOCHS
    one_more = steps * cost.step + 2 * evaluation
    assert full or chosen.seconds + one_more + 0.1 * 60 * minutes + evaluation > 60 * minutes


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(6.2, "7s"), (10, "10s"), (120, "120s"), (121, "3m"), (600, "10m"), (3601, "1h1m"), (5400, "1h30m"), (7200, "2h")],
)
def test_times_are_written_as_they_are_taken(seconds: float, text: str) -> None:
    assert time_option(seconds) == text
    assert 60 * parse_minutes(text) >= seconds


def test_a_short_time_that_fits_is_named_in_seconds() -> None:
    cost = Cost(step=0.5, evaluation=0.1)
    with pytest.raises(UserError, match=r"--time 1s is too short.*--time (\d+)s fits one") as told:
        plan(1 / 60, 2, cost)
    fits = re.search(r"--time (\d+)s fits", str(told.value))
    assert fits is not None
    assert 1 <= plan(int(fits[1]) / 60, 2, cost).epochs <= 2
    assert int(fits[1]) < 12


def test_too_short_a_time_says_what_fits() -> None:
    cost = Cost(step=2.0, evaluation=20.0)
    with pytest.raises(UserError, match=r"too short for one epoch: 100 steps of 2 s.*--time 5m fits one") as told:
        plan(2, 100, cost)
    assert "\n" not in str(told.value)
    assert plan(5, 100, cost).epochs == 1


@pytest.mark.parametrize(
    ("steps", "side", "expected"),
    [(FEW_STEPS, 640, None), (150, 640, 320), (1, 640, 96), (599, 640, 608), (10, 96, None), (300, 320, 224)],
)
def test_few_steps_call_for_a_smaller_size(steps: int, side: int, expected: int | None) -> None:
    assert smaller_side(steps, side) == expected


def test_epochs_and_time_exclude_each_other(
    sample: Path, tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tiny_file), "--data", str(sample), "--out", str(tmp_path / "r"), "--epochs", "2", "--time", "1m"]
    assert main(["train", *words]) == 2
    assert "leave one of them out" in capsys.readouterr().err
    for both in (["--epochs", "2", "--set", "minutes=1"], ["--time", "1m", "--set", "epochs=2"]):
        assert main(["train", *words[:5], *both]) == 2
        assert "minutes and epochs: the time says how many epochs" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_what_is_said_last_counts_of_epochs_and_minutes(tmp_path: Path) -> None:
    """A run by time leaves both in its config.yaml."""
    (tmp_path / "config.yaml").write_text("minutes: 1.0\nepochs: 34\n")
    found = [build_config({"epochs": 5}, tmp_path / "config.yaml", direct=direct) for direct in ({}, {"epochs": 3})]
    assert [(config.minutes, config.epochs) for config in found] == [(1.0, 34), (None, 3)]


def test_a_run_by_time_is_one_of_its_epochs(
    sample: Path, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(time_budget, "measure", lambda run: Cost(step=1.0, evaluation=1.0))
    monkeypatch.setattr(time_budget, "RESERVE_SECONDS", 0.0)
    common = [str(tiny_file), "--data", str(sample), "--device", "cpu", "--batch-size", "5", "--set", "amp=off"]
    assert main(["train", *common, "--out", str(tmp_path / "t"), "--time", "10s"]) == 0
    said = capsys.readouterr().out
    assert "time 10s: 3 epochs of 2 steps" in said
    assert "6 steps are few" not in said  # 64 px: there is no smaller size to name
    counted_epochs = ["--epochs", "3", "--set", "eval.every_epochs=3"]
    assert main(["train", *common, "--out", str(tmp_path / "e"), *counted_epochs]) == 0
    timed, counted = (torch.load(tmp_path / run / "last.pt", weights_only=True)["weights"] for run in ("t", "e"))
    assert all(torch.equal(timed[name], counted[name]) for name in counted)

"""A run's files row by row: per class, kept when resumed, and the same numbers for TensorBoard."""

from __future__ import annotations

import csv
import importlib.util
import math
from pathlib import Path

import pytest

from detector.evaluation import METRIC_NAMES, Metrics
from detector.training.record.run_log import TENSORBOARD_FOLDER, RunLog
from search_spaces.errors import UserError

needs_tensorboard = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="not installed")


def metrics(ap: float) -> Metrics:
    numbers = dict.fromkeys(METRIC_NAMES, ap)
    return Metrics(**numbers, class_ap={"cat": ap, "dog, wet": math.nan}, class_ap50={"cat": ap, "dog, wet": math.nan})


def fill(log: RunLog, epochs: range) -> None:
    """Evaluated in every second epoch."""
    for epoch in epochs:
        row = {"epoch": epoch, "total": 1 / epoch, "learning_rate": 0.1, "skipped": 0, "bad": math.nan}
        if epoch % 2 == 0:
            log.add(row | metrics(epoch / 10).numbers(), metrics(epoch / 10))
        else:
            log.add(row)


def test_ap_of_every_class_is_kept(tmp_path: Path) -> None:
    fill(RunLog(tmp_path), range(1, 5))
    again = RunLog(tmp_path, keep_epochs=3)
    fill(again, range(4, 7))
    rows = list(csv.DictReader((tmp_path / "per_class.csv").open()))
    assert [(row["epoch"], row["class"], row["ap"]) for row in rows] == [
        ("2", "cat", "0.2"), ("2", "dog, wet", ""), ("4", "cat", "0.4"), ("4", "dog, wet", ""), ("6", "cat", "0.6"),
        ("6", "dog, wet", ""),
    ]  # fmt: skip
    assert [row["epoch"] for row in again.rows] == [1, 2, 3, 4, 5, 6]
    assert again.rows[0]["bad"] is None


@needs_tensorboard
def test_scalars_for_tensorboard(tmp_path: Path) -> None:
    log = RunLog(tmp_path, tensorboard=True)
    fill(log, range(1, 5))
    log.close()
    resumed = RunLog(tmp_path, keep_epochs=3, tensorboard=True)
    fill(resumed, range(4, 7))
    resumed.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER))
    events.Reload()
    read = {tag: [(e.step, round(e.value, 6)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert read["loss/total"] == [(epoch, round(1 / epoch, 6)) for epoch in range(1, 7)]
    assert read["val/ap"] == read["class_ap/cat"] == [(2, 0.2), (4, 0.4), (6, 0.6)]
    assert "run/learning_rate" in read
    assert "run/bad" not in read
    assert "class_ap/dog, wet" not in read


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    RunLog(tmp_path)
    with pytest.raises(UserError, match="not installed; pip install tensorboard"):
        RunLog(tmp_path, tensorboard=True)
    assert not list(tmp_path.iterdir())

"""One training of the second stage, in this process or in a worker: begun, or gone on with where it stopped.

torch is imported by the functions alone.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.training.record.logged import logged_epochs
from search_spaces.text import parse_structure
from tinynas.ranking.rungs import Rung
from tinynas.ranking.state import Outcome

LOG_FILE = "log.txt"
WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A candidate in a rung. `folder`: of the run; `structure`: its text; `config`: training settings as plain values;
    `weights`: the checkpoint to start from; `threads`: of torch, None for its default; `parent`: the process whose end
    ends this training too, None where that is this very process or on another machine."""

    folder: Path
    structure: str
    data: Path
    config: Mapping[str, Any]
    weights: Path | None
    threads: int | None = None
    parent: int | None = None


def rung_config(config: Mapping[str, Any], rung: Rung) -> dict[str, Any]:
    """The settings of a search's candidates for a rung."""
    evaluation = {**config["eval"], "every_epochs": rung.every_epochs}
    return {**config, "epochs": rung.epochs, "minutes": None, "eval": evaluation}


def train(training: Training) -> Outcome:
    """Train to the rung's end. Everything that is said goes into log.txt of the run's folder.

    A training that diverges is an outcome with an error. Raises UserError for what more candidates would meet as well: data
    that cannot be read, memory or a disk that is full.
    """
    if training.parent is not None:
        threading.Thread(target=_leave_with, args=(training.parent,), daemon=True).start()
    training.folder.mkdir(parents=True, exist_ok=True)
    with (training.folder / LOG_FILE).open("a", encoding="utf-8") as log, _said_into(log):
        from detector.training.step.bad_steps import Diverged

        try:
            _train(training)
        except Diverged as error:
            return _outcome(training.folder, str(error))
    return _outcome(training.folder)


def _train(training: Training) -> None:
    import torch

    from detector.training.loop import fit
    from detector.training.settings.config import validate
    from detector.training.start import load_splits, new_run, resumed_run

    if training.threads is not None:
        torch.set_num_threads(training.threads)
    config = validate(training.config)
    if (training.folder / "last.pt").is_file():
        run = resumed_run(training.folder, training.data, None, print)
        if run.progress.epoch >= run.config.epochs:
            return
    else:
        structure, splits = parse_structure(training.structure), load_splits(training.data, print)
        run = new_run(structure, splits, config, training.folder, print, training.weights)
    fit(run)


def _outcome(folder: Path, error: str | None = None) -> Outcome:
    rows = logged_epochs(folder)
    curve = tuple((int(row["step"]), float(row["ap"])) for row in rows if row.get("ap") is not None)
    last = rows[-1] if rows else {}
    ap = None if error else float(last.get("ap") or 0.0)
    return Outcome(
        steps=int(last.get("step", 0)), ap=ap, ap50=None if error else float(last.get("ap50") or 0.0), curve=curve,
        seconds=round(float(last.get("seconds", 0.0)), 2), error=error,
    )  # fmt: skip


@contextlib.contextmanager
def _said_into(log: Any) -> Iterator[None]:
    """Lines and bars of the training go into its log: the screen has the table of all of them."""
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield


def _leave_with(parent: int) -> None:
    """End this process when its parent is no more: who goes on with the stage must be alone in its folders."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)

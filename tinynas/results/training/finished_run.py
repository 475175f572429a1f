"""The report at the end of a training."""

from __future__ import annotations

import shlex
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from detector.evaluation import assess
from search_spaces.errors import UserError
from search_spaces.files import write_text
from tinynas.results.training.report import write_training_report
from tinynas.results.training.run_folder import RunFolder
from tinynas.results.training.subject import Subject

if TYPE_CHECKING:
    from detector.training.run import Run

TRACEBACK_FILE = "report-error.txt"


def report_run(run: Run) -> None:
    """Write report.html and evaluation/ into the folder of a finished run, in its first process.

    The evaluation that made best.pt is used when this process did it; else (a resumed run that found nothing better)
    best.pt is evaluated once more, as the run does it. Whatever fails is said in one line, the traceback of what was not
    expected goes to report-error.txt: the training is done all the same.
    """
    try:
        path = _write(run)
    except UserError as error:
        run.say(_failed(run, str(error)))
    except Exception as error:
        run.say(_failed(run, f"{type(error).__name__}: {_first_line(error)}{_keep_traceback(run.folder)}"))
    else:
        (run.folder / TRACEBACK_FILE).unlink(missing_ok=True)
        run.say(f"report: {path}")


def _write(run: Run) -> Path:
    from detector.checkpoint import load_checkpoint
    from detector.training.validation import evaluate_run

    annotations, checkpoint = run.val_set.annotations, run.folder / "best.pt"
    evaluation = run.progress.best_evaluation
    if evaluation is None:
        run.say("evaluating best.pt for the report")
        try:
            evaluation = evaluate_run(run, load_checkpoint(checkpoint).best_weights)
        finally:
            run.stop_workers()
    subject = Subject(
        checkpoint=checkpoint, structure=run.blank.structure, data=run.data, split="val",
        assessment=assess(evaluation, annotations), train=run.train_set.annotations, run=RunFolder.read(run.folder),
    )  # fmt: skip
    return write_training_report(subject, run.folder, run.config.seed)


def _failed(run: Run, why: str) -> str:
    folder, data = shlex.quote(str(run.folder)), shlex.quote(run.data)
    again = f"tinynas eval {shlex.quote(str(run.folder / 'best.pt'))} --data {data} --report {folder} --overwrite"
    return f"warning: no report ({why}); the training is done and best.pt is not affected; to make it again: {again}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _keep_traceback(folder: Path) -> str:
    """Where the traceback under way was written; nothing when it could not be."""
    try:
        write_text(folder / TRACEBACK_FILE, traceback.format_exc())
    except UserError:
        return ""
    return f"; traceback in {folder / TRACEBACK_FILE}"

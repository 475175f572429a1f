"""What a person should know before trusting an evaluation: one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from detector.data.annotations import Annotations
from detector.evaluation import Assessment
from search_spaces.errors import listed
from tinynas.results.training.run_folder import RunFolder

FALLEN = 0.9
NAMED = 8


def warnings_of(assessment: Assessment, split: str, train: Annotations | None, run: RunFolder | None) -> list[str]:
    """Classes without boxes or without a hit, nothing found at all, steps skipped, AP that fell."""
    said = []
    if train is not None:
        unseen = [name for name, boxes in train.counts().items() if not boxes]
        if unseen:
            said.append(f"No box of {_named(unseen)} in the training split: what is never shown is never learnt.")
    empty = [row.name for row in assessment.classes if not row.boxes]
    if empty:
        said.append(f"No box of {_named(empty)} in {split}: no AP, and no part in the means.")
    if not len(assessment.evaluation.detections.labels):
        said.append(f"Nothing was detected in {split}: not one box scores high enough.")
    else:
        missed = [row.name for row in assessment.classes if row.boxes and not row.ap50 > 0]
        if missed:
            said.append(f"Of {_named(missed)} no box was found (IoU 0.5).")
    return said + (_of_run(run) if run is not None else [])


def _of_run(run: RunFolder) -> list[str]:
    said = []
    if run.skipped:
        said.append(
            f"{run.skipped} training steps were skipped because loss or gradient was not finite; "
            "their batches are kept as bad-step-*.pt."
        )
    rows, best = run.evaluations, run.best
    if best is not None and float(rows[-1]["ap"]) < FALLEN * float(best["ap"]):
        last = rows[-1]
        said.append(
            f"AP fell from {best['ap']:.3f} in epoch {best['epoch']:.0f} to {last['ap']:.3f} in epoch "
            f"{last['epoch']:.0f}; best.pt holds the best one."
        )
    return said


def _named(names: Sequence[str]) -> str:
    return listed(names, NAMED, "classes")

"""What the page of a training or an evaluation is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detector.data.annotations import Annotations
from detector.evaluation import Assessment
from search_spaces.structure import Structure
from tinynas.results.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is reported on: a checkpoint's assessment on a split of `data` (as the user named it), and where they are
    known the training split and the run that made the checkpoint."""

    checkpoint: Path
    structure: Structure
    data: str
    split: str
    assessment: Assessment
    train: Annotations | None = None
    run: RunFolder | None = None

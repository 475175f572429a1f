"""What the second stage keeps on disk while it runs: its plan, and one file for every training that is done.

Both are written whole or not at all, and never changed. A training under way goes on from its own last.pt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search_spaces.errors import UserError
from search_spaces.files import write_text
from tinynas.ranking.rungs import Rung

PLAN_FILE = "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A candidate's training in a rung. `curve`: (steps of this rung, AP on val) at every evaluation, the last one the AP
    that counts; `ap`, `ap50`: None where the training failed, which `error` then tells; `seconds`: with evaluations."""

    steps: int
    ap: float | None
    ap50: float | None
    curve: tuple[tuple[int, float], ...]
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What the trainings are; a resume goes by it. `candidates`: structure texts by name; `data`: a mark of the pictures'
    names and boxes; `configs`: training settings of each search's candidates; `seconds`: the most that it was to take."""

    candidates: Mapping[str, str]
    rungs: tuple[Rung, ...]
    data: str
    images: tuple[int, int]
    steps: int
    configs: tuple[Mapping[str, Any], ...]
    seconds: float


class StageFolder:
    """The files of a second stage below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run_folder(self, name: str, rung: int) -> Path:
        """Where a candidate's training of a rung (from 0) writes."""
        return self.root / name / f"rung-{rung + 1}"

    def outcome(self, name: str, rung: int) -> Outcome | None:
        """What a training came to; None while it is not done."""
        path = self._outcome_file(name, rung)
        if not path.is_file():
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        return Outcome(**{**values, "curve": tuple((int(steps), float(ap)) for steps, ap in values["curve"])})

    def note(self, name: str, rung: int, outcome: Outcome) -> None:
        """A training is done."""
        write_text(self._outcome_file(name, rung), json.dumps(asdict(outcome), indent=1) + "\n")

    def plan(self) -> StagePlan | None:
        """The plan of a stage under way; None when there is none."""
        path = self.root / PLAN_FILE
        if not path.is_file():
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        rungs = tuple(Rung(**rung) for rung in values["rungs"])
        tuples = {name: tuple(values[name]) for name in ("images", "configs")}
        return StagePlan(**{**values, **tuples, "rungs": rungs})

    def begin(self, plan: StagePlan) -> None:
        """Write the plan down."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_text(self.root / PLAN_FILE, json.dumps(asdict(plan), indent=1) + "\n")

    def check(self, plan: StagePlan, candidates: Mapping[str, str], data: str, source: Path) -> None:
        """Raises UserError when the stage under way was begun with other data or other candidates."""
        where = self.root.parent.parent
        if plan.data != data:
            raise UserError(
                f"{source}: not the data that the trainings in {where} began with (other pictures or boxes); put them back, "
                "or start again with --overwrite"
            )
        if dict(plan.candidates) != dict(candidates):
            raise UserError(
                f"{where}: its trainings began with other candidates than this version finds; start again with --overwrite"
            )

    def _outcome_file(self, name: str, rung: int) -> Path:
        return self.root / name / f"rung-{rung + 1}.json"


def total_steps(rungs: Sequence[Rung], steps: int) -> int:
    """Optimiser steps of a candidate that goes through all rungs."""
    return sum(rung.epochs for rung in rungs) * steps

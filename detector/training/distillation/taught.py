"""What every loss from a teacher shares: its weight over the run, the teacher's share of a step, and when to stop."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, Protocol

import numpy as np

from detector.distillers import DistillConfig
from detector.training.optimizer.schedule import Schedule
from detector.training.step.terms import LossTerm
from search_spaces.errors import UserError
from search_spaces.saying import Say

WARM_STEPS, TIMED_STEPS = 2, 8
"""At the start of a run, for the teacher's share of a step."""
WATCHED_STEPS = 50
BAD_STEPS = 3
_CONSTANT = 1e-6


def weight_at(step: int, schedule: Schedule, config: DistillConfig) -> float:
    """The weight of the distillation loss at `step` (from 0): `config.weight` times a cosine over the whole run from 1
    towards `final_share` (as released); 0 in the last epochs, without strong augmentation (report, section 2.4)."""
    if step >= schedule.total_steps - schedule.floor_steps and not config.last_epochs:
        return 0.0
    cosine = 0.5 * (1 + math.cos(math.pi * step / max(schedule.total_steps, 1)))
    return config.weight * (config.final_share + (1 - config.final_share) * cosine)


class Timed(Protocol):
    """Something that runs a teacher: the seconds that it took so far, counted on a GPU while `timed` alone."""

    seconds: float
    timed: bool


class Taught(LossTerm):
    """`weight`: of the present step, 0 in the stage without a teacher. The state dict has the teacher's fingerprint, so
    that a run goes on with the teacher that it began with."""

    def __init__(self, config: DistillConfig, teacher: Timed | None, fingerprint: str, say: Say) -> None:
        """teacher: None where another term of the run tells its share of a step. fingerprint: of the teacher's file."""
        super().__init__()
        self.weight = config.weight
        self._config, self._fingerprint, self._say = config, fingerprint, say
        self._clocked = (teacher,)  # no submodule, whatever it is
        if teacher is not None:
            teacher.timed = True
        self._recent: deque[float] = deque(maxlen=WATCHED_STEPS)
        self._bad = 0
        self._times: list[tuple[float, float]] = []
        self._started = (0.0, 0.0)

    def at_step(self, step: int, schedule: Schedule) -> None:
        self.weight = weight_at(step, schedule, self._config)
        teacher = self._clocked[0]
        self._started = time.perf_counter(), 0.0 if teacher is None else teacher.seconds

    def after_step(self, value: float) -> None:
        """Says the teacher's share of a step once. Raises UserError when the loss is not finite three steps in a row, or
        did not change in the last fifty."""
        if self.weight == 0:
            return
        self._note_time()
        if not math.isfinite(value):
            self._bad += 1
            if self._bad >= BAD_STEPS:
                raise UserError(
                    f"training stopped: the distillation loss was not finite {BAD_STEPS} steps in a row; lower "
                    "distill.weight, or use amp=bf16 or amp=off (a teacher's maps can overflow in fp16); tinynas predict "
                    f"with {self._config.teacher} shows whether the teacher is sound"
                )
            return
        self._bad = 0
        self._recent.append(value / self.weight)
        if len(self._recent) == WATCHED_STEPS and np.ptp(self._recent) <= _CONSTANT * max(map(abs, self._recent)):
            raise UserError(
                f"training stopped: the distillation loss stayed at {self._recent[-1]:.6g} for {WATCHED_STEPS} steps, so the "
                "student learns nothing from the teacher; is the neck frozen, or are its outputs all zero? Lower "
                "optimizer.learning_rate_per_image, or freeze less"
            )

    def get_extra_state(self) -> dict[str, Any]:
        return {"teacher": self._fingerprint}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Raises UserError when the run was distilled by another teacher."""
        if state["teacher"] != self._fingerprint:
            raise UserError(
                f"{self._config.teacher}: is not the teacher that this run began with (its bytes differ); expected the same "
                "file, or a new run with --weights"
            )

    def _note_time(self) -> None:
        teacher = self._clocked[0]
        if teacher is None or not teacher.timed:
            return
        started, before = self._started
        self._times.append((time.perf_counter() - started, teacher.seconds - before))
        if len(self._times) == WARM_STEPS + TIMED_STEPS:
            teacher.timed = False
            step, teaching = (sum(times) / TIMED_STEPS for times in zip(*self._times[WARM_STEPS:]))
            stage = "all epochs" if self._config.last_epochs else "all epochs but the last, without strong augmentation"
            self._say(f"teacher: {100 * teaching / step:.0f} % of a step ({teaching:.2g} of {step:.2g} s), in {stage}")

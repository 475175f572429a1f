"""Distillation as a term of the training loss: two stages, the cosine weight, and what is said and refused on the way."""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detector import distillers
from detector.assigners import Targets
from detector.distillation import FeatureDistillation
from detector.distillers import DistillConfig
from detector.network import Network, RawOutput
from detector.teachers import Teacher, check_classes
from detector.teachers.checkpoint import NECK, load
from detector.training.machine.processes import Processes
from detector.training.optimizer.schedule import Schedule
from detector.training.step.terms import LossTerm, Terms
from search_spaces.errors import UserError

TERM = "distill"
"""The loss's name in the metrics."""
WARM_STEPS, TIMED_STEPS = 2, 8
"""At the start of a run, for the teacher's share of a step."""
WATCHED_STEPS = 50
BAD_STEPS = 3
_CONSTANT = 1e-6
_STREAM = 2
"""Keeps the distiller's draws apart from those of samples and sizes."""

Say = Callable[[str], None]


def weight_at(step: int, schedule: Schedule, config: DistillConfig) -> float:
    """The weight of the distillation loss at `step` (from 0): `config.weight` times a cosine over the whole run from 1
    towards `final_share` (as released); 0 in the last epochs, without strong augmentation (report, section 2.4)."""
    if step >= schedule.total_steps - schedule.floor_steps and not config.last_epochs:
        return 0.0
    cosine = 0.5 * (1 + math.cos(math.pi * step / max(schedule.total_steps, 1)))
    return config.weight * (config.final_share + (1 - config.final_share) * cosine)


def distillation_terms(
    config: DistillConfig, seed: int, class_names: Sequence[str], processes: Processes, say: Say
) -> Terms:
    """What makes the distillation term of a run, and nothing without a teacher. The teacher is read and checked now.

    Raises UserError for a teacher that cannot be read or knows other classes, and an unknown distiller or option.
    """
    if config.teacher is None:
        return lambda _: {}
    path = Path(config.teacher)
    if path.suffix.lower() != ".pt":
        raise UserError(
            f"--teacher {path}: features are distilled from a checkpoint alone; expected best.pt of a training"
        )
    teacher = load(path)
    distillers.build(config.distiller, (1,), config.options)
    shared = check_classes(teacher, class_names, config.teacher_classes, str(path))
    known = "the same classes" if config.teacher_classes == "same" else f"{len(shared)} of the classes"
    say(f"teacher {path}: {known}; {config.distiller} on the neck's outputs, weight {config.weight:g}")
    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()

    def made(network: Network) -> Mapping[str, LossTerm]:
        teacher.module.to(next(network.parameters()).device)
        return {TERM: Distillation(network, teacher, config, [seed, processes.rank], fingerprint, say)}

    return made


class Distillation(LossTerm):
    """The weighted distillation loss of the neck's outputs.

    `state_dict` holds the align modules' and the distiller's parameters and the teacher's fingerprint, not the teacher.
    """

    def __init__(
        self, network: Network, teacher: Teacher, config: DistillConfig, seed: Sequence[int], fingerprint: str, say: Say
    ) -> None:
        """seed: of the draws, with the process's number; fingerprint: of the teacher's file."""
        super().__init__()
        if not any(p.requires_grad for name, p in network.named_parameters() if not name.startswith("head.")):
            raise UserError(
                "freeze: backbone and neck are frozen, so a teacher has nothing to teach (its features are the neck's); "
                "freeze less, or leave out --teacher"
            )
        self.features = FeatureDistillation(
            teacher, network.feature_channels(NECK), network.structure.image_size, config.distiller, config.options
        )
        self._config, self._seed, self._fingerprint, self._say = config, list(seed), fingerprint, say
        self._generator = torch.Generator()
        self.weight = config.weight
        self._recent: deque[float] = deque(maxlen=WATCHED_STEPS)
        self._bad = 0
        self._times: list[tuple[float, float]] = []
        self._started = (0.0, 0.0)
        self.features.timed = True

    def at_step(self, step: int, schedule: Schedule) -> None:
        self.weight = weight_at(step, schedule, self._config)
        draws = np.random.SeedSequence([*self._seed, step, _STREAM]).generate_state(1)
        self._generator.manual_seed(int(draws[0]))
        self._started = time.perf_counter(), self.features.seconds

    def forward(self, images: Tensor, raw: RawOutput, targets: Targets) -> Tensor:
        if self.weight == 0:  # every parameter takes part in every step, whatever the stage
            return 0.0 * torch.stack([parameter.sum() for parameter in self.parameters()]).sum()
        loss: Tensor = self.features(images, [raw.features[name] for name in NECK], self._generator)
        return self.weight * loss

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
                    f"with {self.features.teacher.name} shows whether the teacher is sound"
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
        if not self.features.timed:
            return
        started, teacher = self._started
        self._times.append((time.perf_counter() - started, self.features.seconds - teacher))
        if len(self._times) == WARM_STEPS + TIMED_STEPS:
            self.features.timed = False
            step, teaching = (sum(times) / TIMED_STEPS for times in zip(*self._times[WARM_STEPS:]))
            self._say(
                f"teacher: {100 * teaching / step:.0f} % of a step ({teaching:.2g} of {step:.2g} s), in "
                f"{self._stage_text()}"
            )

    def _stage_text(self) -> str:
        return "all epochs" if self._config.last_epochs else "all epochs but the last, without strong augmentation"

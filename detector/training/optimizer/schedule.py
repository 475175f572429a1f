"""The learning rate over a run, as a pure function of the step (technical report, section 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from detector.training.settings.config import ScheduleConfig


@dataclass(frozen=True, slots=True)
class Schedule:
    """Lengths in optimiser steps: warm-up, then cosine down to `min_ratio`, then `floor_steps` at that rate."""

    total_steps: int
    warmup_steps: int
    floor_steps: int
    min_ratio: float

    def factor(self, step: int) -> float:
        """Share (0, 1] of the peak rate at `step` (from 0): ((step + 1) / warmup)^2, cosine, `min_ratio`."""
        if step < self.warmup_steps:
            return ((step + 1) / self.warmup_steps) ** 2
        floor = self.total_steps - self.floor_steps
        if step >= floor:
            return self.min_ratio
        cosine = 0.5 * (1 + math.cos(math.pi * (step - self.warmup_steps) / (floor - self.warmup_steps)))
        return self.min_ratio + (1 - self.min_ratio) * cosine


def no_aug_epochs(config: ScheduleConfig, epochs: int) -> int:
    """Number of last epochs without mosaic, affine and mixup."""
    return min(config.no_aug_epochs, int(epochs * config.no_aug_max_share))


def build_schedule(config: ScheduleConfig, epochs: int, steps_per_epoch: int) -> Schedule:
    """The schedule of a run of `epochs` x `steps_per_epoch` steps."""
    total = epochs * steps_per_epoch
    warmup = max(round(config.warmup_epochs * steps_per_epoch), config.warmup_min_steps)
    return Schedule(
        total_steps=total,
        warmup_steps=min(warmup, int(total * config.warmup_max_share)),
        floor_steps=no_aug_epochs(config, epochs) * steps_per_epoch,
        min_ratio=config.min_ratio,
    )

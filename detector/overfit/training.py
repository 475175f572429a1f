"""Does the detector learn a few images by heart, trained and evaluated on the same ones?

Loader, criterion, optimiser, average and evaluation are those of a training run; only the settings differ.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from detector.data.annotations import Annotations
from detector.evaluation import Metrics
from detector.network import Network
from detector.overfit.images import MOST_AT_ONCE
from detector.training.assembly import assemble
from detector.training.loop import train_one_epoch
from detector.training.machine.processes import join_processes
from detector.training.run import Run, Splits
from detector.training.settings.config import TrainConfig
from detector.training.timing.estimate import Pace
from detector.training.validation import evaluate_run
from search_spaces.errors import UserError
from search_spaces.saying import Say
from search_spaces.structure import Structure

GOAL_AP50 = 0.95
PEAK_RATE = 8e-3
"""Of AdamW, for 8 images: far above a training run's, which would need hundreds of steps for rare classes."""
WARMUP_STEPS = 10
CHECK_EVERY = 10
"""Steps between two evaluations."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An evaluation after `step` steps: loss of the last one, and COCO's numbers on the images trained on."""

    step: int
    loss: float
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class OverfitResult:
    """How it went: all evaluations in order (at least one), the highest loss of any step, seconds over all."""

    readings: tuple[Reading, ...]
    highest_loss: float
    seconds: float

    @property
    def last(self) -> Reading:
        """The evaluation that decided."""
        return self.readings[-1]

    @property
    def passed(self) -> bool:
        """Whether AP50 came above `GOAL_AP50`."""
        return self.last.metrics.ap50 > GOAL_AP50


def settings(number: int, steps: int) -> dict[str, Any]:
    """Training settings for `number` images and about `steps` steps: plain pictures, a constant rate after a short
    warm-up, no weight decay, no averaging of weights. BatchNorm's statistics are those of the latest epoch: of a few dozen
    steps, averages that reach back further would be of the start, and evaluation apart from training."""
    per_epoch = -(-number // MOST_AT_ONCE)
    epochs = -(-steps // per_epoch)
    return {
        "preset": "overfit", "epochs": epochs, "batch_size": -(-number // per_epoch), "workers": 0,
        "optimizer": {
            "name": "adamw", "learning_rate_per_image": PEAK_RATE / MOST_AT_ONCE, "weight_decay": 0.0, "clip_norm": 35.0
        },
        # All epochs are such without strong augmentation, at the floor rate, which is the peak rate.
        "schedule": {
            "warmup_epochs": 0, "warmup_min_steps": WARMUP_STEPS, "warmup_max_share": 1.0, "min_ratio": 1.0,
            "no_aug_epochs": epochs, "no_aug_max_share": 1.0,
        },
        "ema": {"decay": 0.0, "memory_share": 1 / epochs},
        "augment": {"mosaic": 0.0, "mixup": 0.0, "flip": 0.0},
        # each image once an epoch, whatever set it is from
        "sampling": {"smoothing": 1.0, "class_aware": 0.0},
    }  # fmt: skip


def overfit_run(
    structure: Structure, images: Annotations, source: str, config: TrainConfig, folder: Path, say: Say
) -> Run:
    """A run that trains and evaluates on `images`; nothing is written."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("overfit runs in one process; start it without torchrun")
    processes = join_processes(config.device)
    height, width = config.image_size or structure.image_size
    torch.manual_seed(config.seed)
    network = Network(structure.with_classes(images.num_classes).with_image_size(int(height), int(width)))
    return assemble(network, Splits(source, images, images), config, folder, processes, say)


def overfit(run: Run, goal_ap50: float = GOAL_AP50, tell: Callable[[Reading], None] | None = None) -> OverfitResult:
    """Train until AP50 on the training images is above `goal_ap50`, evaluated every `CHECK_EVERY` steps, or to the end.

    tell: hears of every evaluation. Raises UserError as training does (memory, losses that are not finite).
    """
    started, pace, readings, highest = time.perf_counter(), Pace(told=True), [], 0.0
    per_epoch = len(run.train_loader)
    with tqdm(total=run.config.epochs * per_epoch, desc="overfit", unit="step", disable=None, leave=False) as bar:
        for _ in range(run.config.epochs):
            row = train_one_epoch(run, pace, show=False)
            run.progress.end_epoch()
            highest = max(highest, row["total"])
            bar.update(per_epoch)
            if run.progress.epoch < run.config.epochs and run.stepper.step % CHECK_EVERY >= per_epoch:
                continue
            readings.append(Reading(run.stepper.step, row["total"], evaluate_run(run).metrics))
            if tell is not None:
                with tqdm.external_write_mode():
                    tell(readings[-1])
            if readings[-1].metrics.ap50 > goal_ap50:
                break
    return OverfitResult(tuple(readings), highest, time.perf_counter() - started)

"""A check of the whole chain: does the detector learn a few images by heart, trained and evaluated on the same ones?

Loader, criterion, optimiser, average and evaluation are those of a training run; only the settings differ.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from detector.data.annotations import Annotations
from detector.data.dataset import check_images
from detector.data.formats import load_split
from detector.evaluation import Metrics
from detector.network import Network
from detector.training.assembly import assemble
from detector.training.config import TrainConfig
from detector.training.estimate import Pace
from detector.training.loop import train_one_epoch
from detector.training.processes import join_processes
from detector.training.run import EpochPart, Run, Say, Splits
from detector.training.validation import evaluate_run
from search_spaces.errors import UserError, listed
from search_spaces.structure import Structure

GOAL_AP50 = 0.95
MOST_AT_ONCE = 8
PEAK_RATE = 8e-3
"""Of AdamW, for 8 images: far above a training run's, which would need hundreds of steps for rare classes."""
WARMUP_STEPS = 10
CHECK_EVERY = 10
"""Steps between two evaluations."""
NAMED_IMAGES = 16
FINEST_STRIDE_PX = 8
"""Distance of the head's finest priors, network pixels: a smaller box may lie between all of them."""


@dataclass(frozen=True, slots=True)
class Check:
    """An evaluation after `step` steps: loss of the last one, and COCO's numbers on the images trained on."""

    step: int
    loss: float
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: all evaluations in order (at least one), the highest loss of any step, seconds over all."""

    checks: tuple[Check, ...]
    highest_loss: float
    seconds: float

    @property
    def last(self) -> Check:
        """The evaluation that decided."""
        return self.checks[-1]

    @property
    def passed(self) -> bool:
        """Whether AP50 came above `GOAL_AP50`."""
        return self.last.metrics.ap50 > GOAL_AP50


def narrow_boxes(annotations: Annotations, image_size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(M,): a box to learn with a side below `FINEST_STRIDE_PX` at the network's size (height, width)."""
    sizes_wh = annotations.sizes_hw[annotations.image_index(), ::-1]
    sides = annotations.boxes_xyxy[:, 2:] - annotations.boxes_xyxy[:, :2]
    narrow = (sides * np.array(image_size[::-1]) / sizes_wh).min(axis=1) < FINEST_STRIDE_PX
    return np.asarray(narrow & ~annotations.ignore, dtype=np.bool_)


def choose_images(
    annotations: Annotations, number: int, seed: int, image_size: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """`number` images with boxes, on which as many classes as possible occur and none is rare; (number,) int64.

    Images with narrow boxes at the network's size (height, width) only when the others are too few: a sound detector
    may miss such boxes. One after another, ties broken by a random order: the image with the most classes that none
    has so far; once no class is left to add, the one that adds most to the sum of log(1 + boxes) over the classes: a
    class with a handful of boxes among hundreds is learnt last. Raises UserError when too few images have boxes.
    """
    learnt = ~annotations.ignore
    image, label = annotations.image_index()[learnt], annotations.labels[learnt].astype(np.int64)
    order = np.random.default_rng(seed).permutation(np.unique(image))
    if len(order) < number:
        raise UserError(
            f"{len(order)} of the {len(annotations)} training images have boxes to learn, {number} asked for; expected "
            f"at most {len(order)} as --images"
        )
    plain = order[~np.isin(order, annotations.image_index()[narrow_boxes(annotations, image_size)])]
    order = plain if len(plain) >= number else order
    pairs, boxes = np.unique(np.stack([image, label]), axis=1, return_counts=True)
    totals, chosen = np.zeros(annotations.num_classes), list[int]()
    for _ in range(number):
        have = totals[pairs[1]]
        gain = np.bincount(pairs[0], have == 0, len(annotations))[order]
        if not gain.any():
            gain = np.bincount(pairs[0], np.log1p(boxes / (1 + have)), len(annotations))[order]
        best = int(order[np.argmax(gain)])
        chosen.append(best)
        order = order[order != best]
        totals[pairs[1, pairs[0] == best]] += boxes[pairs[0] == best]
    return np.array(chosen, dtype=np.int64)


def load_few(data: Path, number: int | None, seed: int, image_size: tuple[int, int], say: Say) -> Annotations:
    """`number` images of the training split for a network of that size (height, width); says which, and what classes
    are not on them. None: `MOST_AT_ONCE`, or all with boxes if they are fewer.

    Raises UserError for unsound data, for too few images with boxes, and for chosen pictures that cannot be read.
    """
    split, report = load_split(data, "train")
    say(str(report))
    if split.ignore.all():
        raise UserError(f"{data}: the training split has not one box, nothing can be learnt; look whether the annotation "
                        "files are where the layout has them")  # fmt: skip
    if number is None:
        number = min(MOST_AT_ONCE, len(np.unique(split.image_index()[~split.ignore])))
    few = split.subset(choose_images(split, number, seed, image_size).tolist())
    check_images(few)
    boxes = [int((~few.boxes_of(index).ignore).sum()) for index in range(len(few))]
    names = [f"{path.name} ({count} boxes)" for path, count in zip(few.image_paths, boxes)]
    say(f"{number} of {len(split)} training images, seed {seed}: {listed(names, NAMED_IMAGES)}")
    counts = few.counts()
    absent = [name for name, count in counts.items() if not count]
    if absent:
        without = sum(not count for count in split.counts().values())
        say(
            f"{few.num_classes - len(absent)} of {few.num_classes} classes occur on them"
            + (f" ({without} have no box in the training split)" if without else "")
        )
    return few


def settings(number: int, steps: int) -> dict[str, Any]:
    """Training settings for `number` images and about `steps` steps: plain pictures, a constant rate after a short
    warm-up, no averaging of weights, no weight decay."""
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
        "ema": {"decay": 0.0},
        "augment": {"mosaic": 0.0, "mixup": 0.0, "flip": 0.0},
    }  # fmt: skip


def overfit_run(
    structure: Structure, images: Annotations, source: str, config: TrainConfig, folder: Path, say: Say
) -> Run:
    """A run that trains and evaluates on `images`; nothing is written.

    BatchNorm's running averages take the newest statistics whole (with several batches an epoch, the mean over them)
    in place of 3 % a step: a few dozen steps would end with averages of the start, and evaluation apart from training.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("overfit runs in one process; start it without torchrun")
    processes = join_processes(config.device)
    height, width = config.image_size or structure.image_size
    torch.manual_seed(config.seed)
    network = Network(structure.with_classes(images.num_classes).with_image_size(int(height), int(width)))
    run = assemble(network, Splits(source, images, images), config, folder, processes, say)
    for module in run.stepper.network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1 / len(run.train_loader)
    return run


def overfit(run: Run, goal_ap50: float = GOAL_AP50, tell: Callable[[Check], None] | None = None) -> Outcome:
    """Train until AP50 on the training images is above `goal_ap50`, evaluated every `CHECK_EVERY` steps, or to the end.

    tell: hears of every evaluation. Raises UserError as training does (memory, losses that are not finite).
    """
    started, pace, checks, highest = time.perf_counter(), Pace(told=True), [], 0.0
    per_epoch = len(run.train_loader)
    with tqdm(total=run.config.epochs * per_epoch, desc="overfit", unit="step", disable=None, leave=False) as bar:
        for epoch in range(run.config.epochs):
            row = train_one_epoch(run, pace, show=False)
            run.epoch, run.part = epoch + 1, EpochPart()
            highest = max(highest, row["total"])
            bar.update(per_epoch)
            if run.epoch < run.config.epochs and run.stepper.step % CHECK_EVERY >= per_epoch:
                continue
            checks.append(Check(run.stepper.step, row["total"], evaluate_run(run).metrics))
            if tell is not None:
                with tqdm.external_write_mode():
                    tell(checks[-1])
            if checks[-1].metrics.ap50 > goal_ap50:
                break
    return Outcome(tuple(checks), highest, time.perf_counter() - started)

"""The preset `auto`: settings for up to some thousand images, chosen from what the training split is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.data.annotations import Annotations
from detector.data.mirror import MirrorAdvice, advise
from detector.training.optimizer import peak_rate
from detector.training.settings.config import TrainConfig
from detector.training.settings.presets import preset_values
from detector.training.timing.durations import time_option
from search_spaces.structure import Structure

STEPS = 2400
"""A run should have at least, as far as `MOST_EPOCHS` allow: on small sets, 100 epochs are too few updates."""
EPOCHS, MOST_EPOCHS = 100, 300
SHORT_RUN_FACTOR = 8.0
"""Of the rate of `small`, in runs of up to 2,000 steps (docs/training-benchmarks.md)."""
WEIGHTS_FACTOR = 4.0
"""The same of runs that start from a checkpoint."""
FEW_BOXES = 10
"""A class with fewer is called rare."""
MOST_NAMES = 4
"""Of rare classes, in the line about the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """A training split in numbers: images, images without boxes, boxes, classes, and the boxes' sizes.

    sides: 10th, 50th and 90th percentile of the boxes' sides (root of the area), as shares of the picture's (nan
    without boxes). rare: classes with under `FEW_BOXES` boxes.
    """

    images: int
    empty: int
    boxes: int
    classes: int
    sides: tuple[float, float, float]
    rare: tuple[str, ...]


def facts_of(train: Annotations) -> DataFacts:
    """The facts of a training split; ignored boxes are left out."""
    kept = ~train.ignore
    image = train.image_index()[kept]
    boxes = train.boxes_xyxy[kept]
    shares = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) / np.prod(train.sizes_hw[image], axis=1))
    low, middle, high = np.percentile(shares, [10, 50, 90]).tolist() if len(shares) else [math.nan] * 3
    rare = tuple(name for name, count in train.counts().items() if count < FEW_BOXES)
    return DataFacts(
        images=len(train),
        empty=len(train) - len(np.unique(image)),
        boxes=len(boxes),
        classes=train.num_classes,
        sides=(low, middle, high),
        rare=rare,
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """`values`: settings as of a preset, and what they follow from."""

    values: dict[str, Any]
    facts: DataFacts
    mirror: MirrorAdvice

    def lines(self, config: TrainConfig, image_size: tuple[int, int]) -> tuple[str, str, str]:
        """What was seen, what was chosen and why: three lines for people.

        config: the settings that are trained with, what overrules the choice included; image_size: height, width.
        """
        return _seen(self.facts, image_size), _schedule(self.facts, config), _mirrors(self.mirror, config)


def choose(structure: Structure, train: Annotations, *, from_weights: bool = False) -> Choice:
    """Settings for a training split. Reads some pictures, to see what a mirror does.

    from_weights: the run starts from a checkpoint, which a high rate would undo.
    """
    return choice_of(structure, facts_of(train), advise(train), from_weights=from_weights)


def choice_of(structure: Structure, facts: DataFacts, mirror: MirrorAdvice, *, from_weights: bool = False) -> Choice:
    """Settings that follow from the facts."""
    base = preset_values("small", structure)
    steps = _steps(facts, int(base["batch_size"]))
    augment: dict[str, Any] = {**base["augment"]}
    if mirror.off:
        augment["flip"] = 0.0
    elif mirror.pairs:
        augment["flip_pairs"] = mirror.pairs
    factor = WEIGHTS_FACTOR if from_weights else SHORT_RUN_FACTOR
    values = {
        **base, "preset": "auto", "epochs": min(max(EPOCHS, math.ceil(STEPS / steps)), MOST_EPOCHS),
        "optimizer": {**base["optimizer"], "name": "muon", "short_run_factor": factor}, "augment": augment,
    }  # fmt: skip
    return Choice(values, facts, mirror)


def _steps(facts: DataFacts, batch: int) -> int:
    """Of an epoch."""
    return -(-facts.images // min(batch, facts.images))


def _seen(facts: DataFacts, image_size: tuple[int, int]) -> str:
    side = math.sqrt(image_size[0] * image_size[1])
    low, middle, high = (side * share for share in facts.sides)
    sizes = f", boxes of {low:.0f} to {high:.0f} px (half under {middle:.0f})" if facts.boxes else ""
    rare = f"; under {FEW_BOXES} boxes: {_named(facts.rare)}" if facts.rare else ""
    return (
        f"preset auto: {facts.images} images ({facts.empty} without boxes), {facts.boxes / facts.images:.1f} boxes an "
        f"image, {facts.classes} classes{sizes} at {image_size[1]}x{image_size[0]}{rare}"
    )


def _named(names: Sequence[str]) -> str:
    """The first names, and how many there are besides."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _schedule(facts: DataFacts, config: TrainConfig) -> str:
    if config.minutes is not None:
        length = f"as many epochs as fit into {time_option(60 * config.minutes)}"
        rate = f"a peak rate {_height(config)}"
    elif config.batch_size is None:
        length, rate = f"{config.epochs} epochs", "a peak rate that follows the batch"
    else:
        steps = config.epochs * _steps(facts, config.batch_size)
        length = f"{config.epochs} epochs ({steps} steps)"
        peak = peak_rate(config.optimizer, config.batch_size, steps)
        rate = f"a peak rate of {peak:.2g}, {_height(config)}"
    mosaic = "no image" if not config.augment.mosaic else f"{100 * config.augment.mosaic:.0f} % of the images"
    return f"  {length}, {config.optimizer.name} with {rate}; mosaic on {mosaic}, {config.loss.assigner}"


def _height(config: TrainConfig) -> str:
    return "higher in short runs" if config.optimizer.short_run_factor > 1 else "whatever the length of the run"


def _mirrors(mirror: MirrorAdvice, config: TrainConfig) -> str:
    if not config.augment.flip:
        done = "no mirrored pictures" + (f": {mirror.why}" if mirror.off else "")
    else:
        share = f"{100 * config.augment.flip:.0f} % of the pictures mirrored"
        if config.augment.flip_pairs:
            done = f"{share}, with labels swapped" + (f": {mirror.why}" if mirror.pairs else "")
        elif mirror.setting:
            done = f"{share} as told, although {mirror.why}"
        else:
            done = f"{share}, as no class looks like another one's mirror image"
    return f"  {done}; --set, --config and --preset small or published overrule"

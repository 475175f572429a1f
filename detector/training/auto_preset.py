"""The preset `auto`: settings for up to some thousand images, chosen from what the training split is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.data.annotations import Annotations
from detector.data.mirror import MirrorAdvice, advise
from detector.training.presets import preset_values
from search_spaces.structure import Structure

STEPS = 2400
"""A run should have at least, as far as `MOST_EPOCHS` allow: on small sets, 100 epochs are too few updates."""
EPOCHS, MOST_EPOCHS = 100, 300
RATE_PER_IMAGE = 6e-4
"""Five times that of `small`: the largest single gain on every set it was tried on (docs/training.md)."""


@dataclass(frozen=True, slots=True)
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


FEW_BOXES = 10


def facts_of(train: Annotations) -> DataFacts:
    """The facts of a training split; ignored boxes are left out."""
    kept = ~train.ignore
    image = train.image_index()[kept]
    boxes = train.boxes_xyxy[kept]
    shares = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) / np.prod(train.sizes_hw[image], axis=1))
    low, middle, high = np.percentile(shares, [10, 50, 90]).tolist() if len(shares) else [math.nan] * 3
    rare = tuple(name for name, count in train.counts().items() if count < FEW_BOXES)
    return DataFacts(
        len(train), len(train) - len(np.unique(image)), len(boxes), train.num_classes, (low, middle, high), rare
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """`values`: settings as of a preset; `lines`: what was chosen and why, three lines for people."""

    values: dict[str, Any]
    lines: tuple[str, str, str]


def choose(structure: Structure, train: Annotations, image_size: tuple[int, int]) -> Choice:
    """Settings for a training split at `image_size` (height, width). Reads some pictures, to see what a mirror does."""
    return choice_of(structure, facts_of(train), advise(train), image_size)


def choice_of(structure: Structure, facts: DataFacts, mirror: MirrorAdvice, image_size: tuple[int, int]) -> Choice:
    """Settings that follow from the facts."""
    base = preset_values("small", structure)
    batch = int(base["batch_size"])
    steps = -(-facts.images // min(batch, facts.images))
    epochs = min(max(EPOCHS, math.ceil(STEPS / steps)), MOST_EPOCHS)
    augment: dict[str, Any] = {**base["augment"]}
    if mirror.off:
        augment["flip"] = 0.0
    elif mirror.pairs:
        augment["flip_pairs"] = mirror.pairs
    optimizer = {**base["optimizer"], "learning_rate_per_image": RATE_PER_IMAGE}
    values = {**base, "preset": "auto", "epochs": epochs, "optimizer": optimizer, "augment": augment}
    return Choice(values, (_seen(facts, image_size), _taken(steps, epochs, batch), _mirrored(mirror)))


def _seen(facts: DataFacts, image_size: tuple[int, int]) -> str:
    side = math.sqrt(image_size[0] * image_size[1])
    low, middle, high = (side * share for share in facts.sides)
    sizes = f", boxes of {low:.0f} to {high:.0f} px (half under {middle:.0f})" if facts.boxes else ""
    rare = f"; {len(facts.rare)} of the classes have under {FEW_BOXES} boxes" if facts.rare else ""
    return (
        f"preset auto: {facts.images} images ({facts.empty} without boxes), {facts.boxes / facts.images:.1f} boxes an "
        f"image, {facts.classes} classes{sizes} at {image_size[1]}x{image_size[0]}{rare}"
    )


def _taken(steps: int, epochs: int, batch: int) -> str:
    why = f"{steps} steps each: so few need more passes" if epochs > EPOCHS else f"{steps} steps each"
    return (
        f"  {epochs} epochs ({why}), AdamW with a peak rate of {RATE_PER_IMAGE * batch:.2g} at batch {batch}, which short "
        "trainings need; mosaic on half of the images"
    )


def _mirrored(mirror: MirrorAdvice) -> str:
    if mirror.off:
        done = f"no mirrored pictures: {mirror.why}"
    elif mirror.pairs:
        done = f"half of the pictures mirrored, with labels swapped: {mirror.why}"
    else:
        done = "half of the pictures mirrored, as no class looks like another one's mirror image"
    return f"  {done}; --set, --config and --preset small or published overrule"

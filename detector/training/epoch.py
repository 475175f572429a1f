"""What an epoch shows the network: strong augmentation or none, SADA as far as it has grown, batches of a drawn size.

All of it follows from the settings, the epoch and the batch's number alone, so a resumed run agrees.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from detector.data.dataset import DetectionDataset
from detector.data.loader import Batch
from detector.training.optimizer.schedule import no_aug_epochs
from detector.training.settings.config import TrainConfig

STRIDE = 32
_STREAM = 1  # keeps these draws apart from those of the samples, which have three words of seed


class Phase(NamedTuple):
    """strong: with mosaic, affine, mixup and SADA; progress: 0..1, share of the strong epochs done at start and end."""

    strong: bool
    progress: tuple[float, float]


def phase_of(config: TrainConfig, epoch: int) -> Phase:
    """The phase of `epoch` (from 0)."""
    strong_epochs = config.epochs - no_aug_epochs(config.schedule, config.epochs)
    start, end = (min(done / max(strong_epochs, 1), 1.0) for done in (epoch, epoch + 1))
    return Phase(epoch < strong_epochs, (start, end))


def enter_epoch(dataset: DetectionDataset, config: TrainConfig, epoch: int) -> None:
    """Have `dataset` and its loader's workers draw what `epoch` calls for; before each pass."""
    strong, progress = phase_of(config, epoch)
    dataset.set_epoch(epoch, strong=strong, progress=progress)


def at_drawn_size(batch: Batch, config: TrainConfig, epoch: int, index: int) -> Batch:
    """`batch`, the `index`-th of `epoch`, stretched to its drawn size; images become float32 (B, 3, H', W').

    The longer side is drawn from `config.multi_scale` in steps of 32, from (seed, epoch, index) alone; the other follows
    in proportion. As it is when the option is off, and in the last epochs, which train at the size of the evaluation.
    """
    if config.multi_scale is None or not phase_of(config, epoch).strong:
        return batch
    height, width = batch.images.shape[2:]
    size_hw = drawn_size((height, width), config.multi_scale, [config.seed, epoch, index, _STREAM])
    if size_hw == (height, width):
        return batch
    images = functional.interpolate(batch.images.to(torch.float32), size_hw, mode="bilinear", align_corners=False)
    scale_x, scale_y = size_hw[1] / width, size_hw[0] / height
    boxes, scale_xy = batch.boxes_xyxy.clone(), batch.scale_xy.clone()
    for values in (boxes, scale_xy):  # numbers, not a tensor: a GPU would have to wait for its copy
        values[..., 0::2] *= scale_x
        values[..., 1::2] *= scale_y
    return dataclasses.replace(batch, images=images, boxes_xyxy=boxes, scale_xy=scale_xy)


def drawn_size(size_hw: tuple[int, int], sides: tuple[int, int], seed: list[int]) -> tuple[int, int]:
    """A size in the proportions of `size_hw` whose longer side is one of sides[0], sides[0] + 32, ..., sides[1]."""
    low, high = sides
    return _scaled(size_hw, low + STRIDE * int(np.random.default_rng(seed).integers((high - low) // STRIDE + 1)))


def largest_size(size_hw: tuple[int, int], config: TrainConfig) -> tuple[int, int]:
    """The largest size that a batch can have in training: what has to fit in memory."""
    if config.multi_scale is None:
        return size_hw
    return max(size_hw, _scaled(size_hw, config.multi_scale[1]), key=lambda size: size[0] * size[1])


def _scaled(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    height, width = (max(STRIDE, STRIDE * round(part * side / max(size_hw) / STRIDE)) for part in size_hw)
    return height, width

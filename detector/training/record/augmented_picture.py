"""A picture to look at before training: what the network will see at the start, at full strength and at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detector.data.dataset import DetectionDataset
from detector.data.image import Pixels
from detector.drawing import SMALLEST_SHOWN, caption, draw_detections, with_longer_side, write_picture
from detector.training.epoch import enter_epoch, phase_of
from detector.training.settings.config import TrainConfig

COLUMNS = 4
TILE_PX = SMALLEST_SHOWN
"""Longer side of a sample in the picture; drawn ones are never smaller."""


def write_augmented_picture(dataset: DetectionDataset, config: TrainConfig, path: Path) -> None:
    """Write a JPEG with one row of samples per phase: the same images in the first, last strong and very last epoch.

    Leaves `dataset` at another epoch: call before `enter_epoch`. Writes nothing for an empty data set.
    Raises UserError when the file cannot be written.
    """
    if not len(dataset):
        return
    strong = [epoch for epoch in range(config.epochs) if phase_of(config, epoch).strong]
    epochs = sorted({0, *strong[-1:], config.epochs - 1})
    picture = np.concatenate([_row(dataset, config, epoch) for epoch in epochs])
    write_picture(picture, path)


def _row(dataset: DetectionDataset, config: TrainConfig, epoch: int) -> Pixels:
    """A caption above the samples of an epoch, side by side."""
    enter_epoch(dataset, config, epoch)
    indices = np.linspace(0, len(dataset) - 1, min(COLUMNS, len(dataset))).astype(np.int64)
    tiles = np.concatenate([_tile(dataset, int(index)) for index in indices], axis=1)
    strong, progress = phase_of(config, epoch)
    how = "strong augmentation" if strong else "without mosaic, affine, mixup and SADA"
    if strong and config.augment.sada:
        how += f", SADA up to {config.augment.sada * progress[1]:.0%}"
    return np.concatenate([caption(f"epoch {epoch + 1} of {config.epochs}: {how}", tiles.shape[1]), tiles])


def _tile(dataset: DetectionDataset, index: int) -> Pixels:
    sample = dataset[index]
    pixels = np.ascontiguousarray(sample.image.numpy().transpose(1, 2, 0))
    drawn = draw_detections(pixels, sample.boxes_xyxy.numpy(), sample.labels.numpy(), dataset.annotations.class_names)
    return with_longer_side(drawn, TILE_PX)

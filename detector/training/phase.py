"""Where an epoch stands in the run: with strong augmentation or after it, and how far SADA has grown."""

from __future__ import annotations

from typing import NamedTuple

from detector.data.dataset import DetectionDataset
from detector.training.config import TrainConfig
from detector.training.schedule import no_aug_epochs


class Phase(NamedTuple):
    """strong: with mosaic, affine, mixup and SADA; progress: 0..1, share of the strong epochs done at start and end."""

    strong: bool
    progress: tuple[float, float]


def phase_of(config: TrainConfig, epoch: int) -> Phase:
    """The phase of `epoch` (from 0): a function of the settings and the epoch alone, so a resumed run agrees."""
    strong_epochs = config.epochs - no_aug_epochs(config.schedule, config.epochs)
    start, end = (min(done / max(strong_epochs, 1), 1.0) for done in (epoch, epoch + 1))
    return Phase(epoch < strong_epochs, (start, end))


def enter_epoch(dataset: DetectionDataset, config: TrainConfig, epoch: int) -> None:
    """Have `dataset` and its loader's workers draw what `epoch` calls for; before each pass."""
    strong, progress = phase_of(config, epoch)
    dataset.set_epoch(epoch, strong=strong, progress=progress)

"""A training run: its parts, which stay, and how far it is, which changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch.utils.data import DataLoader
from tqdm import tqdm

from detector.checkpoint import Checkpoint
from detector.data.annotations import Annotations
from detector.data.dataset import DetectionDataset, Sample
from detector.evaluation import Evaluation
from detector.training.machine.processes import Processes
from detector.training.record.run_log import RunLog
from detector.training.settings.config import TrainConfig
from detector.training.step import Stepper
from search_spaces.saying import Say


@dataclass(frozen=True, slots=True)
class Splits:
    """Training and validation annotations with the same classes; `source`: the folder or YAML they came from."""

    source: str
    train: Annotations
    val: Annotations

    def fingerprint(self) -> str:
        """Tells whether a run goes on with the pictures and boxes that it began with, wherever they lie."""
        digest = hashlib.sha256()
        for split in (self.train, self.val):
            split.feed(digest)
        return digest.hexdigest()


@dataclass(slots=True, kw_only=True)
class EpochPart:
    """The part of the present epoch that is done: batches, sound steps, images, sums of the losses, seconds."""

    batches: int = 0
    steps: int = 0
    images: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, images: int, losses: Mapping[str, float], seconds: float, *, sound: bool) -> None:
        """A batch's step; `seconds`: of the whole part. The losses of a step that was not sound are left out."""
        self.batches, self.images, self.seconds = self.batches + 1, self.images + images, seconds
        if sound:
            self.steps += 1
            self.sums = {name: self.sums.get(name, 0.0) + value for name, value in losses.items()}


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a run is: `epoch`, epochs done; seconds, of all its starts; `part`, of the epoch under way.

    best_evaluation: the one that made best.pt, None until this start of the run has done it (and on processes other than
    the first).
    """

    epoch: int = 0
    best_ap: float = -1.0
    seconds: float = 0.0
    part: EpochPart = field(default_factory=EpochPart)
    best_evaluation: Evaluation | None = None

    def end_epoch(self) -> None:
        self.epoch, self.part = self.epoch + 1, EpochPart()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run under way. `data`: as given; data_fingerprint: of its images' names and boxes; `blank`: the checkpoint's parts
    that do not change.

    val_loader: the whole validation split; val_share: this process's share of it.
    """

    config: TrainConfig
    folder: Path
    data: str
    data_fingerprint: str
    processes: Processes
    train_set: DetectionDataset
    val_set: DetectionDataset
    train_loader: DataLoader[Sample]
    val_loader: DataLoader[Sample]
    val_share: DataLoader[Sample]
    stepper: Stepper
    blank: Checkpoint
    log: RunLog
    say: Say
    progress: Progress = field(default_factory=Progress)

    @property
    def loaders(self) -> tuple[DataLoader[Sample], ...]:
        return self.train_loader, self.val_loader, self.val_share

    def stop_workers(self) -> None:
        """End the loaders' processes now: left to the interpreter's exit, they can wait for each other."""
        for loader in self.loaders:
            iterator = getattr(loader, "_iterator", None)
            if iterator is not None and hasattr(iterator, "_shutdown_workers"):
                iterator._shutdown_workers()
                loader._iterator = None


def beside_bars(say: Say) -> Say:
    """`say` for use while progress bars are shown: they are cleared before and drawn again after."""

    def spoken(text: str) -> None:
        with tqdm.external_write_mode():
            say(text)

    return spoken

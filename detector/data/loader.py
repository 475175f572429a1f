"""Samples to batches: padding, sharding over ranks, and worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, default_collate

from detector.data.dataset import DetectionDataset, Sample

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B samples; boxes are padded to G, the largest count in the batch (at least 1).

    images (B, 3, H, W) uint8 RGB, channels-last; boxes_xyxy (B, G, 4) float32, network-input pixels, zeros where padded
    labels (B, G) int64, 0 where padded; valid (B, G) bool: a box, not padding; ignore (B, G) bool: crowd or difficult
    regions (B, L, H / 8, W / 8) uint8: the data sets that are seen (detector/data/regions.py), L = 0 where they are one
    indices (B,) int64: places in the annotations; scale_xy (B, 2) float32: network pixels per original pixel
    """

    images: Tensor
    boxes_xyxy: Tensor
    labels: Tensor
    valid: Tensor
    ignore: Tensor
    regions: Tensor
    indices: Tensor
    scale_xy: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch on `device`."""
        return Batch(**{f.name: getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)})

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (the loader calls this when asked to)."""
        return Batch(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack images and pad boxes; at least one sample."""
    longest = max(1, *(len(sample.labels) for sample in samples))
    shape = (len(samples), longest)
    batch = Batch(
        # In a loader process this stacks into shared memory: nothing is copied once more on the way out.
        images=default_collate([sample.image.permute(1, 2, 0) for sample in samples]).permute(0, 3, 1, 2),
        boxes_xyxy=torch.zeros(*shape, 4, dtype=torch.float32),
        labels=torch.zeros(shape, dtype=torch.int64),
        valid=torch.zeros(shape, dtype=torch.bool),
        ignore=torch.zeros(shape, dtype=torch.bool),
        regions=torch.stack([sample.regions for sample in samples]),
        indices=torch.tensor([sample.index for sample in samples], dtype=torch.int64),
        scale_xy=torch.tensor([sample.scale_xy for sample in samples], dtype=torch.float32),
    )
    for row, sample in enumerate(samples):
        count = len(sample.labels)
        batch.boxes_xyxy[row, :count] = sample.boxes_xyxy
        batch.labels[row, :count] = sample.labels
        batch.valid[row, :count] = True
        batch.ignore[row, :count] = sample.ignore
    return batch


class ShardedSampler(Sampler[int]):
    """This rank's indices.

    shuffle=True: the data set's draws of the epoch, in its order; every rank gets as many (some occur twice when the data do
    not divide).
    shuffle=False: in order, each index on exactly one rank, so that an evaluation counts it once.
    start: indices of this rank left out at the front of a pass (an epoch that was under way); the length stays.
    """

    def __init__(self, dataset: DetectionDataset, *, shuffle: bool, rank: int, world_size: int) -> None:
        self._dataset = dataset
        self._shuffle = shuffle
        self._rank = rank
        self._world_size = world_size
        self.start = 0

    def __len__(self) -> int:
        count = len(self._dataset)
        if self._shuffle:
            return -(-count // self._world_size)
        return len(range(self._rank, count, self._world_size))

    def __iter__(self) -> Iterator[int]:
        if self._shuffle:
            order = np.resize(self._dataset.order(), len(self) * self._world_size)
        else:
            order = np.arange(len(self._dataset))
        return iter(order[self._rank :: self._world_size][self.start :].tolist())


class Loader(DataLoader[T]):
    """A DataLoader whose processes do not hear Ctrl-C: a terminal sends it to all, and the main process ends the others."""

    def __iter__(self) -> Any:  # an iterator of a private class of torch's
        if not self.num_workers or not hasattr(signal, "pthread_sigmask"):
            return super().__iter__()
        # a process starts with the mask of the thread that starts it: deaf from its first moment on, while it imports too
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def build_loader(
    dataset: DetectionDataset,
    batch_size: int,
    *,
    shuffle: bool,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> DataLoader[Sample]:
    """A loader that yields `Batch`. batch_size is per rank; call `dataset.set_epoch` before each pass.

    Workers stay alive between epochs and run OpenCV single-threaded. An empty data set gives no batches.
    """
    return Loader(
        dataset,
        batch_size=batch_size,
        sampler=ShardedSampler(dataset, shuffle=shuffle, rank=rank, world_size=world_size),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=start_worker,
        persistent_workers=workers > 0,
        # The loader draws a base seed at each pass; from its own generator, torch's global one stays untouched.
        generator=torch.Generator().manual_seed(dataset.seed),
    )


def start_worker(_: int) -> None:
    """A loader's process works on one thread: its siblings have the other cores."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

"""The data set that the training loop and the evaluation read: pictures at the network's size, with their boxes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detector.data.annotations import Annotations
from detector.data.augment import AugmentConfig, augment, mirrored_labels
from detector.data.cache import PictureSource
from detector.data.image import fills_the_range
from detector.data.image_facts import DARK, examine
from detector.data.regions import MOST_SETS, NO_MAP, whole
from detector.data.sampling import SamplingConfig, draw, expected_draws, numbered
from search_spaces.errors import UserError

DARK_TRIED = 8
_STREAM = 3
"""Keeps the draws of repeated images apart from all others of a run."""
CACHE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One network input with its boxes.

    image (3, H, W) uint8 RGB, in memory pixel by pixel; boxes_xyxy (n, 4) float32, network-input pixels
    labels (n,) int64; ignore (n,) bool; regions (L, H / 8, W / 8) uint8, see detector/data/regions.py
    index: place in the annotations; scale_xy: network pixels per original pixel along x and y (of the plain picture)
    """

    image: Tensor
    boxes_xyxy: Tensor
    labels: Tensor
    ignore: Tensor
    regions: Tensor
    index: int
    scale_xy: tuple[float, float]


def check_images(annotations: Annotations) -> None:
    """Look at every image file before work starts: there, whole, and of the annotated size.

    Reads each file once without decoding it; what was found of large data sets is remembered until a file changes.
    Raises UserError naming the first bad file and counting the others.
    """
    mistakes = []
    sizes = annotations.sizes_hw.tolist()
    facts = examine(annotations.image_paths)
    for path, fact, (height, width) in zip(annotations.image_paths, facts, sizes):
        reason = fact.mismatch((height, width))
        if reason:
            mistakes.append(f"{path}: {reason}")
    if mistakes:
        more = f" (and {len(mistakes) - 1} more bad image files)" if len(mistakes) > 1 else ""
        raise UserError(mistakes[0] + more)
    _tell_of_dark_samples([path for path, fact in zip(annotations.image_paths, facts) if fact.bits == 16])


def _tell_of_dark_samples(paths: Sequence[Path]) -> None:
    """Warn when none of a few 16-bit pictures uses its upper bits."""
    some = [paths[i] for i in np.linspace(0, len(paths) - 1, min(DARK_TRIED, len(paths))).astype(np.int64).tolist()]
    if some and not any(fills_the_range(path) for path in some):
        warnings.warn(f"{some[0]} (and {len(paths) - 1} more 16-bit pictures): {DARK}", stacklevel=3)


class DetectionDataset(Dataset[Sample]):
    """Images of `annotations`, stretched to `image_size` (height, width), augmented when `augment` is given.

    Draws depend on (seed, epoch, index) alone, of an image that comes again in an epoch on how often it came before, too:
    neither the number of workers nor a resumed run changes them.
    sampling: how often images are drawn; None: each once an epoch. cache_bytes: memory for decoded pictures, as many as
    fit. Raises UserError for a side that is not a multiple of 32, for a class of `augment.flip_pairs` that is none, and
    for more than 254 data sets.
    """

    def __init__(
        self,
        annotations: Annotations,
        image_size: tuple[int, int],
        augment: AugmentConfig | None = None,
        seed: int = 0,
        *,
        sampling: SamplingConfig | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if any(side <= 0 or side % 32 for side in image_size):
            raise UserError(f"image size {image_size[0]}x{image_size[1]}: expected sides divisible by 32")
        if annotations.origins is not None and len(annotations.origins.sources) > MOST_SETS:
            raise UserError(
                f"{len(annotations.origins.sources)} data sets in one training; expected at most {MOST_SETS}"
            )
        self.annotations = annotations
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.seed = seed
        self._augment = augment
        pairs = {} if augment is None else augment.flip_pairs
        self._mirrored = mirrored_labels(annotations.class_names, pairs) if pairs else None
        self._source = PictureSource(annotations, self.image_size, cache_bytes)
        self.expected_draws = None if sampling is None else expected_draws(annotations, sampling)
        self._with_boxes = np.flatnonzero(np.diff(annotations.offsets)).astype(np.int64)
        self._drawn: tuple[int, npt.NDArray[np.int64]] | None = None
        # Shared memory: workers that outlive an epoch read the current one here.
        self._state = torch.tensor([0.0, 1.0], dtype=torch.float64).share_memory_()  # type: ignore[no-untyped-call]
        self._progress = torch.ones(len(annotations), dtype=torch.float64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def epoch(self) -> int:
        """The epoch that draws and the sampler's order belong to."""
        return int(self._state[0])

    def set_epoch(self, epoch: int, *, strong: bool = True, progress: tuple[float, float] = (1.0, 1.0)) -> None:
        """Call before iterating a loader. strong=False: without mosaic, affine, mixup and SADA (the last epochs).

        progress: 0..1, the share of the epochs before those that is done when this one starts and when it ends; SADA's
        probabilities grow with it, image by image in the epoch's `order`.
        """
        self._state[0], self._state[1] = epoch, int(strong)
        if len(self):
            # numpy keeps the last of several values for one image
            grown = torch.linspace(*progress, len(self) + 1, dtype=torch.float64)[:-1]
            self._progress.numpy()[self.order() % len(self)] = grown.numpy()

    def order(self) -> npt.NDArray[np.int64]:
        """The current epoch's draws (N,) in random order, which depends on (seed, epoch) alone.

        A draw is an image's index, plus N for each time that it came before in the epoch.
        """
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.expected_draws is not None:
            return numbered(draw(self.expected_draws, rng), len(self))
        order = np.arange(len(self))
        rng.shuffle(order)
        return order

    def _partners(self) -> npt.NDArray[np.int64]:
        """What mosaic and mixup draw from: images with boxes, as often as the epoch draws them."""
        if self.expected_draws is None:
            return self._with_boxes
        if self._drawn is None or self._drawn[0] != self.epoch:
            images = self.order() % len(self)
            self._drawn = self.epoch, images[np.isin(images, self._with_boxes)]
        return self._drawn[1]

    def __getitem__(self, number: int) -> Sample:
        before, index = divmod(number, len(self))
        if self._augment is None:
            picture = self._source(index)._replace(regions=whole(NO_MAP, self.image_size))  # nobody learns from it
        else:
            again = [before, _STREAM] if before else []
            rng = np.random.default_rng([self.seed, self.epoch, index, *again])
            picture = augment(
                index, self._source, self._partners(), self._augment, rng,
                strong=bool(self._state[1]), progress=float(self._progress[index]),
                mirrored=self._mirrored,
            )  # fmt: skip
        height, width = (int(side) for side in self.annotations.sizes_hw[index])
        return Sample(
            # A view, pixels together as OpenCV has them: batches are channels-last, as the network takes them.
            image=torch.from_numpy(np.ascontiguousarray(picture.image)).permute(2, 0, 1),
            boxes_xyxy=torch.from_numpy(np.array(picture.boxes_xyxy, dtype=np.float32)),
            labels=torch.from_numpy(picture.labels.astype(np.int64)),
            ignore=torch.from_numpy(picture.ignore.copy()),
            regions=torch.from_numpy(picture.regions.copy()),
            index=index,
            scale_xy=(self.image_size[1] / width, self.image_size[0] / height),
        )

"""Pictures without annotations, drawn from as random crops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detector.data.augment import AugmentConfig, jitter
from detector.data.image import Pixels, read_image

CACHED_SIDE = 1.5
"""Pictures are kept with a shorter side of at most this times the network's longer one: crops are hardly ever enlarged."""
COLOURS = AugmentConfig(hue=0.02, saturation=0.4, brightness=0.3)
TRIES = 8


@dataclass(frozen=True, slots=True)
class Crops:
    """How crops are drawn: area as a share of the picture's, and width / height against the network's, log-uniform."""

    area: tuple[float, float] = (0.2, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)


class Pictures(Dataset[Tensor]):
    """Crops (3, H, W) uint8 RGB, mirrored half of the time, with colours changed a little; asked for by (epoch, index).

    Draws depend on (seed, epoch, index) alone. cache_bytes: memory for decoded pictures, shrunk to what crops need.
    """

    def __init__(
        self, paths: Sequence[Path], size_hw: tuple[int, int], seed: int, crops: Crops | None = None, *,
        cache_bytes: int = 1 << 30,
    ) -> None:  # fmt: skip
        self.paths, self.size_hw, self.seed = list(paths), size_hw, seed
        self._crops = crops or Crops()
        self._room = cache_bytes
        self._kept: dict[int, Pixels] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """All indices in the epoch's random order (N,)."""
        return np.random.default_rng([self.seed, epoch]).permutation(len(self))

    def __getitem__(self, at: tuple[int, int]) -> Tensor:
        epoch, index = at
        rng = np.random.default_rng([self.seed, epoch, index])
        image = self._image(index)
        left, top, width, height = _crop(image.shape[:2], self.size_hw, self._crops, rng)
        part = image[top : top + height, left : left + width]
        shrinks = part.shape[0] > self.size_hw[0] and part.shape[1] > self.size_hw[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = np.asarray(cv2.resize(part, self.size_hw[::-1], interpolation=how), dtype=np.uint8)
        if rng.random() < 0.5:
            resized = resized[:, ::-1]
        coloured = jitter(np.ascontiguousarray(resized), COLOURS, rng)
        return torch.from_numpy(np.ascontiguousarray(coloured.transpose(2, 0, 1)))

    def _image(self, index: int) -> Pixels:
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        image = read_image(self.paths[index])
        side = CACHED_SIDE * max(self.size_hw)
        if min(image.shape[:2]) > side:
            scale = side / min(image.shape[:2])
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        if image.nbytes <= self._room:
            self._room -= image.nbytes
            self._kept[index] = image
        return image


def _crop(
    picture_hw: tuple[int, ...], size_hw: tuple[int, int], crops: Crops, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """left, top, width, height of a random part; the whole picture where no draw fits into it."""
    rows, columns = picture_hw
    for _ in range(TRIES):
        area = rng.uniform(*crops.area) * rows * columns
        low, high = map(math.log, crops.aspect)
        aspect = math.exp(rng.uniform(low, high)) * size_hw[1] / size_hw[0]
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= columns and 0 < height <= rows:
            left, top = (int(rng.integers(room + 1)) for room in (columns - width, rows - height))
            return left, top, width, height
    return 0, 0, columns, rows

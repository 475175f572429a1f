"""Decoded pictures, stretched to the network's size, kept in memory that forked workers share."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.data.geometry import Picture
from detector.data.image import Pixels, read_image, resize_stretch
from detector.data.regions import NO_MAP, plain


class PictureSource:
    """Call it with an index: that image of `annotations` at `size_hw`, from memory where it fits `cache_bytes`.

    The first so many images that fit are kept: the others are decoded each time.

    The memory is one anonymous shared mapping, so workers that are forked fill and read the same pages (and no file
    under /dev/shm is needed); started otherwise, each worker has its own.
    """

    def __init__(self, annotations: Annotations, size_hw: tuple[int, int], cache_bytes: int) -> None:
        self._annotations = annotations
        self._origins = annotations.origins
        self._size_hw = size_hw
        self._kept = min(len(annotations), max(cache_bytes, 0) // (size_hw[0] * size_hw[1] * 3))
        self._allocate()

    def __call__(self, index: int) -> Picture:
        boxes, labels, ignore = self._annotations.boxes_of(index)
        height, width = (int(side) for side in self._annotations.sizes_hw[index])
        scale = np.array([self._size_hw[1] / width, self._size_hw[0] / height] * 2, dtype=np.float32)
        regions = NO_MAP if self._origins is None else plain(int(self._origins.of_image[index]))
        return Picture(self._image(index, (height, width)), boxes * scale, labels, ignore, regions)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_images", "_filled")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._allocate()

    def _allocate(self) -> None:
        self._images = _shared_bytes((self._kept, *self._size_hw, 3))
        self._filled = _shared_bytes((self._kept,))

    def _image(self, index: int, source_hw: tuple[int, int]) -> Pixels:
        if index < self._kept and self._filled[index]:
            return np.asarray(self._images[index], dtype=np.uint8)
        image = read_image(self._annotations.image_paths[index], expected_hw=source_hw)
        image, _ = resize_stretch(image, np.zeros((0, 4), dtype=np.float32), self._size_hw)
        if index < self._kept:
            # Two workers may both get here: they write the same bytes, and the flag comes last.
            self._images[index] = image
            self._filled[index] = 1
        return image


def _shared_bytes(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    size = int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype=np.uint8, count=size).reshape(shape)

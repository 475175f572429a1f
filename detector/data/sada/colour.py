"""SADA's colour operations on whole images (H, W, 3) uint8 RGB, at levels 0..10. They return new arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from detector.data.image import Pixels

MAX_LEVEL = 10
GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)
"""Luma of red, green and blue."""
SOLARIZE_SHARE = 0.4296875
"""What SolarizeAdd adds at the highest level, share of full scale."""

ColourOp = Callable[[Pixels, int], Pixels]


def auto_contrast(image: Pixels, _: int) -> Pixels:
    """Stretch each channel so that its darkest value becomes 0 and its brightest 255."""
    levels = np.arange(256.0)
    tables = np.tile(levels, (3, 1))
    for channel, histogram in enumerate(_histograms(image)):
        present = np.flatnonzero(histogram)
        low, high = present[0], present[-1]
        if high > low:
            tables[channel] = (levels - low) * (255 / (high - low))
    return _look_up(image, tables)


def equalize(image: Pixels, _: int) -> Pixels:
    """Spread each channel's values evenly, by the rule of PIL: cumulated counts of darker pixels over a step."""
    tables = np.tile(np.arange(256.0), (3, 1))
    for channel, histogram in enumerate(_histograms(image)):
        step = (histogram.sum() - histogram[np.flatnonzero(histogram)[-1]]) // 255
        if step:
            darker = np.concatenate([[0], np.cumsum(histogram)[:-1]])
            tables[channel] = (darker + step // 2) // step
    return _look_up(image, tables)


def solarize_add(image: Pixels, level: int) -> Pixels:
    """Brighten what is below half of full scale."""
    levels = np.arange(256.0)
    table = np.where(levels <= 127.5, levels + 255 * SOLARIZE_SHARE * level / MAX_LEVEL, levels)
    return _look_up(image, np.tile(table, (3, 1)))


def colour(image: Pixels, level: int) -> Pixels:
    """Move away from the grey image (factor above 1) or towards it."""
    factor = _factor(level)
    matrix = factor * np.eye(3) + (1 - factor) * np.tile(GREY_WEIGHTS, (3, 1))
    return np.asarray(cv2.transform(image, matrix), dtype=np.uint8)


def contrast(image: Pixels, level: int) -> Pixels:
    """Move away from the image's mean grey (factor above 1) or towards it."""
    mean = float(np.dot(cv2.mean(image)[:3], GREY_WEIGHTS))
    return _look_up(image, np.tile(mean + _factor(level) * (np.arange(256) - mean), (3, 1)))


def brightness(image: Pixels, level: int) -> Pixels:
    """Scale all values."""
    return _look_up(image, np.tile(_factor(level) * np.arange(256), (3, 1)))


def sharpness(image: Pixels, level: int) -> Pixels:
    """Move away from the smoothed image (factor above 1) or towards it."""
    factor = _factor(level)
    kernel = np.ones((3, 3))
    kernel[1, 1] = 5
    kernel *= (1 - factor) / kernel.sum()
    kernel[1, 1] += factor
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101), dtype=np.uint8)


COLOUR_OPS: Mapping[str, ColourOp] = MappingProxyType(
    {
        "auto_contrast": auto_contrast,
        "equalize": equalize,
        "solarize_add": solarize_add,
        "colour": colour,
        "contrast": contrast,
        "brightness": brightness,
        "sharpness": sharpness,
    }
)
"""In the order that the policy's numbers count them."""


def _factor(level: int) -> float:
    return 1.8 * level / MAX_LEVEL + 0.1


def _histograms(image: Pixels) -> npt.NDArray[np.int64]:
    """Counts (3, 256) of each channel's values."""
    counts = [cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel() for channel in range(3)]
    return np.stack(counts).astype(np.int64)


def _look_up(image: Pixels, tables: npt.NDArray[np.floating]) -> Pixels:
    """Replace every value by its entry in its channel's table (3, 256), rounded and cut to 0..255."""
    entries = np.rint(np.clip(tables, 0, 255)).astype(np.uint8)
    return np.asarray(cv2.LUT(image, np.ascontiguousarray(entries.T).reshape(1, 256, 3)), dtype=np.uint8)

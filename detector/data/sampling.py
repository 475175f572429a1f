"""How often each image is drawn in an epoch: sizes of data sets smoothed, rare classes shown more often (section 2.5).

An epoch has as many draws as there are images. What an image can expect is not rounded at random on its own: as few images as
possible come once more or once less than they should, so that with equal expectations an epoch is a plain shuffle.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from detector.data.annotations import Annotations

Doubles: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

RARE_SHARE = 0.001
"""Of images, for several data sets: a class on fewer is shown more often (the threshold of LVIS's repeat factors)."""


class SamplingConfig(BaseModel):
    """How often the training images are drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smoothing: float = Field(
        0.5, ge=0, le=1,
        description="of several data sets' sizes: each is drawn in proportion to its size to this power; 1: as they are, 0: "
        "all alike",
    )  # fmt: skip
    class_aware: float | None = Field(
        None, ge=0, le=1,
        description="images with a class that is on a smaller share of the images than this are drawn more often; 0: off; "
        "none: 0.001 for several data sets, off for one",
    )  # fmt: skip


def expected_draws(annotations: Annotations, config: SamplingConfig) -> Doubles | None:
    """How often each image is to be drawn in an epoch (N,), in the mean; the sum is N. None: each exactly once.

    A data set of n images gets a share of the draws in proportion to n^smoothing. Within it, an image counts in proportion to
    the largest repeat factor max(1, sqrt(t / f)) of its classes, f the share of images that have a class, of those whose
    data set labels it (Gupta et al., LVIS, CVPR 2019).
    """
    origins, count = annotations.origins, len(annotations)
    if not count:
        return None
    rare = config.class_aware
    if rare is None:
        rare = 0.0 if origins is None else RARE_SHARE
    factors = repeat_factors(annotations, rare)
    numbers = np.zeros(count, dtype=np.int64) if origins is None else origins.of_image.astype(np.int64)
    sizes = np.bincount(numbers).astype(np.float64)
    shares = np.where(sizes > 0, sizes, 1.0) ** config.smoothing * (sizes > 0)
    within = np.bincount(numbers, weights=factors)
    expected = count * (shares / shares.sum())[numbers] * factors / within[numbers]
    return None if np.allclose(expected, 1.0, rtol=1e-9, atol=0) else expected


def repeat_factors(annotations: Annotations, rare: float) -> Doubles:
    """(N,), at least 1: the largest sqrt(rare / share of images) of an image's classes."""
    count, factors = len(annotations), np.ones(len(annotations))
    if rare == 0:
        return factors
    kept = ~annotations.ignore
    image, label = annotations.image_index()[kept], annotations.labels[kept]
    pairs = np.unique(np.stack([image, label.astype(np.int64)], axis=1), axis=0)
    having = np.bincount(pairs[:, 1], minlength=annotations.num_classes)
    telling = np.full(annotations.num_classes, count)
    if annotations.origins is not None:
        labelled = annotations.origins.labelled(annotations.class_names)
        telling = np.bincount(annotations.origins.of_image, minlength=len(labelled)) @ labelled
    of_class = np.maximum(1.0, np.sqrt(rare * telling / np.maximum(having, 1)))
    np.maximum.at(factors, pairs[:, 0], of_class[pairs[:, 1]])
    return factors


def draw(expected: Doubles, rng: np.random.Generator) -> Ints:
    """An epoch's draws (N,) in random order: image i floor(expected[i]) or ceil(expected[i]) times, expected[i] in the mean.

    Systematic sampling over the images in random order: every draw is a step of 1 along their summed expectations.
    """
    count = len(expected)
    order = rng.permutation(count)
    ends = np.cumsum(expected[order])
    ends *= count / ends[-1]
    ends[-1] = count
    whole = np.floor(ends + rng.random()).astype(np.int64)
    drawn = np.repeat(order, np.diff(whole, prepend=0))
    rng.shuffle(drawn)
    return drawn


def numbered(drawn: Ints, count: int) -> Ints:
    """Draws of `count` images, each told from its repetitions: index + count x (how often it came before)."""
    order = np.argsort(drawn, kind="stable")
    ordered = drawn[order]
    before = np.empty(len(drawn), dtype=np.int64)
    before[order] = np.arange(len(drawn)) - np.searchsorted(ordered, ordered)
    return drawn + count * before

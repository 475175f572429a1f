"""Which few images a detector shall learn by heart: as many classes as possible, none of them rare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.data.dataset import check_images
from detector.data.formats import load_split
from search_spaces.errors import UserError, listed
from search_spaces.saying import Say

MOST_AT_ONCE = 8
NAMED_IMAGES = 16
FINEST_STRIDE_PX = 8
"""Distance of the head's finest priors, network pixels: a smaller box may lie between all of them."""


def narrow_boxes(annotations: Annotations, image_size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(M,): a box to learn with a side below `FINEST_STRIDE_PX` at the network's size (height, width)."""
    sizes_wh = annotations.sizes_hw[annotations.image_index(), ::-1]
    sides = annotations.boxes_xyxy[:, 2:] - annotations.boxes_xyxy[:, :2]
    narrow = (sides * np.array(image_size[::-1]) / sizes_wh).min(axis=1) < FINEST_STRIDE_PX
    return np.asarray(narrow & ~annotations.ignore, dtype=np.bool_)


def choose_images(
    annotations: Annotations, number: int, seed: int, image_size: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """`number` images with boxes, on which as many classes as possible occur and none is rare; (number,) int64.

    Images with narrow boxes at the network's size (height, width) only when the others are too few: a sound detector
    may miss such boxes. One after another, ties broken by a random order: the image with the most classes that none
    has so far; once no class is left to add, the one that adds most to the sum of log(1 + boxes) over the classes: a
    class with a handful of boxes among hundreds is learnt last. Raises UserError when too few images have boxes.
    """
    learnt = ~annotations.ignore
    image, label = annotations.image_index()[learnt], annotations.labels[learnt].astype(np.int64)
    order = np.random.default_rng(seed).permutation(np.unique(image))
    if len(order) < number:
        raise UserError(
            f"{len(order)} of the {len(annotations)} training images have boxes to learn, {number} asked for; expected "
            f"at most {len(order)} as --images"
        )
    plain = order[~np.isin(order, annotations.image_index()[narrow_boxes(annotations, image_size)])]
    order = plain if len(plain) >= number else order
    pairs, boxes = np.unique(np.stack([image, label]), axis=1, return_counts=True)
    totals, chosen = np.zeros(annotations.num_classes), list[int]()
    for _ in range(number):
        have = totals[pairs[1]]
        gain = np.bincount(pairs[0], have == 0, len(annotations))[order]
        if not gain.any():
            gain = np.bincount(pairs[0], np.log1p(boxes / (1 + have)), len(annotations))[order]
        best = int(order[np.argmax(gain)])
        chosen.append(best)
        order = order[order != best]
        totals[pairs[1, pairs[0] == best]] += boxes[pairs[0] == best]
    return np.array(chosen, dtype=np.int64)


def load_few(data: Path, number: int | None, seed: int, image_size: tuple[int, int], say: Say) -> Annotations:
    """`number` images of the training split for a network of that size (height, width); says which, and what classes
    are not on them. None: `MOST_AT_ONCE`, or all with boxes if they are fewer.

    Raises UserError for unsound data, for too few images with boxes, and for chosen pictures that cannot be read.
    """
    split, report = load_split(data, "train")
    say(str(report))
    if split.ignore.all():
        raise UserError(f"{data}: the training split has not one box, nothing can be learnt; look whether the annotation "
                        "files are where the layout has them")  # fmt: skip
    if number is None:
        number = min(MOST_AT_ONCE, len(np.unique(split.image_index()[~split.ignore])))
    few = split.subset(choose_images(split, number, seed, image_size).tolist())
    check_images(few)
    boxes = [int((~few.boxes_of(index).ignore).sum()) for index in range(len(few))]
    names = [f"{path.name} ({count} boxes)" for path, count in zip(few.image_paths, boxes)]
    say(f"{number} of {len(split)} training images, seed {seed}: {listed(names, NAMED_IMAGES)}")
    counts = few.counts()
    absent = [name for name, count in counts.items() if not count]
    if absent:
        without = sum(not count for count in split.counts().values())
        say(
            f"{few.num_classes - len(absent)} of {few.num_classes} classes occur on them"
            + (f" ({without} have no box in the training split)" if without else "")
        )
    return few

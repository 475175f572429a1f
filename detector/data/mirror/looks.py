"""A quick look at boxes' crops and their mirror images: is one class's mirror image taken for another class?

A crop is described by its edges' directions in 8 x 8 cells, and compared with the crops of other pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations

CROPS = 40
"""Of each class, at most."""
ENOUGH = 8
"""Crops that a class needs to be judged."""
MAX_PICTURES = 400
MIN_SIDE_PX = 12.0
SURE = 0.8
"""Share of crops that must be told right from the other class, and of mirrored crops that must be taken for it."""
CHANGED = 0.35
"""A class whose mirrored crops are taken for it more rarely than its crops, by this share, looks different in a mirror."""
_SIDE, _CELLS, _DIRECTIONS, _NEAREST = 40, 8, 12, 3

Descriptors = npt.NDArray[np.float32]
"""(n, D): of each crop a row of length 1."""
Likeness = npt.NDArray[np.float32]
"""(n, C): how much each crop is like those of each judged class, 1: the same."""


@dataclass(frozen=True, slots=True)
class Looks:
    """`pairs`: classes taken for each other in a mirror; `changed`: classes that look different in one."""

    pairs: dict[str, str]
    changed: tuple[str, ...]


def look(annotations: Annotations, seed: int = 0) -> Looks:
    """Compare up to 40 crops of each class, from up to 400 pictures; classes with fewer than 8 are not judged."""
    rows = _drawn(annotations, np.random.default_rng(seed))
    image = annotations.image_index()[rows]
    if len(rows) < ENOUGH:
        return Looks({}, ())
    plain, mirrored = _described(annotations, rows, image)
    labels = annotations.labels[rows]
    classes = [c for c in range(annotations.num_classes) if np.count_nonzero(labels == c) >= ENOUGH]
    other_picture = image[:, None] != image[None]
    as_is = _likeness(plain, plain, labels, other_picture, classes)
    turned = _likeness(mirrored, plain, labels, other_picture, classes)
    names = annotations.class_names
    return Looks(
        {names[a]: names[b] for a, b in _pairs(as_is, turned, labels, classes)},
        tuple(names[c] for c in _changed(as_is, turned, labels, classes)),
    )


def _pairs(
    as_is: Likeness, turned: Likeness, labels: npt.NDArray[np.int32], classes: list[int]
) -> list[tuple[int, int]]:
    """Pairs that can be told apart as they are, and are taken for each other when mirrored; the surest first."""
    found = []
    for left in range(len(classes)):
        for right in range(left + 1, len(classes)):
            a, b = labels == classes[left], labels == classes[right]
            shares = (
                np.mean(as_is[a, left] > as_is[a, right]), np.mean(as_is[b, right] > as_is[b, left]),
                np.mean(turned[a, right] > turned[a, left]), np.mean(turned[b, left] > turned[b, right]),
            )  # fmt: skip
            if min(shares) >= SURE:
                found.append((float(min(shares)), classes[left], classes[right]))
    chosen: list[tuple[int, int]] = []
    for _, a_class, b_class in sorted(found, reverse=True):
        if not any({a_class, b_class} & set(pair) for pair in chosen):
            chosen.append((a_class, b_class))
    return sorted(chosen)


def _changed(as_is: Likeness, turned: Likeness, labels: npt.NDArray[np.int32], classes: list[int]) -> list[int]:
    if len(classes) < 2:
        return []
    before, after = as_is.argmax(axis=1), turned.argmax(axis=1)
    shares = [
        float(np.mean(before[labels == c] == place) - np.mean(after[labels == c] == place))
        for place, c in enumerate(classes)
    ]
    return [c for c, share in zip(classes, shares) if share >= CHANGED]


def _drawn(annotations: Annotations, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rows of the boxes to look at, in the order of their pictures."""
    sides = annotations.boxes_xyxy[:, 2:] - annotations.boxes_xyxy[:, :2]
    fit = ~annotations.ignore & (sides.min(axis=1, initial=np.inf) >= MIN_SIDE_PX)
    image = annotations.image_index()
    with_boxes = np.unique(image[fit])
    if len(with_boxes) > MAX_PICTURES:
        fit &= np.isin(image, rng.choice(with_boxes, MAX_PICTURES, replace=False))
    drawn = [np.zeros(0, dtype=np.int64)]  # there may be no class at all
    for label in range(annotations.num_classes):
        rows = np.flatnonzero(fit & (annotations.labels == label))
        drawn.append(rng.permutation(rows)[:CROPS])
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def _described(
    annotations: Annotations, rows: npt.NDArray[np.int64], image: npt.NDArray[np.int64]
) -> tuple[Descriptors, Descriptors]:
    """The boxes `rows` (n,), in the order of their pictures `image` (n,): as they are, and mirrored."""
    plain, mirrored = [], []
    for index in np.unique(image):
        picture = annotations.picture(int(index))
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        for x0, y0, x1, y1 in np.round(annotations.boxes_xyxy[rows[image == index]]).astype(int).tolist():
            small = cv2.resize(grey[y0:y1, x0:x1], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
            crop = np.asarray(small, dtype=np.uint8)
            plain.append(_edges(crop))
            mirrored.append(_edges(np.ascontiguousarray(crop[:, ::-1])))
    return np.stack(plain), np.stack(mirrored)


def _edges(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Of a grey crop (40, 40), a unit vector: the root of each cell's share of edge strength in each of 12 directions."""
    dx, dy = (cv2.Sobel(crop, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    strength = np.hypot(dx, dy)
    angle = (np.arctan2(dy, dx) / (2 * np.pi) % 1) * _DIRECTIONS
    low = np.floor(angle).astype(np.int64) % _DIRECTIONS
    upper_share = angle - np.floor(angle)
    step = _SIDE // _CELLS
    y, x = np.mgrid[:_SIDE, :_SIDE] // step
    bins = np.zeros((_DIRECTIONS, _CELLS, _CELLS), dtype=np.float32)
    np.add.at(bins, (low, y, x), strength * (1 - upper_share))
    np.add.at(bins, ((low + 1) % _DIRECTIONS, y, x), strength * upper_share)
    return np.asarray(np.sqrt(bins / max(float(bins.sum()), 1e-6)).ravel(), dtype=np.float32)


def _likeness(
    crops: Descriptors, others: Descriptors, labels: npt.NDArray[np.int32], comparable: npt.NDArray[np.bool_],
    classes: list[int],
) -> Likeness:  # fmt: skip
    """Of each crop and class: the mean over the three of `others` of the class that are most like it, of other pictures.

    labels (m,): of `others` (m, D); comparable (n, m): crops and others of different pictures.
    """
    similar = np.where(comparable, crops @ others.T, -1.0).astype(np.float32)
    columns = []
    for c in classes:
        of_class = similar[:, labels == c]
        nearest = np.sort(of_class, axis=1)[:, -_NEAREST:]
        columns.append(nearest.mean(axis=1))
    return np.stack(columns, axis=1) if columns else np.zeros((len(crops), 0), dtype=np.float32)

"""What several data sets are as one: a table before training, and all of it as CSV."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detector.data.annotations import Annotations
from detector.data.origins import Origins
from search_spaces.errors import listed
from search_spaces.files import csv_text

SHOWN_CLASSES = 24
FILE_NAME = "label_space.csv"


def describe(train: Annotations, val: Annotations | None = None) -> list[str]:
    """Lines to print: each set with its numbers, what is left out, and the classes that several names became.

    Nothing for a single data set.
    """
    origins = train.origins
    if origins is None:
        return []
    own = sum(len(source.becomes) for source in origins.sources)
    lines = [f"{len(origins.sources)} data sets: their {own} classes are {train.num_classes} here"]
    rows: list[tuple[str, ...]] = [("", "images", "boxes", "classes", "val images", "left out")]
    images, boxes = images_of(train), boxes_of(train)
    val_images = np.zeros(len(origins.sources), dtype=np.int64) if val is None else images_of(val)
    for number, source in enumerate(origins.sources):
        dropped = [name for name, to in source.becomes.items() if to is None]
        kept = len({to for to in source.becomes.values() if to is not None})
        left_out = listed(dropped, 4) if dropped else "-"
        numbers = (int(images[number]), int(boxes[number].sum()), kept, int(val_images[number]))
        rows.append((source.name, *(str(value) for value in numbers), left_out))
    lines += _aligned(rows)
    merged = _merged(origins, boxes, train)
    lines += [f"  {name}: {', '.join(parts)}" for name, parts in merged[:SHOWN_CLASSES]]
    if len(merged) > SHOWN_CLASSES:
        lines.append(f"  and {len(merged) - SHOWN_CLASSES} more classes of several names or sets ({FILE_NAME})")
    return lines


def as_csv(train: Annotations, val: Annotations) -> str:
    """A line for each class of each set: its own name, the class here (empty: left out), and the boxes of that class."""
    assert train.origins is not None
    labels = {name: label for label, name in enumerate(train.class_names)}
    counts = {"train": boxes_of(train), "val": boxes_of(val)}
    rows: list[list[object]] = [["set", "own_class", "class", "train_boxes", "val_boxes"]]
    for number, source in enumerate(train.origins.sources):
        for own, name in source.becomes.items():
            found = ["", ""] if name is None else [int(table[number, labels[name]]) for table in counts.values()]
            rows.append([source.name, own, name or "", *found])
    return csv_text(rows)


def images_of(split: Annotations) -> npt.NDArray[np.int64]:
    """Images of each data set (S,)."""
    assert split.origins is not None
    return np.bincount(split.origins.of_image, minlength=len(split.origins.sources))


def boxes_of(split: Annotations) -> npt.NDArray[np.int64]:
    """Boxes to learn by data set and class (S, C)."""
    assert split.origins is not None
    table = np.zeros((len(split.origins.sources), split.num_classes), dtype=np.int64)
    kept = ~split.ignore
    np.add.at(table, (split.origins.of_image[split.image_index()[kept]], split.labels[kept]), 1)
    return table


def _merged(origins: Origins, boxes: npt.NDArray[np.int64], train: Annotations) -> list[tuple[str, list[str]]]:
    """Classes that several names or several sets have, with `set name boxes` of each."""
    found = []
    for label, name in enumerate(train.class_names):
        parts = []
        for number, source in enumerate(origins.sources):
            owns = [own for own, to in source.becomes.items() if to == name]
            if owns:
                parts.append(f"{source.name} {' + '.join(owns)} {boxes[number, label]}")
        if len(parts) > 1 or " + " in parts[0]:
            found.append((name, parts))
    return found


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) if place in (0, 5) else cell.rjust(width)
                         for place, (cell, width) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]  # fmt: skip
